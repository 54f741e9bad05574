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

	running turn // held while a step runs and while the pipeline is replaced

	mu       sync.Mutex
	pipeline *pipeline.Pipeline
	epoch    shard.Epoch
	stopStep context.CancelFunc // of the step that runs
	replaced chan struct{}      // closed and made anew with every new plan
}

var _ engine.Executor = (*line)(nil)

func newLine() *line {
	return &line{running: newTurn(), patience: planPatience, lost: make(chan error, 1), replaced: make(chan struct{})}
}

// Execute runs a step on the active plan. See engine.Executor.
func (l *line) Execute(ctx context.Context, step *engine.Step, out *engine.Output) error {
	far, err := l.run(ctx, step, out)
	if err == nil || ctx.Err() != nil {
		return err
	}
	if !errors.Is(err, errNoLine) {
		if !far {
			return err // what fails on this node alone would fail again
		}
		l.report(err, step.Epoch)
	}
	return l.await(ctx, step.Epoch, err)
}

// run runs a step on the pipeline that is there once no other is put in its place. It tells whether ranks of that are elsewhere.
func (l *line) run(ctx context.Context, step *engine.Step, out *engine.Output) (far bool, err error) {
	l.running.Lock()
	defer l.running.Unlock()
	l.mu.Lock()
	p, epoch := l.pipeline, l.epoch
	l.mu.Unlock()
	if p == nil || epoch > step.Epoch {
		return false, errNoLine
	}
	if p.Ranks() == 1 {
		return false, p.Execute(ctx, step, out) // nobody to wait for, and nothing allocated
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l.mu.Lock()
	l.stopStep = cancel
	l.mu.Unlock()
	return true, p.Execute(ctx, step, out)
}

// report tells the coordinator of a step that failed, unless its plan was replaced since: that is mended already, and would be mended again.
func (l *line) report(cause error, epoch shard.Epoch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.epoch > epoch {
		return
	}
	select {
	case l.lost <- cause:
	default: // the coordinator has not looked at the news before
	}
}

// await waits for a plan that is newer than the step's.
func (l *line) await(ctx context.Context, epoch shard.Epoch, cause error) error {
	timer := time.NewTimer(l.patience)
	defer timer.Stop()
	for {
		l.mu.Lock()
		newer, replaced := l.epoch > epoch, l.replaced
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
	select {
	case <-l.lost: // a step that failed on the plan that was
	default:
	}
	close(l.replaced)
	l.replaced = make(chan struct{})
	return nil
}

// pause closes the pipeline after the step that runs. There is none then until the next one is put in its place.
func (l *line) pause() {
	l.running.Lock()
	defer l.running.Unlock()
	_ = l.close() // its ranks may be gone, and are about to be given to others
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
