package kernels

import (
	"encoding/binary"
	"math"
)

// UnpackRow dequantises one row of m into dst (K): the embedding lookup. Quantised weights are float32(w)*scale, in Q4
// float32(level)*scale, rounded once.
func UnpackRow(dst []float32, m *Matrix, row int) {
	dst = dst[:m.K]
	panel, lane, size := m.Panel(row/PanelRows), row%PanelRows, m.Format.BlockBytes()
	for b := leadUnpack(dst, m, row); b < Blocks(m.K); b++ {
		block := panel[b*size : (b+1)*size]
		part := dst[b*BlockK : min((b+1)*BlockK, len(dst))]
		switch m.Format {
		case F32:
			for k := range part {
				part[k] = math.Float32frombits(binary.LittleEndian.Uint32(block[(k*PanelRows+lane)*4:]))
			}
		case BF16:
			for k := range part {
				part[k] = BF16ToF32(binary.LittleEndian.Uint16(block[(k/2*PanelRows+lane)*4+k%2*2:]))
			}
		case Q8:
			scale := F16ToF32(binary.LittleEndian.Uint16(block[2*lane:]))
			for k := range part {
				part[k] = float32(int32(block[32+k/4*64+lane*4+k%4])-128) * scale
			}
		case Q4:
			scale := F16ToF32(binary.LittleEndian.Uint16(block[2*lane:]))
			for k := range part {
				pair := block[32+k%16/4*64+lane*4+k%4]
				part[k] = float32(q4Levels[pair>>(k/16*4)&15]) * scale
			}
		}
	}
}
