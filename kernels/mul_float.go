package kernels

import (
	"encoding/binary"
	"math"
)

// addBlockF32 adds one block's products to the 16 rows of acc.
func addBlockF32(acc *[PanelRows]float32, block *[2048]byte, x *[BlockK]float32) {
	for k, v := range x {
		for row := range PanelRows {
			w := math.Float32frombits(binary.LittleEndian.Uint32(block[(k*PanelRows+row)*4:]))
			acc[row] += float32(w * v)
		}
	}
}

// addBlockBF16 adds one block's products to the 16 rows of acc.
func addBlockBF16(acc *[PanelRows]float32, block *[1024]byte, x *[BlockK]float32) {
	for k, v := range x {
		for row := range PanelRows {
			w := BF16ToF32(binary.LittleEndian.Uint16(block[(k/2*PanelRows+row)*4+k%2*2:]))
			acc[row] += float32(w * v)
		}
	}
}
