package kernels

import "encoding/binary"

// The generic Q8 product multiplies two rows by one k with one 64-bit multiplication: eight bytes of a group, shifted and masked,
// leave the weights of one k in two 32-bit lanes. A negative lower lane borrows from the upper one; lowBias pays that back.
const (
	byteLanes = 0x000000ff000000ff
	lowBias   = 1 << 31
)

// dotQ8 computes dots[t][row] = the sum of (w+128)*q over a block, for up to tileT rows of x.
func dotQ8(dots *[tileT][PanelRows]int32, quants *[512]byte, x [][BlockK]int8) {
	for r := 0; r < PanelRows; r += 2 {
		var acc [tileT]uint64
		for g := 0; g < 8; g += 2 {
			v := binary.LittleEndian.Uint64(quants[64*g+4*r:])
			w0, w1, w2, w3 := v&byteLanes, v>>8&byteLanes, v>>16&byteLanes, v>>24&byteLanes
			v = binary.LittleEndian.Uint64(quants[64*g+64+4*r:])
			w4, w5, w6, w7 := v&byteLanes, v>>8&byteLanes, v>>16&byteLanes, v>>24&byteLanes
			for t := range x {
				q := (*[8]int8)(x[t][4*g:])
				a := w0*uint64(q[0]) + w1*uint64(q[1]) + w2*uint64(q[2]) + w3*uint64(q[3])
				b := w4*uint64(q[4]) + w5*uint64(q[5]) + w6*uint64(q[6]) + w7*uint64(q[7])
				acc[t%tileT] += a + b
			}
		}
		for t := range x {
			a := acc[t%tileT]
			dot := (*[2]int32)(dots[t%tileT][r:])
			dot[0], dot[1] = int32(uint32(a)), int32((a+lowBias)>>32)
		}
	}
}
