//go:build !linux

package store

// startWriteback leaves it to the system when finished parts reach the disk.
func startWriteback(sink, int64, int64) {}

// dropWritten leaves it to the system what it remembers of a file.
func dropWritten(sink) {}
