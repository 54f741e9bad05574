package kernels

import "polynode/kernels/internal/neon"

// What vector_arm64.go says holds here too; the functions count in elements, or in blocks and groups of 32.

// leadStoreHalves narrows src as F32ToF16 does.
func leadStoreHalves(dst []byte, src []float32) int {
	n := lead(len(src))
	dst = dst[:2*n]
	for i := 0; i < n; i += piece {
		neon.StoreHalves(&dst[2*i], &src[i], min(piece, n-i))
	}
	return n
}

// leadLoadHalves widens src as F16ToF32 does.
func leadLoadHalves(dst []float32, src []byte) int {
	n := lead(len(dst))
	src = src[:2*n]
	for i := 0; i < n; i += piece {
		neon.LoadHalves(&dst[i], &src[2*i], min(piece, n-i))
	}
	return n
}

// pieceBlocks is piece in blocks or groups of 32.
const pieceBlocks = piece / BlockK

// leadQuantise quantises whole leaves of src into row t from the first block b of a leaf on, the last leaf being shorter where src is, and
// returns the number of inputs it took.
func leadQuantise(x *Activations, t, b int, src []float32) int {
	n := lead(len(src))
	blocks, perLeaf, stride := n/BlockK, x.leaf/BlockK, x.tileWidth(t)
	run := max(pieceBlocks/perLeaf, 1) * perLeaf // whole leaves
	for i := 0; i < blocks; i += run {
		m, unit := min(run, blocks-i), x.unit(b+i, t)
		last := unit + (m-1)*stride
		quant, sum, start := x.quant[unit:last+1], x.sum[unit:last+1], x.start[unit:last+1]
		neon.Quantise(&quant[0][0], &x.scale[x.scaleAt((b+i)/perLeaf, t)], &sum[0], &start[0], &src[i*BlockK], m, perLeaf, stride)
	}
	return n
}

// leadStoreGroups stores the groups of kvGroup values of src in KVQ8, and returns their number.
func leadStoreGroups(dst, scales []byte, src []float32) int {
	n := lead(len(src)) / kvGroup
	dst, scales = dst[:n*kvGroup], scales[:2*n]
	for i := 0; i < n; i += pieceBlocks {
		neon.StoreGroups(&dst[i*kvGroup], &scales[2*i], &src[i*kvGroup], min(pieceBlocks, n-i))
	}
	return n
}

// leadLoadGroups widens stored groups of kvGroup values, and returns their number.
func leadLoadGroups(dst []float32, src, scales []byte) int {
	n := lead(len(dst)) / kvGroup
	src, scales = src[:n*kvGroup], scales[:2*n]
	for i := 0; i < n; i += pieceBlocks {
		neon.LoadGroups(&dst[i*kvGroup], &src[i*kvGroup], &scales[2*i], min(pieceBlocks, n-i))
	}
	return n
}

// leadUnpack dequantises the blocks of a row of m, and returns their number.
func leadUnpack(dst []float32, m *Matrix, row int) int {
	n := lead(len(dst)) / BlockK
	size := m.Format.BlockBytes()
	panel, lane := m.Panel(row / PanelRows)[:n*size], row%PanelRows
	switch m.Format {
	case Q8:
		for i := 0; i < n; i += pieceBlocks {
			neon.UnpackQ8(&dst[i*BlockK], &panel[i*size], lane, min(pieceBlocks, n-i))
		}
	case Q4:
		for i := 0; i < n; i += pieceBlocks {
			neon.UnpackQ4(&dst[i*BlockK], &panel[i*size], &q4Levels[0], lane, min(pieceBlocks, n-i))
		}
	default:
		return 0
	}
	return n
}
