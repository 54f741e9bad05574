package kernels

import "polynode/kernels/internal/avx512"

// mulTileAVX512 is mulTile. It cuts K at leaf borders into calls of some microseconds, each of which continues the sums of the one before:
// a goroutine inside assembly cannot be stopped.
func mulTileAVX512(out []int32, stride int, m *Matrix, x *Activations, p, t, n int) bool {
	leaf := newLeafRounder(m)
	rows := min(PanelRows, m.Rows-p*PanelRows)
	_ = out[(n-1)*stride+rows-1]
	panel, size, blocks, perLeaf := m.Panel(p), m.Format.BlockBytes(), Blocks(m.K), m.Leaf/BlockK
	piece := max(callBlocksAVX512/perLeaf, 1) * perLeaf
	load, store := uint16(0), uint16(1<<rows-1)
	for b := 0; b < blocks; b += piece {
		ok := false
		unit, count := x.unit(b, t), min(piece, blocks-b)
		switch m.Format {
		case Q8:
			ok = mulQ8AVX512(n, &out[0], stride, load, store, &panel[b*size], &x.quant[unit], &x.scale[unit], &x.start[unit],
				count, perLeaf, leaf.scale, leaf.limit)
		case Q4:
			ok = mulQ4AVX512(n, &out[0], stride, load, store, &panel[b*size], &x.quant[unit], &x.scale[unit], &x.start[unit],
				count, perLeaf, leaf.scale, leaf.limit)
		}
		if !ok {
			return false
		}
		load = store
	}
	return true
}

// callBlocksAVX512 is how many blocks of a tile one call takes at most, if a leaf is not longer.
const callBlocksAVX512 = 384

// mulQ8AVX512 multiplies a tile of n columns; the other parameters are those of avx512.MulQ8x1.
func mulQ8AVX512(n int, out *int32, stride int, load, store uint16, w *byte, q *[BlockK]int8, scale *float32, start *int32,
	blocks, leaf int, unit, limit float32) bool {
	switch n {
	case 1:
		return avx512.MulQ8x1(out, stride, load, store, w, q, scale, start, blocks, leaf, unit, limit)
	case 2:
		return avx512.MulQ8x2(out, stride, load, store, w, q, scale, start, blocks, leaf, unit, limit)
	case 3:
		return avx512.MulQ8x3(out, stride, load, store, w, q, scale, start, blocks, leaf, unit, limit)
	case 4:
		return avx512.MulQ8x4(out, stride, load, store, w, q, scale, start, blocks, leaf, unit, limit)
	case 5:
		return avx512.MulQ8x5(out, stride, load, store, w, q, scale, start, blocks, leaf, unit, limit)
	case 6:
		return avx512.MulQ8x6(out, stride, load, store, w, q, scale, start, blocks, leaf, unit, limit)
	case 7:
		return avx512.MulQ8x7(out, stride, load, store, w, q, scale, start, blocks, leaf, unit, limit)
	case 8:
		return avx512.MulQ8x8(out, stride, load, store, w, q, scale, start, blocks, leaf, unit, limit)
	}
	return false
}

// mulQ4AVX512 multiplies a tile of n columns; the other parameters are those of avx512.MulQ4x1.
func mulQ4AVX512(n int, out *int32, stride int, load, store uint16, w *byte, q *[BlockK]int8, scale *float32, start *int32,
	blocks, leaf int, unit, limit float32) bool {
	switch n {
	case 1:
		return avx512.MulQ4x1(out, stride, load, store, w, q, scale, start, blocks, leaf, unit, limit)
	case 2:
		return avx512.MulQ4x2(out, stride, load, store, w, q, scale, start, blocks, leaf, unit, limit)
	case 3:
		return avx512.MulQ4x3(out, stride, load, store, w, q, scale, start, blocks, leaf, unit, limit)
	case 4:
		return avx512.MulQ4x4(out, stride, load, store, w, q, scale, start, blocks, leaf, unit, limit)
	case 5:
		return avx512.MulQ4x5(out, stride, load, store, w, q, scale, start, blocks, leaf, unit, limit)
	case 6:
		return avx512.MulQ4x6(out, stride, load, store, w, q, scale, start, blocks, leaf, unit, limit)
	case 7:
		return avx512.MulQ4x7(out, stride, load, store, w, q, scale, start, blocks, leaf, unit, limit)
	case 8:
		return avx512.MulQ4x8(out, stride, load, store, w, q, scale, start, blocks, leaf, unit, limit)
	}
	return false
}
