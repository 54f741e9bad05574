package kernels

import "polynode/kernels/internal/avx512"

// mulQ8 multiplies by n columns of x, whose first quants are at index unit and whose first scale is at index leaf.
func (p *piece512) mulQ8(x *Activations, unit, leaf, n int) bool {
	q, scale, start := &x.quant[unit], &x.scale[leaf], &x.start[unit]
	switch n {
	case 1:
		return avx512.MulQ8x1(p.out, p.stride, p.load, p.store, p.weights, p.skip, q, scale, start, p.panels, p.blocks, p.leaf, p.scale, p.limit)
	case 2:
		return avx512.MulQ8x2(p.out, p.stride, p.load, p.store, p.weights, p.skip, q, scale, start, p.panels, p.blocks, p.leaf, p.scale, p.limit)
	case 3:
		return avx512.MulQ8x3(p.out, p.stride, p.load, p.store, p.weights, p.skip, q, scale, start, p.panels, p.blocks, p.leaf, p.scale, p.limit)
	case 4:
		return avx512.MulQ8x4(p.out, p.stride, p.load, p.store, p.weights, p.skip, q, scale, start, p.panels, p.blocks, p.leaf, p.scale, p.limit)
	case 5:
		return avx512.MulQ8x5(p.out, p.stride, p.load, p.store, p.weights, p.skip, q, scale, start, p.panels, p.blocks, p.leaf, p.scale, p.limit)
	case 6:
		return avx512.MulQ8x6(p.out, p.stride, p.load, p.store, p.weights, p.skip, q, scale, start, p.panels, p.blocks, p.leaf, p.scale, p.limit)
	case 7:
		return avx512.MulQ8x7(p.out, p.stride, p.load, p.store, p.weights, p.skip, q, scale, start, p.panels, p.blocks, p.leaf, p.scale, p.limit)
	case 8:
		return avx512.MulQ8x8(p.out, p.stride, p.load, p.store, p.weights, p.skip, q, scale, start, p.panels, p.blocks, p.leaf, p.scale, p.limit)
	}
	return false
}

// mulQ4 multiplies by n columns of x, whose first quants are at index unit and whose first scale is at index leaf.
func (p *piece512) mulQ4(x *Activations, unit, leaf, n int) bool {
	q, scale, start := &x.quant[unit], &x.scale[leaf], &x.start[unit]
	switch n {
	case 1:
		return avx512.MulQ4x1(p.out, p.stride, p.load, p.store, p.weights, p.skip, q, scale, start, p.panels, p.blocks, p.leaf, p.scale, p.limit)
	case 2:
		return avx512.MulQ4x2(p.out, p.stride, p.load, p.store, p.weights, p.skip, q, scale, start, p.panels, p.blocks, p.leaf, p.scale, p.limit)
	case 3:
		return avx512.MulQ4x3(p.out, p.stride, p.load, p.store, p.weights, p.skip, q, scale, start, p.panels, p.blocks, p.leaf, p.scale, p.limit)
	case 4:
		return avx512.MulQ4x4(p.out, p.stride, p.load, p.store, p.weights, p.skip, q, scale, start, p.panels, p.blocks, p.leaf, p.scale, p.limit)
	case 5:
		return avx512.MulQ4x5(p.out, p.stride, p.load, p.store, p.weights, p.skip, q, scale, start, p.panels, p.blocks, p.leaf, p.scale, p.limit)
	case 6:
		return avx512.MulQ4x6(p.out, p.stride, p.load, p.store, p.weights, p.skip, q, scale, start, p.panels, p.blocks, p.leaf, p.scale, p.limit)
	case 7:
		return avx512.MulQ4x7(p.out, p.stride, p.load, p.store, p.weights, p.skip, q, scale, start, p.panels, p.blocks, p.leaf, p.scale, p.limit)
	case 8:
		return avx512.MulQ4x8(p.out, p.stride, p.load, p.store, p.weights, p.skip, q, scale, start, p.panels, p.blocks, p.leaf, p.scale, p.limit)
	}
	return false
}

// mulQ4VBMI is mulQ4 for processors with AVX512_VBMI.
func (p *piece512) mulQ4VBMI(x *Activations, unit, leaf, n int) bool {
	q, scale, start := &x.quant[unit], &x.scale[leaf], &x.start[unit]
	switch n {
	case 1:
		return avx512.MulQ4VBMIx1(p.out, p.stride, p.load, p.store, p.weights, p.skip, q, scale, start, p.panels, p.blocks, p.leaf, p.scale, p.limit)
	case 2:
		return avx512.MulQ4VBMIx2(p.out, p.stride, p.load, p.store, p.weights, p.skip, q, scale, start, p.panels, p.blocks, p.leaf, p.scale, p.limit)
	case 3:
		return avx512.MulQ4VBMIx3(p.out, p.stride, p.load, p.store, p.weights, p.skip, q, scale, start, p.panels, p.blocks, p.leaf, p.scale, p.limit)
	case 4:
		return avx512.MulQ4VBMIx4(p.out, p.stride, p.load, p.store, p.weights, p.skip, q, scale, start, p.panels, p.blocks, p.leaf, p.scale, p.limit)
	case 5:
		return avx512.MulQ4VBMIx5(p.out, p.stride, p.load, p.store, p.weights, p.skip, q, scale, start, p.panels, p.blocks, p.leaf, p.scale, p.limit)
	case 6:
		return avx512.MulQ4VBMIx6(p.out, p.stride, p.load, p.store, p.weights, p.skip, q, scale, start, p.panels, p.blocks, p.leaf, p.scale, p.limit)
	case 7:
		return avx512.MulQ4VBMIx7(p.out, p.stride, p.load, p.store, p.weights, p.skip, q, scale, start, p.panels, p.blocks, p.leaf, p.scale, p.limit)
	case 8:
		return avx512.MulQ4VBMIx8(p.out, p.stride, p.load, p.store, p.weights, p.skip, q, scale, start, p.panels, p.blocks, p.leaf, p.scale, p.limit)
	}
	return false
}

// mulBF16 multiplies by n columns, which begin at x and are pitch apart.
func (p *piece512) mulBF16(x *[BlockK]float32, pitch, n int) bool {
	switch n {
	case 1:
		return avx512.MulBF16x1(p.out, p.stride, p.load, p.store, p.weights, &x[0], pitch, p.blocks, p.leaf, p.scale, p.limit)
	case 2:
		return avx512.MulBF16x2(p.out, p.stride, p.load, p.store, p.weights, &x[0], pitch, p.blocks, p.leaf, p.scale, p.limit)
	case 3:
		return avx512.MulBF16x3(p.out, p.stride, p.load, p.store, p.weights, &x[0], pitch, p.blocks, p.leaf, p.scale, p.limit)
	case 4:
		return avx512.MulBF16x4(p.out, p.stride, p.load, p.store, p.weights, &x[0], pitch, p.blocks, p.leaf, p.scale, p.limit)
	case 5:
		return avx512.MulBF16x5(p.out, p.stride, p.load, p.store, p.weights, &x[0], pitch, p.blocks, p.leaf, p.scale, p.limit)
	case 6:
		return avx512.MulBF16x6(p.out, p.stride, p.load, p.store, p.weights, &x[0], pitch, p.blocks, p.leaf, p.scale, p.limit)
	case 7:
		return avx512.MulBF16x7(p.out, p.stride, p.load, p.store, p.weights, &x[0], pitch, p.blocks, p.leaf, p.scale, p.limit)
	case 8:
		return avx512.MulBF16x8(p.out, p.stride, p.load, p.store, p.weights, &x[0], pitch, p.blocks, p.leaf, p.scale, p.limit)
	}
	return false
}

// mulF32 multiplies by n columns, which begin at x and are pitch apart.
func (p *piece512) mulF32(x *[BlockK]float32, pitch, n int) bool {
	switch n {
	case 1:
		return avx512.MulF32x1(p.out, p.stride, p.load, p.store, p.weights, &x[0], pitch, p.blocks, p.leaf, p.scale, p.limit)
	case 2:
		return avx512.MulF32x2(p.out, p.stride, p.load, p.store, p.weights, &x[0], pitch, p.blocks, p.leaf, p.scale, p.limit)
	case 3:
		return avx512.MulF32x3(p.out, p.stride, p.load, p.store, p.weights, &x[0], pitch, p.blocks, p.leaf, p.scale, p.limit)
	case 4:
		return avx512.MulF32x4(p.out, p.stride, p.load, p.store, p.weights, &x[0], pitch, p.blocks, p.leaf, p.scale, p.limit)
	case 5:
		return avx512.MulF32x5(p.out, p.stride, p.load, p.store, p.weights, &x[0], pitch, p.blocks, p.leaf, p.scale, p.limit)
	case 6:
		return avx512.MulF32x6(p.out, p.stride, p.load, p.store, p.weights, &x[0], pitch, p.blocks, p.leaf, p.scale, p.limit)
	case 7:
		return avx512.MulF32x7(p.out, p.stride, p.load, p.store, p.weights, &x[0], pitch, p.blocks, p.leaf, p.scale, p.limit)
	case 8:
		return avx512.MulF32x8(p.out, p.stride, p.load, p.store, p.weights, &x[0], pitch, p.blocks, p.leaf, p.scale, p.limit)
	}
	return false
}
