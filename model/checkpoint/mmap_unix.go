//go:build linux || darwin || freebsd || netbsd || openbsd

package checkpoint

import (
	"errors"
	"math"
	"os"

	"golang.org/x/sys/unix"
)

// mapFile maps a whole file for reading.
func mapFile(file *os.File, size int64) ([]byte, error) {
	if size > math.MaxInt {
		return nil, errors.ErrUnsupported
	}
	return unix.Mmap(int(file.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_SHARED)
}

// forgetPages takes a mapping's pages out of this process; the system keeps them cached as
// long as it likes. It is only advice, so that a refusal does no harm.
func forgetPages(data []byte) { _ = unix.Madvise(data, unix.MADV_DONTNEED) }

func unmapFile(data []byte) error { return unix.Munmap(data) }
