package kernels

import "encoding/binary"

// addBlockQ8 adds one quantisation block's contribution to the 16 rows of acc.
func addBlockQ8(acc *[PanelRows]float32, block *[544]byte, q *[BlockK]int8, sum int32, scale float32) {
	for row := range PanelRows {
		dot := -128 * sum
		for g := range 8 {
			for j := range 4 {
				dot += int32(block[32+g*64+row*4+j]) * int32(q[4*g+j])
			}
		}
		s := F16ToF32(binary.LittleEndian.Uint16(block[2*row:])) * scale
		acc[row] += float32(float32(dot) * s)
	}
}
