package kernels

import (
	"polynode/kernels/internal/avx2"
	"polynode/kernels/internal/avx512"
)

// Each function of this file does the leading elements of its operation on the active tier, a multiple of 16, and returns how
// many; the caller does the rest in the generic tier. Lengths are those of the first slice. None is done where the tier has no
// such code.

// piece is how many elements one call takes at most: assembly cannot be preempted, and the slowest operation does this many in
// 3 microseconds.
const piece = 4096

// lead is how many of n elements the active tier does.
func lead(n int) int {
	if active != AVX512 && active != AVX2 {
		return 0
	}
	return n &^ (lanes - 1)
}

// leadSum sums x into its lanes, as LayerNorm's mean does.
func leadSum(sum *[lanes]float32, x []float32) int {
	n := lead(len(x))
	for i := 0; i < n; i += piece {
		if m := min(piece, n-i); active == AVX512 {
			avx512.SumLanes(&sum[0], &x[i], m)
		} else {
			avx2.SumLanes(&sum[0], &x[i], m)
		}
	}
	return n
}

// leadSquares sums (x-mean)*(x-mean) into its lanes.
func leadSquares(sum *[lanes]float32, x []float32, mean float32) int {
	n := lead(len(x))
	for i := 0; i < n; i += piece {
		if m := min(piece, n-i); active == AVX512 {
			avx512.SumSquares(&sum[0], &x[i], m, mean)
		} else {
			avx2.SumSquares(&sum[0], &x[i], m, mean)
		}
	}
	return n
}

// leadNormalise writes ((x-mean)*inv)*w + b to dst, which may be x.
func leadNormalise(dst, x, w, b []float32, mean, inv float32) int {
	n := lead(len(dst))
	for i := 0; i < n; i += piece {
		if m := min(piece, n-i); active == AVX512 {
			avx512.Normalise(&dst[i], &x[i], &w[i], &b[i], m, mean, inv)
		} else {
			avx2.Normalise(&dst[i], &x[i], &w[i], &b[i], m, mean, inv)
		}
	}
	return n
}

// leadExp is ExpAll.
func leadExp(x []float32) int {
	n := lead(len(x))
	for i := 0; i < n; i += piece {
		if m := min(piece, n-i); active == AVX512 {
			avx512.Exp(&x[i], m)
		} else {
			avx2.Exp(&x[i], m)
		}
	}
	return n
}

// leadGELU is GELU.
func leadGELU(x []float32) int {
	n := lead(len(x))
	for i := 0; i < n; i += piece {
		if m := min(piece, n-i); active == AVX512 {
			avx512.GELU(&x[i], m)
		} else {
			avx2.GELU(&x[i], m)
		}
	}
	return n
}

// leadGELUErf is GELUErf.
func leadGELUErf(x []float32) int {
	n := lead(len(x))
	for i := 0; i < n; i += piece {
		if m := min(piece, n-i); active == AVX512 {
			avx512.GELUErf(&x[i], m)
		} else {
			avx2.GELUErf(&x[i], m)
		}
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
		if m := min(piece, n-i); active == AVX512 {
			avx512.Finish(&dst[i], &sums[i], b, m, unit)
		} else {
			avx2.Finish(&dst[i], &sums[i], b, m, unit)
		}
	}
	return n
}

// leadAdd is Add.
func leadAdd(dst, src []float32) int {
	n := lead(len(dst))
	for i := 0; i < n; i += piece {
		if m := min(piece, n-i); active == AVX512 {
			avx512.Add(&dst[i], &src[i], m)
		} else {
			avx2.Add(&dst[i], &src[i], m)
		}
	}
	return n
}

// leadAddSums is AddSums.
func leadAddSums(dst, src []int32) int {
	n := lead(len(dst))
	for i := 0; i < n; i += piece {
		if m := min(piece, n-i); active == AVX512 {
			avx512.AddInt32(&dst[i], &src[i], m)
		} else {
			avx2.AddInt32(&dst[i], &src[i], m)
		}
	}
	return n
}

// leadAddScaled adds x*w to acc, product and sum rounded.
func leadAddScaled(acc, x []float32, w float32) int {
	n := lead(len(acc))
	for i := 0; i < n; i += piece {
		if m := min(piece, n-i); active == AVX512 {
			avx512.AddScaled(&acc[i], &x[i], m, w)
		} else {
			avx2.AddScaled(&acc[i], &x[i], m, w)
		}
	}
	return n
}

// leadDivide divides x by a number.
func leadDivide(x []float32, by float32) int {
	n := lead(len(x))
	for i := 0; i < n; i += piece {
		if m := min(piece, n-i); active == AVX512 {
			avx512.Divide(&x[i], m, by)
		} else {
			avx2.Divide(&x[i], m, by)
		}
	}
	return n
}
