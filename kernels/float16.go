package kernels

import "math"

// F16ToF32 widens a float16 (the IEEE 754 binary16 bits h); every value is exact, a NaN stays a NaN.
func F16ToF32(h uint16) float32 {
	bits := uint32(h&0x8000)<<16 | uint32(h&0x7fff)<<13
	if h&0x7c00 == 0x7c00 { // Inf or NaN: the exponent of a float32 is all ones too
		return math.Float32frombits(bits | 0x7f800000)
	}
	// Moving the exponent's bias from 15 to 127 is a multiplication, which also makes subnormals normal.
	return math.Float32frombits(bits) * 0x1p112
}

// F32ToF16 narrows x to float16 bits, rounded to nearest even. Beyond 65504 (after rounding) it is Inf;
// a NaN becomes a quiet NaN of the same sign.
func F32ToF16(x float32) uint16 {
	bits := math.Float32bits(x)
	sign := uint16(bits>>16) & 0x8000
	bits &= 0x7fffffff
	switch {
	case bits > 0x7f800000:
		return sign | 0x7e00
	case bits >= 0x47800000: // 65536 and more
		return sign | 0x7c00
	case bits < 0x38800000: // below 2^-14: let one float32 addition round to the multiples of 2^-24
		y := math.Float32frombits(bits) + 0.5
		return sign | uint16(math.Float32bits(y)-0x3f000000)
	}
	// Round at bit 13; a carry runs into the exponent as it should, up to Inf.
	bits += 0xfff + (bits>>13)&1
	return sign | uint16((bits-0x38000000)>>13)
}

// BF16ToF32 widens a bfloat16, the upper half of a float32.
func BF16ToF32(h uint16) float32 { return math.Float32frombits(uint32(h) << 16) }

// F32ToBF16 narrows x to bfloat16, rounded to nearest even; a NaN becomes a quiet NaN of the same sign.
func F32ToBF16(x float32) uint16 {
	bits := math.Float32bits(x)
	if bits&0x7fffffff > 0x7f800000 {
		return uint16(bits>>16)&0x8000 | 0x7fc0
	}
	return uint16((bits + 0x7fff + (bits>>16)&1) >> 16)
}
