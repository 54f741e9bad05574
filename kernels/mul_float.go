package kernels

import (
	"encoding/binary"
	"math"
)

// widenF32 reads the weights of an F32 block, (BlockK, PanelRows).
func widenF32(dst *[BlockK * PanelRows]float32, block *[4 * BlockK * PanelRows]byte) {
	for i := range dst {
		dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(block[4*i:]))
	}
}

// widenBF16 widens the weights of a BF16 block, (BlockK, PanelRows).
func widenBF16(dst *[BlockK * PanelRows]float32, block *[2 * BlockK * PanelRows]byte) {
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

// addProducts adds to acc[row] the products w[k][row]*x[k] in the order of k. It takes as few rows at a time as keep the sums and the
// products in registers.
func addProducts(acc *[PanelRows]float32, w *[BlockK * PanelRows]float32, x *[BlockK]float32) {
	for lo := 0; lo < PanelRows; lo += 4 {
		a := (*[4]float32)(acc[lo:])
		a0, a1, a2, a3 := a[0], a[1], a[2], a[3]
		for k, v := range x {
			b := (*[4]float32)(w[k*PanelRows+lo:])
			a0 += float32(b[0] * v)
			a1 += float32(b[1] * v)
			a2 += float32(b[2] * v)
			a3 += float32(b[3] * v)
		}
		a[0], a[1], a[2], a[3] = a0, a1, a2, a3
	}
}

// addProductsF32 is addProducts on an F32 block as it is stored.
func addProductsF32(acc *[PanelRows]float32, block *[4 * BlockK * PanelRows]byte, x *[BlockK]float32) {
	for lo := 0; lo < PanelRows; lo += 4 {
		a := (*[4]float32)(acc[lo:])
		a0, a1, a2, a3 := a[0], a[1], a[2], a[3]
		for k, v := range x {
			b := (*[16]byte)(block[4*(k*PanelRows+lo):])
			a0 += float32(math.Float32frombits(binary.LittleEndian.Uint32(b[0:])) * v)
			a1 += float32(math.Float32frombits(binary.LittleEndian.Uint32(b[4:])) * v)
			a2 += float32(math.Float32frombits(binary.LittleEndian.Uint32(b[8:])) * v)
			a3 += float32(math.Float32frombits(binary.LittleEndian.Uint32(b[12:])) * v)
		}
		a[0], a[1], a[2], a[3] = a0, a1, a2, a3
	}
}

// addProductsBF16 is addProducts on a BF16 block as it is stored: the weights of two k's in each 32-bit word.
func addProductsBF16(acc *[PanelRows]float32, block *[2 * BlockK * PanelRows]byte, x *[BlockK]float32) {
	const odd = 0xffff0000
	for lo := 0; lo < PanelRows; lo += 4 {
		a := (*[4]float32)(acc[lo:])
		a0, a1, a2, a3 := a[0], a[1], a[2], a[3]
		for k := 0; k < BlockK; k += 2 {
			b := (*[16]byte)(block[2*k*PanelRows+4*lo:])
			w0, w1 := binary.LittleEndian.Uint32(b[0:]), binary.LittleEndian.Uint32(b[4:])
			w2, w3 := binary.LittleEndian.Uint32(b[8:]), binary.LittleEndian.Uint32(b[12:])
			v := x[k]
			a0 += float32(math.Float32frombits(w0<<16) * v)
			a1 += float32(math.Float32frombits(w1<<16) * v)
			a2 += float32(math.Float32frombits(w2<<16) * v)
			a3 += float32(math.Float32frombits(w3<<16) * v)
			v = x[k+1]
			a0 += float32(math.Float32frombits(w0&odd) * v)
			a1 += float32(math.Float32frombits(w1&odd) * v)
			a2 += float32(math.Float32frombits(w2&odd) * v)
			a3 += float32(math.Float32frombits(w3&odd) * v)
		}
		a[0], a[1], a[2], a[3] = a0, a1, a2, a3
	}
}
