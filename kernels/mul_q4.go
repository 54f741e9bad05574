package kernels

import "encoding/binary"

// addBlockQ4 adds one quantisation block's contribution to the 16 rows of acc.
func addBlockQ4(acc *[PanelRows]float32, block *[288]byte, q *[BlockK]int8, sum int32, scale float32) {
	for row := range PanelRows {
		dot := -8 * sum
		for g := range 4 {
			for j := range 4 {
				b := block[32+g*64+row*4+j]
				dot += int32(b&15)*int32(q[4*g+j]) + int32(b>>4)*int32(q[16+4*g+j])
			}
		}
		s := F16ToF32(binary.LittleEndian.Uint16(block[2*row:])) * scale
		acc[row] += float32(float32(dot) * s)
	}
}
