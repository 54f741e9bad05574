//go:build darwin || freebsd || netbsd || openbsd || dragonfly

package store

import "golang.org/x/sys/unix"

// lockMemory reads a mapping and keeps its pages in memory.
func lockMemory(data []byte) error { return unix.Mlock(data) }
