package kernels

// q4Candidates are what the largest weight of a block is, in units of the scale, under the scales with which the search begins. A
// negative one gives a scale of the other sign. These six are the best of all integers for normal, Laplace, Student-t and uniform weights
// together; an exhaustive search would save another 0.3 to 0.7 % of the squared error of the first three.
var q4Candidates = [...]float32{-68, -64, -60, -52, 52, 56}

// The largest and smallest float16 above zero, and the largest weight that fits Q4.
const (
	maxHalf  = 0x7bff
	minHalf  = 0x0001
	maxQ4    = 63 * 65504
	signHalf = 0x8000
)

// quantiseQ4 fills q with quants in [0, 15] and returns the float16 scale, of either sign, under which the squared
// error is small; amax is the largest magnitude in w. It returns an infinite scale if w does not fit.
//
// It rounds under each candidate scale to levels l and takes those that would leave the smallest error under their own
// least-squares scale, sum(w*l)/sum(l*l). From there it alternates between that scale, rounded to float16, and rounding. Errors
// are compared as gains, sum(w*w) - error, to which a scale s with levels l gives 2*s*sum(w*l) - s*s*sum(l*l).
func quantiseQ4(q *[BlockK]int8, w *[BlockK]float32, amax float32) uint16 {
	if amax > maxQ4 {
		return 0x7c00
	}
	best, bestGain := uint16(0), float32(0) // all zeros
	if amax >= 0x1p-25 {                    // else even the smallest scale is too large for the smallest level
		scale := startQ4(w)
		for range 2 {
			half := clampHalf(F32ToF16(scale))
			s := F16ToF32(half)
			wl, ll := sumsQ4(w, 1/s)
			if gain := float32(2*s*wl) - float32(float32(s*s)*ll); gain > bestGain {
				best, bestGain = half, gain
			}
			scale = wl / ll
		}
	}
	inv := finiteInverse(F16ToF32(best))
	for i, v := range w {
		q[i] = int8(nearestQ4[cellQ4(v, inv)])
	}
	return best
}

// clampHalf brings a float16 into the range of normal scales, without zero and infinity.
func clampHalf(h uint16) uint16 {
	return h&signHalf | min(max(h&^signHalf, minHalf), maxHalf)
}

// startQ4 is the best least-squares scale that the candidates lead to.
func startQ4(w *[BlockK]float32) float32 {
	unit := 1 / w[largest(w)]
	var scale, gain float32
	for _, c := range q4Candidates {
		wl, ll := sumsQ4(w, c*unit)
		if s := wl / ll; float32(s*wl) > gain {
			scale, gain = s, float32(s*wl)
		}
	}
	return scale
}

// The borders between neighbouring levels are multiples of 1/2. So the line is cut into cells that are half a unit wide, cell i
// from (i-128)/2 on: all of a cell is nearest to the same level. nearestQ4 has that level's quant, levelQ4 the level itself.
var nearestQ4, levelQ4 = makeCellsQ4()

func makeCellsQ4() (nearest [256]uint8, level [256]int32) {
	quant := 0
	for cell := range nearest {
		// The middle of the cell, in quarters; a border is half the sum of two levels.
		for quarters := 2*(cell-128) + 1; quant < 15 && quarters > 2*(int(q4Levels[quant])+int(q4Levels[quant+1])); {
			quant++
		}
		nearest[cell], level[cell] = uint8(quant), int32(q4Levels[quant])
	}
	return nearest, level
}

// cellQ4 is the cell of v*inv, or the first or the last one for what lies outside. A value on a border may fall to either side.
// The product is below 2^48: the largest weight times 2^24.
func cellQ4(v, inv float32) uint8 {
	n := int64(float32(v*(2*inv)) + 128)
	return uint8(max(0, min(n, 255)))
}

// sumsQ4 rounds w*inv to levels l and returns the sums of w*l, in four lanes, and of l*l, which is never zero.
func sumsQ4(w *[BlockK]float32, inv float32) (wl, ll float32) {
	var s0, s1, s2, s3 float32
	var squares int32
	for i := 0; i < BlockK; i += 4 {
		v := (*[4]float32)(w[i:])
		n0, n1, n2, n3 := levelQ4[cellQ4(v[0], inv)], levelQ4[cellQ4(v[1], inv)], levelQ4[cellQ4(v[2], inv)], levelQ4[cellQ4(v[3], inv)]
		squares += n0*n0 + n1*n1 + n2*n2 + n3*n3
		s0 += float32(v[0] * float32(n0))
		s1 += float32(v[1] * float32(n1))
		s2 += float32(v[2] * float32(n2))
		s3 += float32(v[3] * float32(n3))
	}
	return (s0 + s2) + (s1 + s3), float32(squares)
}
