//go:build amd64 || arm64

package pool

// pause tells the processor n times that the thread is waiting for another: it leaves the core's units to its twin and the
// memory in peace. It cannot be interrupted, so n is small.
//
//go:noescape
func pause(n int)
