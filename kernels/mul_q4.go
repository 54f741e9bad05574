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
	q4Excess    = 2 * 0x8000 // what the lane biases of the two halves of a block add to a dot product
)

// addDotsQ4 adds to dots[row] the sum of (w+8)*q over a block, plus q4Excess, for one row of x.
func addDotsQ4(dots *[PanelRows]int32, quants *[256]byte, x *[2]pairs) {
	for half := range x {
		q := &x[half]
		q0, q1, q2, q3, q4, q5, q6, q7 := q[0], q[1], q[2], q[3], q[4], q[5], q[6], q[7]
		src := (*[128]byte)(quants[128*half:])
		for r := 0; r < PanelRows; r += 2 {
			v := binary.LittleEndian.Uint64(src[4*r:])
			a := (v&nibbleLanes)*q0 + (v>>4&nibbleLanes)*q1 + (v>>8&nibbleLanes)*q2 + (v>>12&nibbleLanes)*q3
			v = binary.LittleEndian.Uint64(src[64+4*r:])
			b := (v&nibbleLanes)*q4 + (v>>4&nibbleLanes)*q5 + (v>>8&nibbleLanes)*q6 + (v>>12&nibbleLanes)*q7
			a += b + laneBias
			dots[r] += int32(uint16(a >> 16))
			dots[r+1] += int32(a >> 48)
		}
	}
}

// addDotsQ4Many is addDotsQ4 for several rows of x: a block's weights are unpacked once for all of them.
func addDotsQ4Many(dots [][PanelRows]int32, quants *[256]byte, x [][2]pairs) {
	dots = dots[:len(x)]
	for r := 0; r < PanelRows; r += 2 {
		for half := range 2 {
			v := binary.LittleEndian.Uint64(quants[128*half+4*r:])
			w0, w1, w2, w3 := v&nibbleLanes, v>>4&nibbleLanes, v>>8&nibbleLanes, v>>12&nibbleLanes
			v = binary.LittleEndian.Uint64(quants[128*half+64+4*r:])
			w4, w5, w6, w7 := v&nibbleLanes, v>>4&nibbleLanes, v>>8&nibbleLanes, v>>12&nibbleLanes
			for t := range x {
				q := &x[t][half]
				a := w0*q[0] + w1*q[1] + w2*q[2] + w3*q[3]
				b := w4*q[4] + w5*q[5] + w6*q[6] + w7*q[7]
				a += b + laneBias
				dot := (*[2]int32)(dots[t][r:])
				dot[0] += int32(uint16(a >> 16))
				dot[1] += int32(a >> 48)
			}
		}
	}
}

// pairs is the quants of half a block, two in each number, as addDotsQ4 multiplies by them.
type pairs [8]uint64

// pairQuants folds the quants of a block into pairs. In group g of a weight block, a shift by 0, 4, 8 or 12 bits
// brings the weights of k's 4g and 4g+2, 4g+16 and 4g+18, 4g+1 and 4g+3, 4g+17 and 4g+19 into lanes 0 and 1.
func pairQuants(dst *[2]pairs, q *[BlockK]int8) {
	for g := range 4 {
		pairGroup((*[4]uint64)(dst[g/2][g%2*4:]), (*[20]int8)(q[4*g:]))
	}
}

func pairGroup(dst *[4]uint64, q *[20]int8) {
	dst[0] = uint64(q[0])<<16 + uint64(q[2])
	dst[1] = uint64(q[16])<<16 + uint64(q[18])
	dst[2] = uint64(q[1])<<16 + uint64(q[3])
	dst[3] = uint64(q[17])<<16 + uint64(q[19])
}
