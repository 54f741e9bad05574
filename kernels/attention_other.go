//go:build !amd64 && !arm64

package kernels

// Limits of calls that are never made.
const (
	dotsTiles    = 16
	softmaxRows  = 64
	callHeads    = 16
	combineParts = 64 // of all rows together
)

// activeAttention is what the active tier brings to attention, nil for nothing.
func activeAttention() *attendTier { return nil }
