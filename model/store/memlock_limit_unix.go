//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package store

import "golang.org/x/sys/unix"

// memoryLockLimit is how many bytes this process may lock.
func memoryLockLimit() (uint64, bool) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit); err != nil {
		return 0, false
	}
	return uint64(limit.Cur), true
}
