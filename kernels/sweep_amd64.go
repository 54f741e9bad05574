package kernels

import (
	"polynode/kernels/internal/avx2"
	"polynode/kernels/internal/avx512"
)

// sweepTier is Sweep on the active tier, for a multiple of sweepTurn bytes; ok is false where that is the generic tier.
func sweepTier(data []byte) (sum uint64, ok bool) {
	switch active {
	case AVX512:
		return avx512.Sweep(&data[0], len(data)/sweepTurn), true
	case AVX2:
		return avx2.Sweep(&data[0], len(data)/sweepTurn), true
	}
	return 0, false
}

// peakTier is PeakMultiplies on the active tier; ok is false where that is the generic tier.
func peakTier(rounds int) (multiplies int, ok bool) {
	switch active {
	case AVX512:
		return avx512.Peak(rounds), true
	case AVX2:
		return avx2.Peak(rounds), true
	}
	return 0, false
}
