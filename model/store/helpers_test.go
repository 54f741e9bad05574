package store

import (
	"runtime"
	"testing"
)

// withProcs runs f with so many processors.
func withProcs(t *testing.T, n int, f func()) {
	t.Helper()
	old := runtime.GOMAXPROCS(n)
	defer runtime.GOMAXPROCS(old)
	f()
}
