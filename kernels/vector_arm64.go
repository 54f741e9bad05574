package kernels

import "polynode/kernels/internal/neon"

// Each function of this file does the leading elements of its operation on the active tier, a multiple of 16, and returns how
// many; the caller does the rest in the generic tier. Lengths are those of the first slice. None is done where the tier has no
// such code.

// piece is how many elements one call takes at most: assembly cannot be preempted, and a small processor should need no more than 10
// microseconds for so many of the slowest operation.
const piece = 1024

// lead is how many of n elements the active tier does. NEON and I8MM have the same vector operations.
func lead(n int) int {
	if active == Generic {
		return 0
	}
	return n &^ (lanes - 1)
}

// leadSum sums x into its lanes, as LayerNorm's mean does.
func leadSum(sum *[lanes]float32, x []float32) int {
	n := lead(len(x))
	for i := 0; i < n; i += piece {
		neon.SumLanes(&sum[0], &x[i], min(piece, n-i))
	}
	return n
}

// leadSquares sums (x-mean)*(x-mean) into its lanes.
func leadSquares(sum *[lanes]float32, x []float32, mean float32) int {
	n := lead(len(x))
	for i := 0; i < n; i += piece {
		neon.SumSquares(&sum[0], &x[i], min(piece, n-i), mean)
	}
	return n
}

// leadNormalise writes ((x-mean)*inv)*w + b to dst, which may be x.
func leadNormalise(dst, x, w, b []float32, mean, inv float32) int {
	n := lead(len(dst))
	for i := 0; i < n; i += piece {
		neon.Normalise(&dst[i], &x[i], &w[i], &b[i], min(piece, n-i), mean, inv)
	}
	return n
}

// leadExp is ExpAll.
func leadExp(x []float32) int {
	n := lead(len(x))
	for i := 0; i < n; i += piece {
		neon.Exp(&x[i], min(piece, n-i))
	}
	return n
}

// leadGELU is GELU.
func leadGELU(x []float32) int {
	n := lead(len(x))
	for i := 0; i < n; i += piece {
		neon.GELU(&x[i], min(piece, n-i))
	}
	return n
}

// leadGELUErf is GELUErf.
func leadGELUErf(x []float32) int {
	n := lead(len(x))
	for i := 0; i < n; i += piece {
		neon.GELUErf(&x[i], min(piece, n-i))
	}
	return n
}

// leadFinish is Finish with unit = 2^-exponent; bias may be nil.
func leadFinish(dst []float32, sums []int32, unit float32, bias []float32) int {
	n := lead(len(dst))
	for i := 0; i < n; i += piece {
		var b *float32
		if bias != nil {
			b = &bias[i]
		}
		neon.Finish(&dst[i], &sums[i], b, min(piece, n-i), unit)
	}
	return n
}

// leadAdd is Add.
func leadAdd(dst, src []float32) int {
	n := lead(len(dst))
	for i := 0; i < n; i += piece {
		neon.Add(&dst[i], &src[i], min(piece, n-i))
	}
	return n
}

// leadAddSums is AddSums.
func leadAddSums(dst, src []int32) int {
	n := lead(len(dst))
	for i := 0; i < n; i += piece {
		neon.AddInt32(&dst[i], &src[i], min(piece, n-i))
	}
	return n
}

// leadAddScaled adds x*w to acc, product and sum rounded.
func leadAddScaled(acc, x []float32, w float32) int {
	n := lead(len(acc))
	for i := 0; i < n; i += piece {
		neon.AddScaled(&acc[i], &x[i], min(piece, n-i), w)
	}
	return n
}

// leadDivide divides x by a number.
func leadDivide(x []float32, by float32) int {
	n := lead(len(x))
	for i := 0; i < n; i += piece {
		neon.Divide(&x[i], min(piece, n-i), by)
	}
	return n
}
