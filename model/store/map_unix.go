//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package store

import (
	"os"

	"golang.org/x/sys/unix"
)

// mapsShared says that what is written to a file shows in its map.
const mapsShared = true

// mapFile maps the whole file for reading. The pages are shared with every other process that maps it.
func mapFile(f *os.File, size int64) ([]byte, error) {
	data, err := unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_SHARED)
	if err == nil {
		adviseHuge(data, true)
	}
	return data, err
}

func unmapFile(data []byte) error { return unix.Munmap(data) }

// adviseSoon asks the system to read bytes [lo, hi) of a mapping in the background. It is only advice: errors
// mean that the pages are read when they are touched.
func adviseSoon(data []byte, lo, hi int64) {
	page := int64(os.Getpagesize())
	lo -= lo % page
	if lo < hi {
		_ = unix.Madvise(data[lo:hi], unix.MADV_WILLNEED)
	}
}
