package worker

import (
	"sync"
	"time"

	"polynode/transport/collective"
)

// Usage is what the steps of a worker took since it was made, of time and of the network to the other ranks.
type Usage struct {
	Steps   int64
	Time    time.Duration      // of all steps
	Traffic collective.Traffic // of all steps, with the ranks that this one is linked to
}

// NetworkShare is the part of the steps' time in which the worker waited for its peers, from 0 to 1.
func (u Usage) NetworkShare() float64 {
	if u.Time <= 0 {
		return 0
	}
	return float64(u.Traffic.Waiting+u.Traffic.Sending) / float64(u.Time)
}

// Minus is the usage since an earlier look at the same worker.
func (u Usage) Minus(earlier Usage) Usage {
	return Usage{u.Steps - earlier.Steps, u.Time - earlier.Time, u.Traffic.Minus(earlier.Traffic)}
}

// usage is a Usage that others may look at.
type usage struct {
	mu  sync.Mutex
	all Usage
}

func (u *usage) note(took time.Duration, traffic collective.Traffic) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.all.Steps++
	u.all.Time += took
	u.all.Traffic = u.all.Traffic.Plus(traffic)
}

// Usage is what the worker's steps took, up to the last that has ended. It may be called from any goroutine.
func (w *Worker) Usage() Usage {
	w.usage.mu.Lock()
	defer w.usage.mu.Unlock()
	return w.usage.all
}
