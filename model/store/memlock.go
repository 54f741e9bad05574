package store

import (
	"errors"
	"fmt"
)

// ErrMemoryLock reports weights that the system does not let this process lock in memory.
var ErrMemoryLock = errors.New("weights cannot be locked in memory")

// LockMemory keeps the weights in memory once they have been read, whatever else wants it, until Close. A model that is no memory map
// is left alone. The error is ErrMemoryLock and says what to change.
func (m *Model) LockMemory() error {
	if m.closed.Load() {
		return fmt.Errorf("lock weights of %s: %w", m.file, ErrClosed)
	}
	if !m.mapped {
		return nil
	}
	if err := lockMemory(m.data); err != nil {
		return memoryLockError(m.file, m.Size(), err)
	}
	return nil
}

// memoryLockError explains why a file of so many bytes could not be locked.
func memoryLockError(file string, size int64, cause error) error {
	if limit, ok := memoryLockLimit(); ok && limit < uint64(size) {
		return fmt.Errorf("lock weights of %s: %w: %w: they take %d bytes and RLIMIT_MEMLOCK allows this process %d; "+
			"raise it (`ulimit -l unlimited` in a shell, LimitMEMLOCK=infinity in a systemd unit, --ulimit memlock=-1 for a container) or leave lock-weights off",
			file, ErrMemoryLock, cause, size, limit)
	}
	return fmt.Errorf("lock weights of %s: %w: %w", file, ErrMemoryLock, cause)
}
