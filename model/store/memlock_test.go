package store

import (
	"errors"
	"strings"
	"testing"
)

// Where the limit is too small for a tiny model the error says so; elsewhere the model still works.
func TestLockMemory(t *testing.T) {
	m := openTiny(t)
	if err := m.LockMemory(); err != nil && !errors.Is(err, ErrMemoryLock) {
		t.Fatal(err)
	}
	verifyPieces(t, m, matrices(m))
	memory, err := OpenBytes("m.pn", m.data)
	if err != nil {
		t.Fatal(err)
	}
	if err := memory.LockMemory(); err != nil {
		t.Errorf("a model in memory: %v", err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if err := m.LockMemory(); !errors.Is(err, ErrClosed) {
		t.Errorf("a closed model: %v", err)
	}
}

func TestMemoryLockError(t *testing.T) {
	cause := errors.New("cannot allocate memory")
	if limit, ok := memoryLockLimit(); ok && limit < 1<<62 {
		err := memoryLockError("m.pn", 1<<62, cause)
		for _, part := range []string{"m.pn", "RLIMIT_MEMLOCK", "ulimit -l", "LimitMEMLOCK", "4611686018427387904"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("the error does not mention %q: %v", part, err)
			}
		}
		if !errors.Is(err, ErrMemoryLock) || !errors.Is(err, cause) {
			t.Errorf("the error hides its cause: %v", err)
		}
	}
	if err := memoryLockError("m.pn", 0, cause); !errors.Is(err, cause) || strings.Contains(err.Error(), "RLIMIT") {
		t.Errorf("another cause: %v", err)
	}
}
