package transport

import (
	"fmt"
	"sync"
)

// Fence remembers the newest epoch it has seen and refuses older ones. A cluster that was recovered by force has a new
// generation, which is newer than any epoch of the one before. The zero Fence has seen nothing. It is safe for
// concurrent use.
type Fence struct {
	mu                sync.Mutex
	generation, epoch uint64
}

// Admit lets the newest epoch and anything newer pass and remembers it; for what is older it returns ErrStaleEpoch.
func (f *Fence) Admit(generation, epoch uint64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if generation < f.generation || generation == f.generation && epoch < f.epoch {
		return fmt.Errorf("%w: epoch %d of generation %d, newest is %d of %d", ErrStaleEpoch, epoch, generation, f.epoch, f.generation)
	}
	f.generation, f.epoch = generation, epoch
	return nil
}

// Newest is the newest generation and epoch that were admitted.
func (f *Fence) Newest() (generation, epoch uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.generation, f.epoch
}
