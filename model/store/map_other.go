//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly || windows)

package store

import (
	"io"
	"os"
)

// mapFile reads the whole file where there is no memory map to be had.
func mapFile(f *os.File, size int64) ([]byte, error) {
	data := make([]byte, size)
	_, err := io.ReadFull(io.NewSectionReader(f, 0, size), data)
	return data, err
}

// mapsShared says that what is written to a file shows in its map.
const mapsShared = false

func unmapFile([]byte) error { return nil }

func adviseSoon([]byte, int64, int64) {}
