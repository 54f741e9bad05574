package kernels

import "math"

// roundMagic added to a float32 of magnitude below 2^22 leaves the nearest integer (ties to even) in the low bits.
const (
	roundMagic     = 0x1.8p23
	roundMagicBits = 0x4b400000
)

// maxAbs is the largest magnitude in x, a NaN if any element is one.
func maxAbs(x []float32) float32 {
	// The bit patterns of non-negative floats order like integers, with every NaN above Inf.
	var top uint32
	for _, v := range x {
		top = max(top, math.Float32bits(v)&0x7fffffff)
	}
	return math.Float32frombits(top)
}

// finiteInverse is 1/x, or 0 where that is not finite.
func finiteInverse(x float32) float32 {
	inv := 1 / x
	if !(inv <= math.MaxFloat32) {
		return 0
	}
	return inv
}

// roundQuant clamps y to ±127 (a NaN is -127) and rounds it to the nearest integer, ties to even.
func roundQuant(y float32) int32 {
	if !(y > -127) {
		y = -127
	}
	if y > 127 {
		y = 127
	}
	return int32(math.Float32bits(y+roundMagic)) - roundMagicBits
}
