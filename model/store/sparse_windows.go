//go:build windows

package store

import (
	"os"

	"golang.org/x/sys/windows"
)

// makeSparse lets the file have holes: otherwise what lies before the first write would be written as zeros.
func makeSparse(f *os.File) error {
	var n uint32
	err := windows.DeviceIoControl(windows.Handle(f.Fd()), windows.FSCTL_SET_SPARSE, nil, 0, nil, 0, &n, nil)
	return os.NewSyscallError("FSCTL_SET_SPARSE", err)
}
