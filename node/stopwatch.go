package node

import (
	"context"
	"slices"
	"sync"
	"time"

	"polynode/engine"
	"polynode/engine/worker"
	"polynode/shard"
)

// stopwatch times the steps of the active plan that only decode: those are what a plan's prediction is about.
type stopwatch struct {
	next  engine.Executor
	usage func() worker.Usage // of this node's rank, since it was made
	under []timed             // steps under way, the oldest first
	last  worker.Usage        // when the last step had ended

	mu       sync.Mutex
	before   worker.Usage // when the first of them had ended
	epoch    shard.Epoch
	measured Measured
}

var _ engine.Executor = (*stopwatch)(nil)

// timed is a step under way.
type timed struct {
	begun  time.Time
	epoch  shard.Epoch
	chunks int // 0 if it does not only decode
}

// Measured is what steps of the active plan took in which every sequence got one token.
type Measured struct {
	Steps     int     `json:"steps"`      // that were timed
	StepMS    float64 `json:"step_ms"`    // smoothed over about the last 16
	LastMS    float64 `json:"last_ms"`    // of the last one
	Sequences float64 `json:"sequences"`  // in a step, smoothed likewise
	Network   float64 `json:"network"`    // part of its steps in which the coordinator's rank waited for others, 0 to 1
	SentBytes float64 `json:"sent_bytes"` // that the coordinator's rank sent to others in a step, smoothed likewise
	Frames    float64 `json:"frames"`     // in which, likewise
}

// smoothing is how many steps the figures look back on.
const smoothing = 16

// Depth is the plan's. See engine.Executor.
func (s *stopwatch) Depth() int { return s.next.Depth() }

// Start begins a step. See engine.Executor.
func (s *stopwatch) Start(ctx context.Context, step *engine.Step, out *engine.Output) {
	t := timed{begun: time.Now(), epoch: step.Epoch}
	if step.Decodes() {
		t.chunks = len(step.Chunks)
	}
	s.under = append(s.under, t)
	s.next.Start(ctx, step, out)
}

// Wait waits for the oldest step. See engine.Executor.
func (s *stopwatch) Wait(ctx context.Context) error {
	err := s.next.Wait(ctx)
	t := s.under[0]
	s.under = slices.Delete(s.under, 0, 1)
	last := s.last
	s.last = s.usage()
	if err == nil && t.chunks > 0 {
		s.add(t.epoch, float64(time.Since(t.begun).Microseconds())/1e3, float64(t.chunks), s.last.Minus(last))
	}
	return err
}

func (s *stopwatch) add(epoch shard.Epoch, ms, sequences float64, used worker.Usage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if epoch != s.epoch {
		s.epoch, s.measured, s.before = epoch, Measured{}, s.usage()
	}
	m := &s.measured
	m.Steps++
	weight := 1 / float64(min(m.Steps, smoothing))
	m.LastMS = ms
	m.StepMS += weight * (ms - m.StepMS)
	m.Sequences += weight * (sequences - m.Sequences)
	m.SentBytes += weight * (float64(used.Traffic.BytesSent) - m.SentBytes)
	m.Frames += weight * (float64(used.Traffic.FramesSent) - m.Frames)
}

// of is what was measured under the plan of an epoch.
func (s *stopwatch) of(epoch shard.Epoch) Measured {
	s.mu.Lock()
	defer s.mu.Unlock()
	if epoch != s.epoch {
		return Measured{}
	}
	measured := s.measured
	measured.Network = s.usage().Minus(s.before).NetworkShare()
	return measured
}
