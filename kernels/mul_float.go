package kernels

import (
	"encoding/binary"
	"math"
)

// widenF32 reads the weights of an F32 block, (BlockK, PanelRows).
func widenF32(dst *[BlockK * PanelRows]float32, block []byte) {
	b := (*[4 * BlockK * PanelRows]byte)(block)
	for i := range dst {
		dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
}

// widenBF16 widens the weights of a BF16 block, (BlockK, PanelRows).
func widenBF16(dst *[BlockK * PanelRows]float32, block []byte) {
	for pair := range BlockK / 2 {
		src := (*[4 * PanelRows]byte)(block[4*PanelRows*pair:])
		even := (*[2 * PanelRows]float32)(dst[2*PanelRows*pair:])
		for row := range PanelRows {
			v := binary.LittleEndian.Uint32(src[4*row:])
			even[row] = math.Float32frombits(v << 16)
			even[PanelRows+row] = math.Float32frombits(v & 0xffff0000)
		}
	}
}

// addProducts adds to acc[row] the products w[k][row]*x[k] in the order of k. It takes eight rows at a time, whose sums stay
// in registers.
func addProducts(acc *[PanelRows]float32, w *[BlockK * PanelRows]float32, x *[BlockK]float32) {
	for lo := 0; lo < PanelRows; lo += 8 {
		a := (*[8]float32)(acc[lo:])
		a0, a1, a2, a3, a4, a5, a6, a7 := a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]
		for k, v := range x {
			b := (*[8]float32)(w[k*PanelRows+lo:])
			a0 += float32(b[0] * v)
			a1 += float32(b[1] * v)
			a2 += float32(b[2] * v)
			a3 += float32(b[3] * v)
			a4 += float32(b[4] * v)
			a5 += float32(b[5] * v)
			a6 += float32(b[6] * v)
			a7 += float32(b[7] * v)
		}
		a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7] = a0, a1, a2, a3, a4, a5, a6, a7
	}
}
