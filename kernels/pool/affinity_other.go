//go:build !linux

package pool

func allowedProcessors() []int { return everyProcessor() }

// stayOn leaves the choice to the operating system.
func stayOn([]int) error { return nil }
