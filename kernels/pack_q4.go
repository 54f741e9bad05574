package kernels

import "math"

// quantiseQ4 fills q with quants in [-8, 7] and returns the float16 scale, which may be negative.
func quantiseQ4(q *[BlockK]int8, w *[BlockK]float32, amax float32) uint16 {
	if amax == 0 {
		*q = [BlockK]int8{}
		return 0
	}
	best, bestErr := uint16(0x7c00), math.Inf(1)
	for _, den := range []float32{-8.5, -8, -7.5, -7, 7, 7.5, 8, 8.5} {
		scale := amax / den
		for range 3 {
			half := F32ToF16(scale)
			if half&0x7c00 == 0x7c00 {
				break
			}
			var try [BlockK]int8
			wq, qq, e := roundQ4(&try, w, F16ToF32(half))
			if e < bestErr {
				best, bestErr = half, e
				*q = try
			}
			if qq == 0 {
				break
			}
			scale = wq / qq
		}
	}
	return best
}

// roundQ4 quantises w under one scale and returns the sums of w*q and q*q, and the squared error.
func roundQ4(q *[BlockK]int8, w *[BlockK]float32, scale float32) (wq, qq float32, squares float64) {
	inv := 1 / scale
	if !(inv <= math.MaxFloat32 && inv >= -math.MaxFloat32) {
		inv = 0
	}
	for i, v := range w {
		y := float32(v * inv)
		y = min(max(y, -8), 7)
		n := int32(math.Float32bits(y+roundMagic)) - roundMagicBits
		q[i] = int8(n)
		f := float32(n)
		wq += float32(f * v)
		qq += float32(f * f)
		d := float64(v) - float64(float32(f*scale))
		squares += float64(d * d)
	}
	return wq, qq, squares
}
