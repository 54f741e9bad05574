package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
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

// line is the engine's executor: the pipeline of whichever plan is active. A pipeline is replaced when no step is under way; a step that failed
// waits for the next plan, so that the engine computes it and those behind it again there and no request is lost.
type line struct {
	patience time.Duration
	watch    *watch
	lost     chan error // holds the news of a step that failed, for the coordinator

	under   []started          // steps that were started and not waited for, the oldest first; of the engine's goroutine
	waited  *pipeline.Pipeline // a step of it has waited for the next plan as long as patience lasts; likewise
	running turn               // held while a step runs on a plan of one stage, while one is started, and while the pipeline is replaced

	mu       sync.Mutex
	pipeline *pipeline.Pipeline
	epoch    shard.Epoch
	stopStep context.CancelFunc // ends the step that runs
	replaced chan struct{}      // closed and made anew with every new plan
}

var _ engine.Executor = (*line)(nil)

// started is a step under way.
type started struct {
	step *engine.Step
	out  *engine.Output
	on   *pipeline.Pipeline // nil if it begins only when somebody waits for it
}

func newLine(self shard.NodeID, ask inquirer) *line {
	return &line{watch: &watch{self: self, ask: ask}, running: newTurn(), patience: planPatience, lost: make(chan error, 1), replaced: make(chan struct{})}
}

// Depth is how many steps can be under way on the active plan. See engine.Executor.
func (l *line) Depth() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pipeline == nil {
		return 1
	}
	return l.pipeline.Depth()
}

// Start begins a step on the active plan. See engine.Executor.
func (l *line) Start(ctx context.Context, step *engine.Step, out *engine.Output) {
	l.running.Lock()
	defer l.running.Unlock()
	s := started{step: step, out: out}
	if p, err := l.current(step.Epoch); err == nil && p.Depth() > 1 {
		s.on = p
		p.Start(ctx, step, out)
	}
	l.under = append(l.under, s)
}

// current is the pipeline for steps of an epoch.
func (l *line) current(epoch shard.Epoch) (*pipeline.Pipeline, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pipeline == nil || l.epoch > epoch {
		return nil, errNoLine
	}
	return l.pipeline, nil
}

// Wait waits for the oldest step. See engine.Executor.
func (l *line) Wait(ctx context.Context) error {
	s := l.under[0]
	l.under = slices.Delete(l.under, 0, 1)
	var far bool
	var err error
	if s.on != nil {
		far, err = true, l.watch.over(ctx, rowsOf(s.step), s.on.Wait)
	} else {
		far, err = l.run(ctx, s.step, s.out)
	}
	if err == nil || ctx.Err() != nil {
		return err
	}
	if !errors.Is(err, errNoLine) {
		if !far {
			return err // what fails on this node alone would fail again
		}
		l.report(err, s.step.Epoch)
	}
	if s.on != nil && s.on == l.waited {
		return err // behind a step that has waited
	}
	err = l.await(ctx, s.step.Epoch, err)
	l.waited = s.on
	return err
}

// run runs a step on the pipeline that is there once no other is put in its place. It tells whether ranks of that are elsewhere.
func (l *line) run(ctx context.Context, step *engine.Step, out *engine.Output) (far bool, err error) {
	l.running.Lock()
	defer l.running.Unlock()
	p, err := l.current(step.Epoch)
	if err != nil {
		return false, err
	}
	if p.Ranks() == 1 {
		return false, p.Execute(ctx, step, out) // nobody to wait for, and nothing allocated
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l.mu.Lock()
	l.stopStep = cancel
	l.mu.Unlock()
	return true, l.watch.over(ctx, rowsOf(step), func(ctx context.Context) error { return p.Execute(ctx, step, out) })
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

// errMend ends preparations for another plan, because the active one needs the coordinator.
var errMend = errors.New("a step failed meanwhile")

// whileWell is a context that ends when a step fails. The caller ends it with stop, and finds the news of the step in lost.
func (l *line) whileWell(ctx context.Context) (well context.Context, stop func()) {
	well, cancel := context.WithCancelCause(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case err := <-l.lost:
			select {
			case l.lost <- err:
			default: // another step has failed
			}
			cancel(errMend)
		case <-well.Done():
		}
	}()
	return well, func() {
		cancel(nil)
		<-watched
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

// giveUp ends the steps under way: one of their ranks is known to be gone.
func (l *line) giveUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopStep != nil {
		l.stopStep()
	}
	if l.pipeline != nil {
		l.pipeline.GiveUp()
	}
}

// replace closes the pipeline after the steps under way, makes the next one, and tells the engine, all before another step begins. When it
// fails there is no pipeline. Of a step of one row it is predicted how long it takes; zero is unknown.
func (l *line) replace(epoch shard.Epoch, predicted time.Duration, build func() (*pipeline.Pipeline, error), told func()) error {
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
	l.watch.follow(next.Plan(), predicted)
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
