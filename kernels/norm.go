package kernels

import "math"

// lanes is the number of partial sums in every float32 sum of this package; element i goes to lane i mod lanes.
const lanes = 16

// laneSum adds 16 lanes in the fixed tree: l+8, then +4, +2, +1.
func laneSum(l *[lanes]float32) float32 {
	a0, a1, a2, a3 := l[0]+l[8], l[1]+l[9], l[2]+l[10], l[3]+l[11]
	a4, a5, a6, a7 := l[4]+l[12], l[5]+l[13], l[6]+l[14], l[7]+l[15]
	a0, a1, a2, a3 = a0+a4, a1+a5, a2+a6, a3+a7
	return (a0 + a2) + (a1 + a3)
}

// LayerNorm writes ((x-mean)*inv)*w + b to dst, each step rounded to float32, where
//
//	mean = sum(x) / n
//	inv  = 1 / sqrt(sum((x-mean)*(x-mean))/n + eps)
//
// and each sum is 16 lanes (element i in lane i mod 16, in order from +0) and laneSum's tree. dst may be x.
// All slices have the length of x, which is at least 1.
func LayerNorm(dst, x, w, b []float32, eps float32) {
	n := len(x)
	mean, inv := moments(x, eps)
	normalise(dst[:n], x, w[:n], b[:n], mean, inv)
}

// moments are LayerNorm's mean and inv.
func moments(x []float32, eps float32) (mean, inv float32) {
	var sum [lanes]float32
	for i := leadSum(&sum, x); i < len(x); i++ {
		sum[i%lanes] += x[i]
	}
	mean = laneSum(&sum) / float32(len(x))
	var squares [lanes]float32
	for i := leadSquares(&squares, x, mean); i < len(x); i++ {
		d := x[i] - mean
		squares[i%lanes] += float32(d * d)
	}
	variance := laneSum(&squares) / float32(len(x))
	// The square root of a float32 taken in float64 and rounded is the correctly rounded float32 root.
	return mean, 1 / float32(math.Sqrt(float64(variance+eps)))
}

// normalise writes LayerNorm's outputs; all slices have the length of dst.
func normalise(dst, x, w, b []float32, mean, inv float32) {
	for i := leadNormalise(dst, x, w, b, mean, inv); i < len(dst); i++ {
		y := float32((x[i] - mean) * inv)
		dst[i] = float32(y*w[i]) + b[i]
	}
}
