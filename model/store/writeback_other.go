//go:build !linux

package store

// startWriteback leaves it to the system when finished parts reach the disk.
func startWriteback(sink, int64, int64) {}
