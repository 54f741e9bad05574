//go:build !amd64 && !arm64

package kernels

// detectTiers lists the tiers of this processor: there is only one.
func detectTiers() []Tier { return []Tier{Generic} }
