//go:build windows

package store

import (
	"errors"
	"fmt"

	"golang.org/x/sys/windows"
)

// freeSpace is how many bytes this user can still write to the disk of a folder.
func freeSpace(folder string) (int64, error) {
	path, err := windows.UTF16PtrFromString(folder)
	if err != nil {
		return 0, err
	}
	var avail uint64
	if err := windows.GetDiskFreeSpaceEx(path, &avail, nil, nil); err != nil {
		return 0, fmt.Errorf("GetDiskFreeSpaceEx: %w", err)
	}
	return int64(min(avail, 1<<62)), nil
}

// spaceError makes an error of a full disk recognisable.
func spaceError(err error) error {
	if errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL) {
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	return err
}
