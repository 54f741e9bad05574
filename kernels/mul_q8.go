package kernels

import "encoding/binary"

// The generic Q8 product multiplies two rows by one k with one 64-bit multiplication: eight bytes of a group, shifted and masked,
// leave the weights of one k in two 32-bit lanes. A negative lower lane borrows from the upper one; lowBias pays that back.
const (
	byteLanes = 0x000000ff000000ff
	lowBias   = 1 << 31
)

// addDotsQ8 adds to dots[row] the sum of (w+128)*q over a block, for one row of x.
func addDotsQ8(dots *[PanelRows]int32, quants *[512]byte, x *[BlockK]int8) {
	var acc [PanelRows / 2]uint64
	for g := range 8 {
		q := (*[4]int8)(x[4*g:])
		q0, q1, q2, q3 := uint64(q[0]), uint64(q[1]), uint64(q[2]), uint64(q[3])
		src := (*[64]byte)(quants[64*g:])
		for r := 0; r < len(acc); r += 2 {
			v := binary.LittleEndian.Uint64(src[8*r:])
			acc[r] += (v&byteLanes)*q0 + (v>>8&byteLanes)*q1 + (v>>16&byteLanes)*q2 + (v>>24&byteLanes)*q3
			v = binary.LittleEndian.Uint64(src[8*r+8:])
			acc[r+1] += (v&byteLanes)*q0 + (v>>8&byteLanes)*q1 + (v>>16&byteLanes)*q2 + (v>>24&byteLanes)*q3
		}
	}
	for r, a := range acc {
		dots[2*r] += int32(uint32(a))
		dots[2*r+1] += int32((a + lowBias) >> 32)
	}
}

// addDotsQ8Two is addDotsQ8 for two rows of x, for which it unpacks the weights once.
func addDotsQ8Two(dots *[2][PanelRows]int32, quants *[512]byte, x *[2][BlockK]int8) {
	var acc, acd [PanelRows / 2]uint64
	for g := range 8 {
		q, p := (*[4]int8)(x[0][4*g:]), (*[4]int8)(x[1][4*g:])
		q0, q1, q2, q3 := uint64(q[0]), uint64(q[1]), uint64(q[2]), uint64(q[3])
		p0, p1, p2, p3 := uint64(p[0]), uint64(p[1]), uint64(p[2]), uint64(p[3])
		src := (*[64]byte)(quants[64*g:])
		for r := range acc {
			v := binary.LittleEndian.Uint64(src[8*r:])
			w := v & byteLanes
			a, b := w*q0, w*p0
			w = v >> 8 & byteLanes
			a, b = a+w*q1, b+w*p1
			w = v >> 16 & byteLanes
			a, b = a+w*q2, b+w*p2
			w = v >> 24 & byteLanes
			acc[r] += a + w*q3
			acd[r] += b + w*p3
		}
	}
	for r, a := range acc {
		b := acd[r]
		dots[0][2*r] += int32(uint32(a))
		dots[0][2*r+1] += int32((a + lowBias) >> 32)
		dots[1][2*r] += int32(uint32(b))
		dots[1][2*r+1] += int32((b + lowBias) >> 32)
	}
}
