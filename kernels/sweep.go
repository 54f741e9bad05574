package kernels

import "encoding/binary"

// Sweep reads every byte of data once, in order, and returns the exclusive or of its 64-bit words: the plain read loop
// that a product over the same bytes is compared with. A tail shorter than 64 bytes is left out.
func Sweep(data []byte) uint64 {
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
