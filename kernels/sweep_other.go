//go:build !amd64 && !arm64

package kernels

// sweepTier says that Sweep has no faster tier than the generic one.
func sweepTier(data []byte) (sum uint64, ok bool) { return 0, false }

// peakTier says that PeakMultiplies has no faster tier than the generic one.
func peakTier(rounds int) (multiplies int, ok bool) { return 0, false }
