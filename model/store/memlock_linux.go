package store

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// lockMemory keeps the pages of a mapping in memory from when they are first read: nothing is read here, but the whole mapping
// counts against the limit at once.
func lockMemory(data []byte) error {
	_, _, errno := unix.Syscall(unix.SYS_MLOCK2, uintptr(unsafe.Pointer(unsafe.SliceData(data))), uintptr(len(data)), unix.MLOCK_ONFAULT)
	if errno != 0 {
		return errno
	}
	return nil
}
