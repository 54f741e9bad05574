package kernels

import "encoding/binary"

// Sweep reads every byte of data once, in order, and returns the exclusive or of its 64-bit words: the plain read loop
// that a product over the same bytes is compared with. A tail shorter than 64 bytes is left out.
func Sweep(data []byte) uint64 {
	head, sum := 0, uint64(0)
	for cut := sweepTurn; head+sweepTurn <= len(data); head += cut {
		cut = min(len(data)-head, sweepCall) / sweepTurn * sweepTurn
		part, ok := sweepTier(data[head : head+cut])
		if !ok {
			break
		}
		sum ^= part
	}
	return sum ^ sweepGeneric(data[head:])
}

const (
	sweepTurn = 256     // bytes that the loops in assembly take at a time
	sweepCall = 1 << 17 // bytes of one call into assembly, which cannot be stopped
)

// sweepGeneric is Sweep.
func sweepGeneric(data []byte) uint64 {
	var a, b, c, d uint64
	for len(data) >= 64 {
		block := data[:64:64]
		a ^= binary.LittleEndian.Uint64(block) ^ binary.LittleEndian.Uint64(block[8:])
		b ^= binary.LittleEndian.Uint64(block[16:]) ^ binary.LittleEndian.Uint64(block[24:])
		c ^= binary.LittleEndian.Uint64(block[32:]) ^ binary.LittleEndian.Uint64(block[40:])
		d ^= binary.LittleEndian.Uint64(block[48:]) ^ binary.LittleEndian.Uint64(block[56:])
		data = data[64:]
	}
	return a ^ b ^ c ^ d
}

// PeakMultiplies runs rounds of 8-bit multiply-adds in registers, as fast as the active tier's instructions for them go, and returns
// how many there were: the peak that products are compared with. A round of the fast tiers is some nanoseconds.
func PeakMultiplies(rounds int) (multiplies int) {
	for rounds > 0 {
		cut := min(rounds, peakCall)
		part, ok := peakTier(cut)
		if !ok {
			part = peakGeneric(cut)
		}
		multiplies += part
		rounds -= cut
	}
	return multiplies
}

// peakCall is the rounds of one call into assembly.
const peakCall = 1 << 10

// peakGeneric is PeakMultiplies. All factors are even, so that the lowest bit of the sums, which keeps the multiplications from being
// optimised away, is zero.
func peakGeneric(rounds int) (multiplies int) {
	const lanes = 8
	x, y := int32(rounds)*2, int32(rounds)*4
	var a, b, c, d, e, f, g, h int32
	for range rounds {
		a, b, c, d = a+x*y, b+x*a, c+x*b, d+x*c
		e, f, g, h = e+y*x, f+y*e, g+y*f, h+y*g
	}
	return rounds*lanes + int((a^b^c^d^e^f^g^h)&1)
}
