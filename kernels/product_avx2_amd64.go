package kernels

import "math"

// mulTileAVX2 is mulTile.
func mulTileAVX2(out []int32, stride int, m *Matrix, x *Activations, p, t, n int, leaf leafRounder) bool {
	rows := min(PanelRows, m.Rows-p*PanelRows)
	_ = out[(n-1)*stride+rows-1]
	if rows == PanelRows {
		return sumTileAVX2(out, stride, m, x, p, t, n, leaf)
	}
	// The assembly knows whole panels only.
	var whole [tileT * PanelRows]int32
	if !sumTileAVX2(whole[:], PanelRows, m, x, p, t, n, leaf) {
		return false
	}
	for i := range n {
		copy(out[i*stride:i*stride+rows], whole[i*PanelRows:])
	}
	return true
}

// One call into assembly takes at most so many products of a weight and an activation and so many bytes of weights, if a leaf has no more. That is
// less than 10 µs, from the cache and from memory: a goroutine inside assembly cannot be stopped.
const (
	callProductsAVX2 = 1 << 19
	callBytesAVX2    = 1 << 17
)

// sumTileAVX2 is mulTileAVX2 for a whole panel. It cuts K at leaf borders into calls that each add to out.
func sumTileAVX2(out []int32, stride int, m *Matrix, x *Activations, p, t, n int, leaf leafRounder) bool {
	for i := range n {
		clear(out[i*stride:][:PanelRows])
	}
	panel, size, blocks, perLeaf := m.Panel(p), m.Format.BlockBytes(), Blocks(m.K), m.Leaf/BlockK
	piece := max(min(callProductsAVX2/(n*PanelRows*m.Leaf), callBytesAVX2/(perLeaf*size)), 1) * perLeaf
	twice := 2 * math.Float32bits(leaf.limit)
	for b := 0; b < blocks; b += piece {
		unit, at, count := x.unit(b, t), x.scaleAt(b/perLeaf, t), min(piece, blocks-b)
		weights, worst := &panel[b*size], uint32(math.MaxUint32)
		switch m.Format {
		case Q8:
			worst = mulQ8AVX2(n, &out[0], stride, weights, &x.quant[unit], &x.scale[at], &x.start[unit], count, perLeaf, leaf.scale)
		case Q4:
			worst = mulQ4AVX2(n, &out[0], stride, weights, &x.quant[unit], &x.scale[at], &x.start[unit], count, perLeaf, leaf.scale)
		case F32, BF16:
			worst = mulFloatsAVX2(m.Format, n, out, stride, weights, x, b, t, count, perLeaf, leaf.scale)
		}
		if worst >= twice {
			return false
		}
	}
	return true
}

// floatColumnsAVX2 is the largest number of columns that avx2.MulF32x4 and MulBF16x4 take at once.
const floatColumnsAVX2 = 4

// mulFloatsAVX2 multiplies count blocks of a panel from block b on by n columns from row t of x on.
func mulFloatsAVX2(f Format, n int, out []int32, stride int, weights *byte, x *Activations, b, t, count, perLeaf int, unit float32) (worst uint32) {
	width := x.blocks * BlockK
	for i := 0; i < n; i += floatColumnsAVX2 {
		to, from := &out[i*stride], &x.block(t+i, b)[0]
		if f == F32 {
			worst = max(worst, mulF32AVX2(min(floatColumnsAVX2, n-i), to, stride, weights, from, width, count, perLeaf, unit))
		} else {
			worst = max(worst, mulBF16AVX2(min(floatColumnsAVX2, n-i), to, stride, weights, from, width, count, perLeaf, unit))
		}
	}
	return worst
}
