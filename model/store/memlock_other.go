//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package store

import "errors"

func lockMemory([]byte) error { return errors.ErrUnsupported }

func memoryLockLimit() (uint64, bool) { return 0, false }
