package kernels

// The generic Q4 product multiplies two rows by two k's with one 64-bit multiplication.
//
// Byte j of group g holds k = 4g+j in its low and k = 16+4g+j in its high nibble. q4Even and q4Odd turn it into the two levels, in
// 16-bit lanes 0 and 1 for an even row, 2 and 3 for the odd row beside it; the sum of both is a word. Multiplied by a number that has the
// quants of the two k's in lanes 1 and 0 (foldQuants), lanes 1 and 3 of the product are the two rows' dot products over the two k's. Lanes
// are signed and hold two products: 2 * 2 * 63 * 127 = 32004. A negative one borrows from the lane above; laneBias makes all lanes
// positive before the odd ones are taken out and added up in 32 bits.
const (
	laneBias = 0x8000800080008000
	oddLanes = 0x0000ffff0000ffff // after a shift by 16
	q4Excess = 8 * 0x8000         // what the biases of a block's eight pairs of words add to a dot product
)

// q4Even and q4Odd are, for each byte, the levels of its two nibbles as they stand in a word.
var q4Even, q4Odd = makeLevelLanes()

func makeLevelLanes() (even, odd [256]uint64) {
	for b := range even {
		even[b] = uint64(q4Levels[b&15]) + uint64(q4Levels[b>>4])<<16
		odd[b] = even[b] << 32
	}
	return even, odd
}

// q4Words are the levels of a block: per group and pair of rows, the word of each j.
type q4Words [4][PanelRows / 2][4]uint64

// unpack looks up a block's levels.
func (w *q4Words) unpack(quants *[256]byte) {
	for g := range w {
		for r := range w[g] {
			b, words := (*[8]byte)(quants[64*g+8*r:]), &w[g][r]
			words[0] = q4Even[b[0]] + q4Odd[b[4]]
			words[1] = q4Even[b[1]] + q4Odd[b[5]]
			words[2] = q4Even[b[2]] + q4Odd[b[6]]
			words[3] = q4Even[b[3]] + q4Odd[b[7]]
		}
	}
}

// foldQuants is four k's from where x begins in lane 1, and the k's 16 further on in lane 0.
func foldQuants(x *[20]int8) (q0, q1, q2, q3 uint64) {
	q0, q1 = uint64(x[0])<<16+uint64(x[16]), uint64(x[1])<<16+uint64(x[17])
	q2, q3 = uint64(x[2])<<16+uint64(x[18]), uint64(x[3])<<16+uint64(x[19])
	return q0, q1, q2, q3
}

// dots sets dots[row] to the sum of level*q over the block, for one row of x.
func (w *q4Words) dots(dots *[PanelRows]int32, x *[BlockK]int8) {
	var acc [PanelRows / 2]uint64
	for g := range w {
		q0, q1, q2, q3 := foldQuants((*[20]int8)(x[4*g:]))
		for r := 0; r < len(acc); r += 2 { // two at a time saves arithmetic of indices
			w, sums := (*[2][4]uint64)(w[g][r:]), (*[2]uint64)(acc[r:])
			a := w[0][0]*q0 + w[0][1]*q1 + laneBias
			b := w[0][2]*q2 + w[0][3]*q3 + laneBias
			sums[0] += a>>16&oddLanes + b>>16&oddLanes
			a = w[1][0]*q0 + w[1][1]*q1 + laneBias
			b = w[1][2]*q2 + w[1][3]*q3 + laneBias
			sums[1] += a>>16&oddLanes + b>>16&oddLanes
		}
	}
	splitDots(dots, &acc)
}

// dotsQ4 is q4Words.dots of a block that has not been unpacked: the faster way for a single row of x.
func dotsQ4(dots *[PanelRows]int32, quants *[256]byte, x *[BlockK]int8) {
	var acc [PanelRows / 2]uint64
	for g := range 4 {
		q0, q1, q2, q3 := foldQuants((*[20]int8)(x[4*g:]))
		for r := 0; r < len(acc); r += 2 {
			w, sums := (*[16]byte)(quants[64*g+8*r:]), (*[2]uint64)(acc[r:])
			a := (q4Even[w[0]]+q4Odd[w[4]])*q0 + (q4Even[w[1]]+q4Odd[w[5]])*q1 + laneBias
			b := (q4Even[w[2]]+q4Odd[w[6]])*q2 + (q4Even[w[3]]+q4Odd[w[7]])*q3 + laneBias
			sums[0] += a>>16&oddLanes + b>>16&oddLanes
			a = (q4Even[w[8]]+q4Odd[w[12]])*q0 + (q4Even[w[9]]+q4Odd[w[13]])*q1 + laneBias
			b = (q4Even[w[10]]+q4Odd[w[14]])*q2 + (q4Even[w[11]]+q4Odd[w[15]])*q3 + laneBias
			sums[1] += a>>16&oddLanes + b>>16&oddLanes
		}
	}
	splitDots(dots, &acc)
}

// splitDots takes apart the sums of pairs of rows.
func splitDots(dots *[PanelRows]int32, acc *[PanelRows / 2]uint64) {
	for r, sum := range acc {
		dots[2*r] = int32(uint32(sum)) - q4Excess
		dots[2*r+1] = int32(sum>>32) - q4Excess
	}
}
