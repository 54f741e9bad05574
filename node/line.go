package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"polynode/engine"
	"polynode/engine/pipeline"
	"polynode/shard"
)

// planPatience is how long a step that failed waits for the next plan before its requests fail.
const planPatience = 60 * time.Second

// errNoLine reports that there is no plan to run steps on.
var errNoLine = errors.New("no plan is active")

// line is the engine's executor: the pipeline of whichever plan is active. A pipeline is replaced between steps; a step that failed
// waits for the next plan, so that the engine computes it again there and no request is lost.
type line struct {
	patience time.Duration
	lost     chan error // holds the news of a step that failed, for the coordinator

	running sync.Mutex // held while a step runs and while the pipeline is replaced

	mu       sync.Mutex
	pipeline *pipeline.Pipeline
	epoch    shard.Epoch
	stopStep context.CancelFunc // of the step that runs
	replaced chan struct{}      // closed and made anew with every new plan
}

var _ engine.Executor = (*line)(nil)

func newLine() *line {
	return &line{patience: planPatience, lost: make(chan error, 1), replaced: make(chan struct{})}
}

// Execute runs a step on the active plan. See engine.Executor.
func (l *line) Execute(ctx context.Context, step *engine.Step, out *engine.Output) error {
	p, far, replaced := l.now()
	var err error
	if p == nil {
		err = errNoLine
	} else {
		err = l.run(ctx, p, far, step, out)
	}
	if err == nil || ctx.Err() != nil || p != nil && !far {
		return err // what fails on this node alone would fail again
	}
	select {
	case l.lost <- err:
	default: // the coordinator has not looked at the news before
	}
	return l.await(ctx, step.Epoch, replaced, err)
}

// now is the pipeline, whether ranks of it are elsewhere, and what is closed when it is replaced.
func (l *line) now() (p *pipeline.Pipeline, far bool, replaced <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pipeline, l.pipeline != nil && l.pipeline.Ranks() > 1, l.replaced
}

func (l *line) run(ctx context.Context, p *pipeline.Pipeline, far bool, step *engine.Step, out *engine.Output) error {
	l.running.Lock()
	defer l.running.Unlock()
	if !far {
		return p.Execute(ctx, step, out)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l.mu.Lock()
	l.stopStep = cancel
	l.mu.Unlock()
	return p.Execute(ctx, step, out)
}

// await waits for a plan that is newer than the step's.
func (l *line) await(ctx context.Context, epoch shard.Epoch, replaced <-chan struct{}, cause error) error {
	timer := time.NewTimer(l.patience)
	defer timer.Stop()
	for {
		l.mu.Lock()
		newer := l.epoch > epoch
		if !newer {
			replaced = l.replaced
		}
		l.mu.Unlock()
		if newer {
			return cause
		}
		select {
		case <-replaced:
		case <-timer.C:
			return fmt.Errorf("no new plan within %v: %w", l.patience, cause)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// giveUp ends the step that runs: one of its ranks is known to be gone.
func (l *line) giveUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopStep != nil {
		l.stopStep()
	}
}

// replace closes the pipeline after the step that runs, makes the next one, and tells the engine, all before another step begins. When it
// fails there is no pipeline.
func (l *line) replace(epoch shard.Epoch, build func() (*pipeline.Pipeline, error), told func()) error {
	l.running.Lock()
	defer l.running.Unlock()
	l.mu.Lock()
	old := l.pipeline
	l.pipeline = nil
	l.mu.Unlock()
	if old != nil {
		_ = old.Close() // its ranks may be gone, which is why there is a new plan
	}
	next, err := build()
	if err != nil {
		return err
	}
	told()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pipeline, l.epoch = next, epoch
	close(l.replaced)
	l.replaced = make(chan struct{})
	return nil
}

// close ends the pipeline. No step may be under way.
func (l *line) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pipeline == nil {
		return nil
	}
	err := l.pipeline.Close()
	l.pipeline = nil
	return err
}
