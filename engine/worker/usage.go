package worker

import (
	"sync"
	"time"

	"polynode/engine"
	"polynode/shard"
	"polynode/transport/collective"
)

// Usage is what the steps of a worker took since it was made, of time and of the network to the other ranks.
type Usage struct {
	Steps   int64
	Time    time.Duration      // of all steps
	Traffic collective.Traffic // of all steps, with the ranks that this one is linked to
}

// Decoded is what those steps of the plan at work took that only decode: they are what plans are compared by.
type Decoded struct {
	Epoch    shard.Epoch
	Steps    int64
	Rows     int64         // tokens of all of them
	Time     time.Duration // of all of them
	Waiting  time.Duration // for frames of other ranks
	Sending  time.Duration
	Finished time.Time // the last of them
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
	mu      sync.Mutex
	all     Usage
	decoded Decoded
}

// note adds a step that ended now.
func (u *usage) note(step *engine.Step, took time.Duration, traffic collective.Traffic) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if d := &u.decoded; step.Decodes() {
		if d.Epoch != step.Epoch {
			*d = Decoded{Epoch: step.Epoch}
		}
		d.Steps++
		d.Rows += int64(len(step.Chunks))
		d.Time += took
		d.Waiting += traffic.Waiting
		d.Sending += traffic.Sending
		d.Finished = time.Now()
	}
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

// Decoded is what decoding took under the plan at work, up to the last step that has ended. It may be called from any goroutine.
func (w *Worker) Decoded() Decoded {
	w.usage.mu.Lock()
	defer w.usage.mu.Unlock()
	return w.usage.decoded
}
