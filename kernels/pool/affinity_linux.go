package pool

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// allowedProcessors are those that the process may run on.
func allowedProcessors() []int {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return everyProcessor()
	}
	var list []int
	for cpu := 0; len(list) < set.Count(); cpu++ {
		if set.IsSet(cpu) {
			list = append(list, cpu)
		}
	}
	return list
}

// stayOn keeps the calling thread, which the caller has locked, on some processors.
func stayOn(cpus []int) error {
	var set unix.CPUSet
	for _, cpu := range cpus {
		set.Set(cpu)
	}
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("keep thread on processors %v: %w", cpus, err)
	}
	return nil
}
