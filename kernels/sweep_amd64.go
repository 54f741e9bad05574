package kernels

import (
	"polynode/kernels/internal/avx2"
	"polynode/kernels/internal/avx512"
)

// sweepTier is Sweep on the active tier, for a multiple of sweepTurn bytes; ok is false where that is the generic tier. The AVX-512 tier has
// no loop of its own: Zen 4 reads memory 8 % faster in 32 bytes at a time than in 64.
func sweepTier(data []byte) (sum uint64, ok bool) {
	if active == Generic {
		return 0, false
	}
	return avx2.Sweep(&data[0], len(data)/sweepTurn), true
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
