package kernels

import (
	"encoding/binary"
	"fmt"
	"math"
)

// MulPanels multiplies the rows of panels [p0, p1) of m by every row of x: out[t*stride+row] is the sum, over the leaves
// of the row, of each leaf's contribution rounded to a multiple of 2^-Exponent. It returns how many contributions
// were clamped to ±Limit.
//
// The contribution of one leaf, with every product and every sum rounded to float32 on its own:
//
//	Q8, Q4     acc = 0; for each quantisation block in order:
//	             dot = the int32 sum of w*q, w being the level in Q4;  acc = acc + float32(dot)*wscale
//	           then acc = acc * xscale, the scale of the leaf of x
//	F32, BF16  acc = 0; for each k in order: acc = acc + w*x
//	then       c = acc * 2^Exponent;  if !(c > -limit) c = -limit;  if c > limit c = limit
//	           out += c rounded to the nearest integer, ties to even
//
// limit is Limit rounded towards zero to a float32, so a NaN counts as -limit and nothing leaves int32. A row or column
// gives the same bits whatever is computed beside it. The rows that fill up the last panel are neither written nor counted.
//
// m and x agree in K, and for Q8 and Q4 in Leaf too, and x has been quantised. Different panel ranges may run at once.
func MulPanels(out []int32, stride int, m *Matrix, x *Activations, p0, p1 int) (clamped int) {
	if x.k != m.K || p0 < 0 || p1 > Panels(m.Rows) || (x.t > 1 && stride < m.Rows) {
		panic(fmt.Sprintf("kernels: product of panels [%d, %d) of a matrix (%d, %d) and activations (%d, %d) with stride %d",
			p0, p1, m.Rows, m.K, x.t, x.k, stride))
	}
	if m.Format.Quantised() && x.leaf != m.Leaf {
		panic(fmt.Sprintf("kernels: product of a matrix with leaf %d and activations with leaf %d", m.Leaf, x.leaf))
	}
	leaf := newLeafRounder(m)
	panels, columns := blockSizes(m, x)
	together := panelsTogether(m)
	for group := p0; group < p1; group += panels {
		end := min(group+panels, p1)
		for first := 0; first < x.t; first += columns {
			for p := group; p < end; p += together {
				for t := first; t < min(first+columns, x.t); t += tileT {
					clamped += mulTiles(out[t*stride+p*PanelRows:], stride, m, x, p, min(together, end-p), t, leaf)
				}
			}
		}
	}
	return clamped
}

// mulTiles computes panels [p, p+panels) for up to tileT rows of x from row t on; out starts at the first panel's first row of token t.
func mulTiles(out []int32, stride int, m *Matrix, x *Activations, p, panels, t int, leaf leafRounder) (clamped int) {
	if active != Generic && mulTile(out, stride, m, x, p, panels, t, min(tileT, x.t-t), leaf) {
		return 0
	}
	if panels == 1 {
		return mulGeneric(out, stride, m, x, p, t, leaf)
	}
	for i := range panels {
		clamped += mulTiles(out[i*PanelRows:], stride, m, x, p+i, 1, t, leaf)
	}
	return clamped
}

// mulGeneric computes panel p for up to tileT rows of x from row t on; out starts at the panel's first row of token t. It is a
// function of its own so that only it pays for clearing a tile.
//
//go:noinline
func mulGeneric(out []int32, stride int, m *Matrix, x *Activations, p, t int, leaf leafRounder) (clamped int) {
	work := tile{leaf: leaf}
	return work.mul(out, stride, m, x, p, t)
}

// blockSizes is how many panels meet how many rows of x before the next rows take their turn. The rows are so many as stay in the
// second-level cache beside a panel, the panels so many that they come from the third level when they are needed again, and that the
// rows are not fetched from there all too often.
func blockSizes(m *Matrix, x *Activations) (panels, columns int) {
	const rowBytes, panelBytes = 512 << 10, 2 << 20
	row := x.blocks * 4 * BlockK
	if m.Format.Quantised() {
		row = x.blocks*(BlockK+4) + 4*x.leaves
	}
	return max(panelBytes/(x.blocks*m.Format.BlockBytes()), 1), max(rowBytes/row/tileT, 1) * tileT
}

// tile is the working memory of one panel times tileT rows of x.
type tile struct {
	leaf   leafRounder
	dots   [tileT][PanelRows]int32
	acc    [tileT][PanelRows]float32
	sums   [tileT][PanelRows]int32
	scales [PanelRows]float32
	words  q4Words
	wide   [BlockK * PanelRows]float32
}

// mul computes panel p for up to tileT rows of x from row t on; out starts at the panel's first row of token t.
func (w *tile) mul(out []int32, stride int, m *Matrix, x *Activations, p, t int) (clamped int) {
	n, rows := min(tileT, x.t-t), min(PanelRows, m.Rows-p*PanelRows)
	panel, size, blocks := m.Panel(p), m.Format.BlockBytes(), Blocks(m.K)
	perLeaf := m.Leaf / BlockK
	clear(w.sums[:n])
	for first := 0; first < blocks; first += perLeaf {
		clear(w.acc[:n])
		for b := first; b < min(first+perLeaf, blocks); b++ {
			w.addBlock(m.Format, panel[b*size:(b+1)*size], x, b, t, n)
		}
		for i := range n {
			scale := float32(1)
			if m.Format.Quantised() {
				scale = x.scale[x.scaleAt(first/perLeaf, t+i)]
			}
			clamped += w.leaf.add(w.sums[i][:rows], &w.acc[i], scale)
		}
	}
	for i := range n {
		copy(out[i*stride:i*stride+rows], w.sums[i][:])
	}
	return clamped
}

// addBlock adds the contributions of one block of weights to acc, for rows [t, t+n) of x.
func (w *tile) addBlock(f Format, block []byte, x *Activations, b, t, n int) {
	unit := x.unit(b, t)
	switch f {
	case Q4:
		quants := (*[256]byte)(block[2*PanelRows:])
		if n == 1 {
			dotsQ4(&w.dots[0], quants, &x.quant[unit])
		} else {
			w.words.unpack(quants)
			for i := range n {
				w.words.dots(&w.dots[i], &x.quant[unit+i])
			}
		}
		w.addDots(block, n)
	case Q8:
		w.startDots(x.start[unit : unit+n])
		quants, at := (*[512]byte)(block[2*PanelRows:]), 0
		for ; at+2 <= n; at += 2 {
			addDotsQ8Two((*[2][PanelRows]int32)(w.dots[at:]), quants, (*[2][BlockK]int8)(x.quant[unit+at:]))
		}
		if at < n {
			addDotsQ8(&w.dots[at], quants, &x.quant[unit+at])
		}
		w.addDots(block, n)
	case BF16:
		weights := (*[2 * BlockK * PanelRows]byte)(block)
		if n == 1 {
			addProductsBF16(&w.acc[0], weights, x.block(t, b))
			return
		}
		widenBF16(&w.wide, weights)
		w.addWide(x, b, t, n)
	case F32:
		weights := (*[4 * BlockK * PanelRows]byte)(block)
		if n == 1 {
			addProductsF32(&w.acc[0], weights, x.block(t, b))
			return
		}
		widenF32(&w.wide, weights)
		w.addWide(x, b, t, n)
	}
}

// addWide adds the products of the widened block b to acc, for rows [t, t+n) of x.
func (w *tile) addWide(x *Activations, b, t, n int) {
	for i := range n {
		addProducts(&w.acc[i], &w.wide, x.block(t+i, b))
	}
}

// startDots begins the dot products of Q8, whose quants are stored as w+128, with what takes the 128 out of them.
func (w *tile) startDots(starts []int32) {
	for i, start := range starts {
		dots := &w.dots[i%tileT]
		for row := range dots {
			dots[row] = start
		}
	}
}

// addDots scales the dot products of one block with n rows of x and adds them to acc.
func (w *tile) addDots(block []byte, n int) {
	halves := (*[2 * PanelRows]byte)(block)
	for row := range w.scales {
		w.scales[row] = F16ToF32(binary.LittleEndian.Uint16(halves[2*row:]))
	}
	for i := range n {
		acc, dots := &w.acc[i%tileT], &w.dots[i%tileT]
		for row, v := range dots {
			acc[row] += float32(float32(v) * w.scales[row])
		}
	}
}

// leafRounder turns a leaf's float32 sum into its fixed-point contribution.
type leafRounder struct {
	scale float32 // 2^Exponent
	limit float32
}

func newLeafRounder(m *Matrix) leafRounder {
	limit := float32(m.Limit)
	if float64(limit) > float64(m.Limit) {
		limit = math.Float32frombits(math.Float32bits(limit) - 1)
	}
	return leafRounder{scale: math.Float32frombits(uint32(127+m.Exponent) << 23), limit: limit}
}

// add scales the first len(out) sums by xscale, rounds them and adds them to out.
func (l leafRounder) add(out []int32, acc *[PanelRows]float32, xscale float32) (clamped int) {
	scale, limit := l.scale, l.limit
	for i := range min(len(out), PanelRows) {
		c := float32(acc[i]*xscale) * scale
		if !(c > -limit && c < limit) {
			kept := max(-limit, min(c, limit))
			if c != c {
				kept = -limit
			}
			if kept != c {
				clamped++
			}
			c = kept
		}
		out[i] += roundToInt(c)
	}
	return clamped
}

// roundToInt is x, of magnitude below 2^31, rounded to the nearest integer, ties to even: added to 1.5 * 2^52 it lands in the
// low bits of a float64.
func roundToInt(x float32) int32 {
	return int32(math.Float64bits(float64(x) + 0x1.8p52))
}

// Finish turns sums of leaves into outputs: dst[i] = float32(sums[i]) * 2^-exponent + bias[i], each step rounded to
// float32. bias may be nil. All slices have the length of dst.
func Finish(dst []float32, sums []int32, exponent int, bias []float32) {
	sums = sums[:len(dst)]
	unit := float32(math.Ldexp(1, -exponent))
	if bias != nil {
		bias = bias[:len(dst)]
	}
	for i := leadFinish(dst, sums, unit, bias); i < len(dst); i++ {
		y := float32(float32(sums[i]) * unit)
		if bias != nil {
			y += bias[i]
		}
		dst[i] = y
	}
}

// FixedPoint is the exponent for a matrix whose leaves are clamped to limit: the largest e at which a contribution
// of bound still fits, floor(log2(limit/bound)), so that no clamp ever bites if bound is a true upper bound of the
// magnitude of a leaf's contribution. It is raised to floor(log2(limit/2048)) where bound is so pessimistic that the unit would
// become coarse (a clamp may then bite, and is counted), and is at most MaxExponent.
func FixedPoint(limit int32, bound float64) int {
	least := min(floorLog2(float64(limit)/2048, 1), MaxExponent)
	if !(bound <= math.MaxFloat64) || bound < 0 {
		return least
	}
	if bound == 0 {
		return MaxExponent
	}
	return max(least, min(floorLog2(float64(limit), bound), MaxExponent))
}

// MaxExponent is the largest exponent of FixedPoint.
const MaxExponent = 24

// floorLog2 is floor(log2(a/b)) for positive a and b, exactly.
func floorLog2(a, b float64) int {
	am, ae := math.Frexp(a)
	bm, be := math.Frexp(b)
	if am >= bm {
		return ae - be
	}
	return ae - be - 1
}
