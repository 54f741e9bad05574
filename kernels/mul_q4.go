package kernels

// The generic Q4 product multiplies two k's of one row with one 64-bit multiplication.
//
// Byte j of group g holds k = 4g+j in its low and k = 16+4g+j in its high nibble. q4Pairs turns the byte into the two levels, in two
// 32-bit lanes. Multiplied by a number that has the quants of the two k's the other way round (pairQuants), the upper lane of the
// product is their dot product. The lower lane is of no use, but a negative one borrows from the upper; lowBias pays that back.

// q4Pairs is, for each byte, the level of its low nibble plus 2^32 times that of its high nibble.
var q4Pairs = makeQ4Pairs()

func makeQ4Pairs() (pairs [256]uint64) {
	for b := range pairs {
		pairs[b] = uint64(q4Levels[b&15]) + uint64(q4Levels[b>>4])<<32
	}
	return pairs
}

// pairQuants is the quants of k and k+16 of x, at which x begins, in the upper and the lower lane.
func pairQuants(x *[BlockK/2 + 1]int8) uint64 { return uint64(x[0])<<32 + uint64(x[BlockK/2]) }

// addDotsQ4 adds to dots[row] the sum of level*q over a block, for one row of x.
func addDotsQ4(dots *[PanelRows]int32, quants *[256]byte, x *[BlockK]int8) {
	var acc [PanelRows]uint64
	for g := range 4 {
		q := (*[20]int8)(x[4*g:])
		q0, q1 := pairQuants((*[17]int8)(q[0:])), pairQuants((*[17]int8)(q[1:]))
		q2, q3 := pairQuants((*[17]int8)(q[2:])), pairQuants((*[17]int8)(q[3:]))
		src := (*[64]byte)(quants[64*g:])
		for r := range acc {
			w := (*[4]byte)(src[4*r:])
			acc[r] += q4Pairs[w[0]]*q0 + q4Pairs[w[1]]*q1 + q4Pairs[w[2]]*q2 + q4Pairs[w[3]]*q3
		}
	}
	for r, a := range acc {
		dots[r] += int32((a + lowBias) >> 32)
	}
}

// addDotsQ4Two is addDotsQ4 for two rows of x, for which it looks the levels up once.
func addDotsQ4Two(dots *[2][PanelRows]int32, quants *[256]byte, x *[2][BlockK]int8) {
	var acc, acd [PanelRows]uint64
	for g := range 4 {
		q, p := (*[20]int8)(x[0][4*g:]), (*[20]int8)(x[1][4*g:])
		q0, q1 := pairQuants((*[17]int8)(q[0:])), pairQuants((*[17]int8)(q[1:]))
		q2, q3 := pairQuants((*[17]int8)(q[2:])), pairQuants((*[17]int8)(q[3:]))
		p0, p1 := pairQuants((*[17]int8)(p[0:])), pairQuants((*[17]int8)(p[1:]))
		p2, p3 := pairQuants((*[17]int8)(p[2:])), pairQuants((*[17]int8)(p[3:]))
		src := (*[64]byte)(quants[64*g:])
		for r := range acc {
			bytes := (*[4]byte)(src[4*r:])
			w := q4Pairs[bytes[0]]
			a, b := w*q0, w*p0
			w = q4Pairs[bytes[1]]
			a, b = a+w*q1, b+w*p1
			w = q4Pairs[bytes[2]]
			a, b = a+w*q2, b+w*p2
			w = q4Pairs[bytes[3]]
			acc[r] += a + w*q3
			acd[r] += b + w*p3
		}
	}
	for r, a := range acc {
		dots[0][r] += int32((a + lowBias) >> 32)
		dots[1][r] += int32((acd[r] + lowBias) >> 32)
	}
}
