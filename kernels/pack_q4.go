package kernels

import "math"

// q4Candidates are the quants, were they not rounded, of the largest weight under the scales with which the search begins. A
// negative one gives a scale of the other sign, under which the largest weight takes the extra quant -8.
var q4Candidates = [...]float32{-8.6, -8.1, -7.6, 7, 7.5, 8}

// The largest and smallest float16 above zero, and the largest weight that fits Q4.
const (
	maxHalf  = 0x7bff
	minHalf  = 0x0001
	maxQ4    = 8 * 65504
	signHalf = 0x8000
)

// quantiseQ4 fills q with quants in [-8, 7] and returns the float16 scale, of either sign, under which the squared
// error is small; amax is the largest magnitude in w. It returns an infinite scale if w does not fit.
//
// It rounds under each candidate scale and takes the quants that would leave the smallest error under their own
// least-squares scale, sum(w*q)/sum(q*q). From there it alternates between that scale, rounded to float16, and rounding. Errors
// are compared as gains, sum(w*w) - error, to which a scale s with quants q gives 2*s*sum(w*q) - s*s*sum(q*q).
func quantiseQ4(q *[BlockK]int8, w *[BlockK]float32, amax float32) uint16 {
	if amax > maxQ4 {
		return 0x7c00
	}
	best, bestGain := uint16(0), float32(0) // all zeros
	if amax >= 0x1p-25 {                    // else even the smallest scale rounds everything to zero
		scale := startQ4(w)
		for range 2 {
			half := clampHalf(F32ToF16(scale))
			s := F16ToF32(half)
			wq, qq := sumsQ4(w, 1/s)
			if gain := float32(2*s*wq) - float32(float32(s*s)*qq); gain > bestGain {
				best, bestGain = half, gain
			}
			if qq == 0 {
				break
			}
			scale = wq / qq
		}
	}
	inv := finiteInverse(F16ToF32(best))
	for i, v := range w {
		q[i] = int8(roundQ4(v, inv))
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
		wq, qq := sumsQ4(w, c*unit)
		if s := wq / qq; float32(s*wq) > gain {
			scale, gain = s, float32(s*wq)
		}
	}
	return scale
}

// roundQ4 is v*inv rounded to the nearest integer, ties to even, and clamped to [-8, 7]. The product is below 2^22.
func roundQ4(v, inv float32) int32 {
	n := int32(math.Float32bits(float32(v*inv)+roundMagic)) - roundMagicBits
	return max(-8, min(n, 7))
}

// sumsQ4 rounds w*inv to quants q and returns the sums of w*q, in four lanes, and of q*q.
func sumsQ4(w *[BlockK]float32, inv float32) (wq, qq float32) {
	var s0, s1, s2, s3 float32
	var squares int32
	for i := 0; i < BlockK; i += 4 {
		v := (*[4]float32)(w[i:])
		n0, n1, n2, n3 := roundQ4(v[0], inv), roundQ4(v[1], inv), roundQ4(v[2], inv), roundQ4(v[3], inv)
		squares += n0*n0 + n1*n1 + n2*n2 + n3*n3
		s0 += float32(v[0] * float32(n0))
		s1 += float32(v[1] * float32(n1))
		s2 += float32(v[2] * float32(n2))
		s3 += float32(v[3] * float32(n3))
	}
	return (s0 + s2) + (s1 + s3), float32(squares)
}
