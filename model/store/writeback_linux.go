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
