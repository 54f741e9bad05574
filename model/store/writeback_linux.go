package store

import (
	"os"

	"golang.org/x/sys/unix"
)

// startWriteback has the system begin to write a finished part to the disk, without waiting for it. Otherwise
// gigabytes would pile up for the Sync at the end, when progress has stood at 100 % for a long time.
func startWriteback(out sink, at, n int64) {
	if f, ok := out.(*os.File); ok {
		// Only advice: an error shows in Sync.
		_ = unix.SyncFileRange(int(f.Fd()), at, n, unix.SYNC_FILE_RANGE_WRITE)
	}
}

// dropWritten lets the system forget the pages of a file that is safe on the disk. Pages that were written are small and stay so;
// those that the first start reads are large (see adviseHuge), which is worth reading the file once more.
func dropWritten(out sink) {
	if f, ok := out.(*os.File); ok {
		_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	}
}
