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
	Epoch  shard.Epoch   `json:"epoch"`
	Steps  int64         `json:"steps"`
	Rows   int64         `json:"rows"`   // tokens of all of them
	Time   time.Duration `json:"time"`   // of all of them: the sum of what follows, and what little is between
	Hop    time.Duration `json:"hop"`    // waiting for the stage before
	Layers time.Duration `json:"layers"` // computing in layers
	Head   time.Duration `json:"head"`   // computing from the last layer to tokens
	Sync   time.Duration `json:"sync"`   // sending, and waiting for other ranks, within layers and head
}

// Computing is the time in which the rank waited for nobody.
func (d *Decoded) Computing() time.Duration { return d.Time - d.Hop - d.Sync }

// mark is a moment in a step, and for how long the network had been waited for by then.
type mark struct {
	at      time.Time
	network time.Duration
}

// mark notes where a step is.
func (w *Worker) mark() mark {
	t := w.links.Traffic()
	return mark{time.Now(), t.Waiting + t.Sending}
}

// marks are the moments of a step: its begin, that of its layers, their end, and its own.
type marks [4]mark

// network is the time of the network between two moments, and computing what else there was.
func (m *marks) between(from, to int) (network, computing time.Duration) {
	network = m[to].network - m[from].network
	return network, m[to].at.Sub(m[from].at) - network
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

// note adds a step that ended now. Its moments are only known if it went well.
func (u *usage) note(step *engine.Step, took time.Duration, traffic collective.Traffic, moments *marks) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if d := &u.decoded; moments != nil && step.Decodes() {
		if d.Epoch != step.Epoch {
			*d = Decoded{Epoch: step.Epoch}
		}
		hop, _ := moments.between(0, 1)
		layerSync, layers := moments.between(1, 2)
		headSync, head := moments.between(2, 3)
		d.Steps, d.Rows, d.Time = d.Steps+1, d.Rows+int64(len(step.Chunks)), d.Time+took
		d.Hop, d.Layers, d.Head, d.Sync = d.Hop+hop, d.Layers+layers, d.Head+head, d.Sync+layerSync+headSync
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
