package kernels

import (
	"polynode/kernels/internal/avx2"
	"polynode/kernels/internal/avx512"
)

// What vector_amd64.go says holds here too; the functions count in elements, or in blocks and groups of 32.

// leadStoreHalves narrows src as F32ToF16 does.
func leadStoreHalves(dst []byte, src []float32) int {
	n := lead(len(src))
	dst = dst[:2*n]
	for i := 0; i < n; i += piece {
		if m := min(piece, n-i); active == AVX512 {
			avx512.StoreHalves(&dst[2*i], &src[i], m)
		} else {
			avx2.StoreHalves(&dst[2*i], &src[i], m)
		}
	}
	return n
}

// leadLoadHalves widens src as F16ToF32 does.
func leadLoadHalves(dst []float32, src []byte) int {
	n := lead(len(dst))
	src = src[:2*n]
	for i := 0; i < n; i += piece {
		if m := min(piece, n-i); active == AVX512 {
			avx512.LoadHalves(&dst[i], &src[2*i], m)
		} else {
			avx2.LoadHalves(&dst[i], &src[2*i], m)
		}
	}
	return n
}

// pieceBlocks is piece in blocks or groups of 32.
const pieceBlocks = piece / BlockK

// quantiseGroup is how many blocks are quantised together.
const quantiseGroup = 4

// leadQuantise quantises groups of leaves of src into row t from the first block b of a leaf on, and returns the number of inputs it took.
// There is code for leaves of one block and of four, which are those of models; others, and blocks that fill no group, are left to Go.
func leadQuantise(x *Activations, t, b int, src []float32) int {
	perLeaf := x.leaf / BlockK
	if perLeaf != 1 && perLeaf != quantiseGroup {
		return 0
	}
	n, stride := lead(len(src))/(quantiseGroup*BlockK)*quantiseGroup, x.tileWidth(t)
	for i := 0; i < n; i += pieceBlocks {
		m, unit, at := min(pieceBlocks, n-i), x.unit(b+i, t), x.scaleAt((b+i)/perLeaf, t)
		last := unit + (m-1)*stride + 1
		quant, sum, start, scale := x.quant[unit:last], x.sum[unit:last], x.start[unit:last], x.scale[at:at+(m/perLeaf-1)*stride+1]
		if perLeaf == 1 {
			avx2.Quantise1(&quant[0], &scale[0], &sum[0], &start[0], &src[i*BlockK], m/quantiseGroup, stride)
		} else {
			avx2.Quantise4(&quant[0], &scale[0], &sum[0], &start[0], &src[i*BlockK], m/quantiseGroup, stride)
		}
	}
	return n * BlockK
}

// leadStoreGroups stores the groups of kvGroup values of src in KVQ8, and returns their number.
func leadStoreGroups(dst, scales []byte, src []float32) int {
	n := lead(len(src)) / kvGroup
	dst, scales = dst[:n*kvGroup], scales[:2*n]
	for i := 0; i < n; i += pieceBlocks {
		avx2.StoreGroups(&dst[i*kvGroup], &scales[2*i], &src[i*kvGroup], min(pieceBlocks, n-i))
	}
	return n
}

// leadLoadGroups widens stored groups of kvGroup values, and returns their number.
func leadLoadGroups(dst []float32, src, scales []byte) int {
	n := lead(len(dst)) / kvGroup
	src, scales = src[:n*kvGroup], scales[:2*n]
	for i := 0; i < n; i += pieceBlocks {
		if m := min(pieceBlocks, n-i); active == AVX512 {
			avx512.LoadGroups(&dst[i*kvGroup], &src[i*kvGroup], &scales[2*i], m)
		} else {
			avx2.LoadGroups(&dst[i*kvGroup], &src[i*kvGroup], &scales[2*i], m)
		}
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
			avx2.UnpackQ8(&dst[i*BlockK], &panel[i*size], lane, min(pieceBlocks, n-i))
		}
	case Q4:
		for i := 0; i < n; i += pieceBlocks {
			avx2.UnpackQ4(&dst[i*BlockK], &panel[i*size], &q4Levels[0], lane, min(pieceBlocks, n-i))
		}
	default:
		return 0
	}
	return n
}
