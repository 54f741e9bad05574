package kernels

import (
	"math"

	"polynode/kernels/internal/avx2"
)

// The functions of this file choose the assembly for a tile of n columns; what its parameters mean is in the comment of package avx2. They say
// that a leaf left its limit, so that the generic tier does the work, if there is none for so many.

func mulQ8AVX2(n int, out *int32, stride int, weights *byte, quants *[BlockK]int8, scales *float32, starts *int32, blocks, leaf int, unit float32) uint32 {
	switch n {
	case 1:
		return avx2.MulQ8x1(out, stride, weights, quants, scales, starts, blocks, leaf, unit)
	case 2:
		return avx2.MulQ8x2(out, stride, weights, quants, scales, starts, blocks, leaf, unit)
	case 3:
		return avx2.MulQ8x3(out, stride, weights, quants, scales, starts, blocks, leaf, unit)
	case 4:
		return avx2.MulQ8x4(out, stride, weights, quants, scales, starts, blocks, leaf, unit)
	case 5:
		return avx2.MulQ8x5(out, stride, weights, quants, scales, starts, blocks, leaf, unit)
	case 6:
		return avx2.MulQ8x6(out, stride, weights, quants, scales, starts, blocks, leaf, unit)
	case 7:
		return avx2.MulQ8x7(out, stride, weights, quants, scales, starts, blocks, leaf, unit)
	case 8:
		return avx2.MulQ8x8(out, stride, weights, quants, scales, starts, blocks, leaf, unit)
	}
	return math.MaxUint32
}

func mulQ4AVX2(n int, out *int32, stride int, weights *byte, quants *[BlockK]int8, scales *float32, starts *int32, blocks, leaf int, unit float32) uint32 {
	switch n {
	case 1:
		return avx2.MulQ4x1(out, stride, weights, quants, scales, starts, blocks, leaf, unit)
	case 2:
		return avx2.MulQ4x2(out, stride, weights, quants, scales, starts, blocks, leaf, unit)
	case 3:
		return avx2.MulQ4x3(out, stride, weights, quants, scales, starts, blocks, leaf, unit)
	case 4:
		return avx2.MulQ4x4(out, stride, weights, quants, scales, starts, blocks, leaf, unit)
	case 5:
		return avx2.MulQ4x5(out, stride, weights, quants, scales, starts, blocks, leaf, unit)
	case 6:
		return avx2.MulQ4x6(out, stride, weights, quants, scales, starts, blocks, leaf, unit)
	case 7:
		return avx2.MulQ4x7(out, stride, weights, quants, scales, starts, blocks, leaf, unit)
	case 8:
		return avx2.MulQ4x8(out, stride, weights, quants, scales, starts, blocks, leaf, unit)
	}
	return math.MaxUint32
}

func mulF32AVX2(n int, out *int32, stride int, weights *byte, x *float32, xstride, blocks, leaf int, unit float32) uint32 {
	switch n {
	case 1:
		return avx2.MulF32x1(out, stride, weights, x, xstride, blocks, leaf, unit)
	case 2:
		return avx2.MulF32x2(out, stride, weights, x, xstride, blocks, leaf, unit)
	case 3:
		return avx2.MulF32x3(out, stride, weights, x, xstride, blocks, leaf, unit)
	case 4:
		return avx2.MulF32x4(out, stride, weights, x, xstride, blocks, leaf, unit)
	}
	return math.MaxUint32
}

func mulBF16AVX2(n int, out *int32, stride int, weights *byte, x *float32, xstride, blocks, leaf int, unit float32) uint32 {
	switch n {
	case 1:
		return avx2.MulBF16x1(out, stride, weights, x, xstride, blocks, leaf, unit)
	case 2:
		return avx2.MulBF16x2(out, stride, weights, x, xstride, blocks, leaf, unit)
	case 3:
		return avx2.MulBF16x3(out, stride, weights, x, xstride, blocks, leaf, unit)
	case 4:
		return avx2.MulBF16x4(out, stride, weights, x, xstride, blocks, leaf, unit)
	}
	return math.MaxUint32
}
