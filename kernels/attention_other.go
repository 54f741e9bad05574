//go:build !amd64 && !arm64

package kernels

// activeAttention is what the active tier brings to attention, nil for nothing.
func activeAttention() *attendTier { return nil }
