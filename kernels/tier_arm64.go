package kernels

import "golang.org/x/sys/cpu"

// detectTiers lists the tiers of this processor and operating system, the fastest first.
func detectTiers() []Tier {
	var tiers []Tier
	if cpu.ARM64.HasASIMDDP && cpu.ARM64.HasI8MM {
		tiers = append(tiers, I8MM)
	}
	if cpu.ARM64.HasASIMDDP {
		tiers = append(tiers, NEON)
	}
	return append(tiers, Generic)
}
