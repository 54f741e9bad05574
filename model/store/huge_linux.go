package store

import "golang.org/x/sys/unix"

// adviseHuge asks for large pages in a part of the mapping, or for none. Linux gives a mapped file pages of 2 MiB where its file system
// can (ext4, XFS, Btrfs) and the pages are first read by being touched; asking ahead with MADV_WILLNEED makes small ones. Weights in
// large pages are read half as fast again, without a copy. But a rank that needs some columns of each row would
// read all of them.
func adviseHuge(data []byte, on bool) {
	advice := unix.MADV_NOHUGEPAGE
	if on {
		advice = unix.MADV_HUGEPAGE
	}
	_ = unix.Madvise(data, advice)
}

// canTouch says that touched pages of a mapping may be large.
const canTouch = true

// touch reads a part of the mapping as if by touching each page. It reports false where the system cannot: before Linux 5.14.
func touch(data []byte) bool { return unix.Madvise(data, unix.MADV_POPULATE_READ) == nil }
