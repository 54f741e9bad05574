package kernels

import (
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
//	             dot = the int32 sum of w*q;  s = wscale*xscale;  acc = acc + float32(dot)*s
//	F32, BF16  acc = 0; for each k in order: acc = acc + w*x
//	then       c = acc * 2^Exponent;  if !(c > -limit) c = -limit;  if c > limit c = limit
//	           out += c rounded to the nearest integer, ties to even
//
// limit is Limit rounded towards zero to a float32, so a NaN counts as -limit and nothing leaves int32. A row or column
// gives the same bits whatever is computed beside it. The rows that fill up the last panel are neither written nor counted.
//
// m and x agree in K, and for Q8 and Q4 x has been quantised. Different panel ranges may run at once.
func MulPanels(out []int32, stride int, m *Matrix, x *Activations, p0, p1 int) (clamped int) {
	if x.k != m.K || p0 < 0 || p1 > Panels(m.Rows) || (x.t > 1 && stride < m.Rows) {
		panic(fmt.Sprintf("kernels: product of panels [%d, %d) of a matrix (%d, %d) and activations (%d, %d) with stride %d",
			p0, p1, m.Rows, m.K, x.t, x.k, stride))
	}
	leaf := newLeafRounder(m)
	for p := p0; p < p1; p++ {
		rows := min(PanelRows, m.Rows-p*PanelRows)
		for t := range x.t {
			at := t*stride + p*PanelRows
			clamped += mulPanel(out[at:at+rows], m, x, p, t, leaf)
		}
	}
	return clamped
}

// mulPanel computes one panel for one row of x.
func mulPanel(out []int32, m *Matrix, x *Activations, p, t int, leaf leafRounder) (clamped int) {
	panel, size := m.Panel(p), m.Format.BlockBytes()
	clear(out)
	var acc [PanelRows]float32
	blocks := Blocks(m.K)
	for b := range blocks {
		block, unit := panel[b*size:(b+1)*size], b*x.t+t
		switch m.Format {
		case Q4:
			addBlockQ4(&acc, (*[288]byte)(block), (*[BlockK]int8)(x.quant[unit*BlockK:]), x.sum[unit], x.scale[unit])
		case Q8:
			addBlockQ8(&acc, (*[544]byte)(block), (*[BlockK]int8)(x.quant[unit*BlockK:]), x.sum[unit], x.scale[unit])
		case BF16:
			addBlockBF16(&acc, (*[1024]byte)(block), (*[BlockK]float32)(x.rows[(t*x.blocks+b)*BlockK:]))
		case F32:
			addBlockF32(&acc, (*[2048]byte)(block), (*[BlockK]float32)(x.rows[(t*x.blocks+b)*BlockK:]))
		}
		if (b+1)*BlockK%m.Leaf == 0 || b == blocks-1 {
			clamped += leaf.add(out, &acc)
			acc = [PanelRows]float32{}
		}
	}
	return clamped
}

// leafRounder turns a leaf's float32 sum into its fixed-point contribution.
type leafRounder struct {
	scale float32 // 2^Exponent
	limit float32
}

func newLeafRounder(m *Matrix) leafRounder {
	limit := float32(m.Limit)
	if float64(limit) > float64(m.Limit) {
		limit = math.Nextafter32(limit, 0)
	}
	return leafRounder{scale: float32(math.Ldexp(1, m.Exponent)), limit: limit}
}

// add rounds the first len(out) sums and adds them to out.
func (l leafRounder) add(out []int32, acc *[PanelRows]float32) (clamped int) {
	for i := range out {
		c := acc[i] * l.scale
		kept := c
		if !(kept > -l.limit) {
			kept = -l.limit
		}
		if kept > l.limit {
			kept = l.limit
		}
		if kept != c {
			clamped++
		}
		out[i] += int32(math.RoundToEven(float64(kept)))
	}
	return clamped
}

// Finish turns sums of leaves into outputs: dst[i] = float32(sums[i]) * 2^-exponent + bias[i], each step rounded to
// float32. bias may be nil. All slices have the length of dst.
func Finish(dst []float32, sums []int32, exponent int, bias []float32) {
	sums = sums[:len(dst)]
	unit := float32(math.Ldexp(1, -exponent))
	if bias == nil {
		for i, v := range sums {
			dst[i] = float32(v) * unit
		}
		return
	}
	bias = bias[:len(dst)]
	for i, v := range sums {
		dst[i] = float32(float32(v)*unit) + bias[i]
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
