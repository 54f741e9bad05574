package kernels

import "encoding/binary"

// The generic Q4 product multiplies two rows by two k's with one 64-bit multiplication.
//
// Eight bytes of a group are four bytes of one row and four of the next. Shifted right by 0, 4, 8 or 12 bits and masked,
// they leave one nibble in each 16-bit lane: two k's of the row in lanes 0 and 1, the same two of the next row in
// lanes 2 and 3. Multiplied by a number that has the quants of those two k's in lanes 1 and 0 (pairQuants), lanes 1 and 3 of
// the product are the two rows' dot products over the two k's. A lane holds eight products: 8 * 2 * 15 * 127 = 30480. It is
// signed, so a negative one borrows from the lane above; laneBias, added before the lanes are taken apart, pays that back.
const (
	nibbleLanes = 0x000f000f000f000f
	laneBias    = 0x8000800080008000
	q4Bias      = 2 * 0x8000 // what dotQ4 adds to a dot product, from two halves of a block
)

// dotQ4 computes dots[t][row] = q4Bias + the sum of (w+8)*q over a block, for up to tileT rows of x.
func dotQ4(dots *[tileT][PanelRows]int32, quants *[256]byte, x [][BlockK / 2]int32) {
	for r := 0; r < PanelRows; r += 2 {
		for half := 0; half < 2; half++ {
			v := binary.LittleEndian.Uint64(quants[128*half+4*r:])
			w0, w1, w2, w3 := v&nibbleLanes, v>>4&nibbleLanes, v>>8&nibbleLanes, v>>12&nibbleLanes
			v = binary.LittleEndian.Uint64(quants[128*half+64+4*r:])
			w4, w5, w6, w7 := v&nibbleLanes, v>>4&nibbleLanes, v>>8&nibbleLanes, v>>12&nibbleLanes
			for t := range x {
				q := (*[8]int32)(x[t][8*half:])
				a := w0*uint64(q[0]) + w1*uint64(q[1]) + w2*uint64(q[2]) + w3*uint64(q[3])
				b := w4*uint64(q[4]) + w5*uint64(q[5]) + w6*uint64(q[6]) + w7*uint64(q[7])
				a += b + laneBias
				dot := (*[2]int32)(dots[t%tileT][r:])
				if half == 0 {
					dot[0], dot[1] = int32(uint16(a>>16)), int32(a>>48)
				} else {
					dot[0], dot[1] = dot[0]+int32(uint16(a>>16)), dot[1]+int32(a>>48)
				}
			}
		}
	}
}
