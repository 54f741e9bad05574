package kernels

import "github.com/klauspost/cpuid/v2"

// detectTiers lists the tiers of this processor and operating system, the fastest first.
func detectTiers() []Tier {
	var tiers []Tier
	if cpuid.CPU.Supports(cpuid.AVX512F, cpuid.AVX512BW, cpuid.AVX512DQ, cpuid.AVX512VL, cpuid.AVX512VNNI) {
		tiers = append(tiers, AVX512)
	}
	if cpuid.CPU.Supports(cpuid.AVX2, cpuid.F16C) {
		tiers = append(tiers, AVX2)
	}
	return append(tiers, Generic)
}
