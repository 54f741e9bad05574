package node

import (
	"context"
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

	mu       sync.Mutex
	before   worker.Usage // when the first of them had ended
	epoch    shard.Epoch
	measured Measured
}

var _ engine.Executor = (*stopwatch)(nil)

// Measured is what steps of the active plan took in which every sequence got one token.
type Measured struct {
	Steps     int     `json:"steps"`     // that were timed
	StepMS    float64 `json:"step_ms"`   // smoothed over about the last 16
	LastMS    float64 `json:"last_ms"`   // of the last one
	Sequences float64 `json:"sequences"` // in a step, smoothed likewise
	Network   float64 `json:"network"`   // part of its steps in which the coordinator's rank waited for others, 0 to 1
}

// smoothing is how many steps the figures look back on.
const smoothing = 16

// Execute runs a step. See engine.Executor.
func (s *stopwatch) Execute(ctx context.Context, step *engine.Step, out *engine.Output) error {
	begun := time.Now()
	err := s.next.Execute(ctx, step, out)
	if err == nil && decodes(step) {
		s.add(step.Epoch, float64(time.Since(begun).Microseconds())/1e3, float64(len(step.Chunks)))
	}
	return err
}

func (s *stopwatch) add(epoch shard.Epoch, ms, sequences float64) {
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

// decodes reports whether a step computes one token of each of some sequences.
func decodes(step *engine.Step) bool {
	for i := range step.Chunks {
		if len(step.Chunks[i].Tokens) != 1 || step.Chunks[i].Sequence == 0 {
			return false
		}
	}
	return len(step.Chunks) > 0
}
