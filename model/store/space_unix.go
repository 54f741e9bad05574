//go:build linux || darwin || freebsd

package store

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// freeSpace is how many bytes an ordinary user can still write to the disk of a folder.
func freeSpace(folder string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(folder, &s); err != nil {
		return 0, fmt.Errorf("statfs: %w", err)
	}
	return int64(s.Bavail) * int64(s.Bsize), nil
}

// spaceError makes an error of a full disk recognisable.
func spaceError(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	return err
}
