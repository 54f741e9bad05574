package kernels

import "polynode/kernels/internal/neon"

// sweepTier is Sweep on the active tier, for a multiple of sweepTurn bytes; ok is false where that is the generic tier.
func sweepTier(data []byte) (sum uint64, ok bool) {
	if active == Generic {
		return 0, false
	}
	return neon.Sweep(&data[0], len(data)/sweepTurn), true
}

// peakTier is PeakMultiplies on the active tier; ok is false where that is the generic tier.
func peakTier(rounds int) (multiplies int, ok bool) {
	switch active {
	case I8MM:
		return neon.PeakMM(rounds), true
	case NEON:
		return neon.PeakDot(rounds), true
	}
	return 0, false
}
