//go:build !amd64 && !arm64

package pool

// pause does nothing where the processor cannot be told to wait.
func pause(int) {}
