package kernels

import "golang.org/x/sys/cpu"

// detectTiers lists the tiers of this processor and operating system, the fastest first.
func detectTiers() []Tier {
	var tiers []Tier
	dot := cpu.ARM64.HasASIMDDP || alwaysDot
	if dot && cpu.ARM64.HasI8MM {
		tiers = append(tiers, I8MM)
	}
	if dot {
		tiers = append(tiers, NEON)
	}
	return append(tiers, Generic)
}
