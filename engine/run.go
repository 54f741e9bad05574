package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// slot is a step under way, as the loop sees it.
type slot struct {
	step   *Step
	output Output
	probes []chan error // who waits for it
	begun  time.Time
	tokens int
}

// errRunning says that Run was called twice.
var errRunning = errors.New("engine runs already")

// Run schedules, executes and commits steps until ctx ends; then all requests that are left end with ErrClosed and Run returns
// nil. It can be called once.
func (e *Engine) Run(ctx context.Context) error {
	e.mu.Lock()
	again := e.running
	e.running = true
	e.mu.Unlock()
	if again {
		return errRunning
	}
	for ctx.Err() == nil {
		e.collect()
		for e.begin(ctx) {
		}
		e.deliver()
		if len(e.under) > 0 {
			e.finish(ctx)
			continue
		}
		select {
		case <-e.wake:
		case <-ctx.Done():
		}
	}
	for len(e.under) > 0 {
		e.finish(ctx)
	}
	e.stop()
	return nil
}

// collect brings what callers want to the scheduler. A new plan has to wait until nothing of the old one is under way.
func (e *Engine) collect() {
	e.mu.Lock()
	inbox, commands, epoch, blocks := e.inbox, e.commands, e.epoch, e.blocks
	e.inbox, e.commands = nil, nil
	e.mu.Unlock()
	s := e.scheduler
	for _, j := range inbox {
		s.submit(j)
	}
	for _, c := range commands {
		switch {
		case c.job.over:
		case c.choice == cancelAll:
			s.cancel(c.job)
		default:
			s.dropChoice(c.job, c.choice)
		}
	}
	if len(e.under) > 0 {
		e.held = e.held || epoch != s.epoch
		return
	}
	e.held = false
	if epoch != s.epoch {
		e.logger.Info("epoch changed", "epoch", epoch, "replayed", len(s.running))
		s.epoch = epoch
		s.forget()
		s.resize(blocks)
	}
}

// begin schedules a step and starts it, if there is something to do and one more may be under way.
func (e *Engine) begin(ctx context.Context) bool {
	s := e.scheduler
	s.depth = e.executor.Depth()
	if e.held || len(e.under) >= s.depth {
		return false
	}
	s.prompts = e.pace.tokens
	step := s.schedule()
	probes := e.addProbe(step)
	if len(step.Chunks) == 0 {
		return false
	}
	s.launch()
	t := e.slotFor()
	t.step, t.probes, t.tokens = step, probes, 0
	for i := range step.Chunks {
		t.tokens += len(step.Chunks[i].Tokens)
	}
	if e.logger.Enabled(ctx, slog.LevelDebug) {
		e.logger.Debug("step", "step", step.ID, "chunks", len(step.Chunks), "tokens", t.tokens, "copies", len(step.Copies), "before", len(e.under))
	}
	e.under = append(e.under, t)
	t.begun = time.Now()
	t.output.Results = t.output.Results[:0]
	e.executor.Start(ctx, step, &t.output)
	return true
}

func (e *Engine) slotFor() *slot {
	n := len(e.spare)
	if n == 0 {
		return new(slot)
	}
	t := e.spare[n-1]
	e.spare = e.spare[:n-1]
	return t
}

// probeTokens is what a probe computes: any vocabulary has a token 0.
var (
	probeTokens = []int32{0}
	probeBlocks = []BlockID{0}
)

// addProbe returns those who wait for a probe, and sees to it that the step samples.
func (e *Engine) addProbe(step *Step) []chan error {
	e.mu.Lock()
	probes := e.probes
	e.probes = nil
	e.mu.Unlock()
	if len(probes) == 0 {
		return nil
	}
	for i := range step.Chunks {
		if step.Chunks[i].Sample {
			return probes
		}
	}
	step.Chunks = append(step.Chunks, Chunk{Tokens: probeTokens, Blocks: probeBlocks, Sample: true, Params: &greedy})
	return probes
}

// finish waits for the oldest step under way and commits what it gives.
func (e *Engine) finish(ctx context.Context) {
	t := e.under[0]
	err := e.executor.Wait(ctx)
	if err == nil {
		err = complete(t.step, t.output.Results)
	}
	switch {
	case err == nil:
		e.scheduler.commit(t.output.Results)
	case ctx.Err() != nil:
		err = ErrClosed
		e.scheduler.land()
	default:
		err = fmt.Errorf("%w %d: %w", ErrStep, t.step.ID, err)
		e.failed(t.step, err)
	}
	for _, done := range t.probes {
		done <- err
	}
	e.note(t, err)
	n := copy(e.under, e.under[1:])
	e.under[n] = nil
	e.under = e.under[:n]
	t.step, t.probes = nil, nil
	e.spare = append(e.spare, t)
	e.deliver()
}

// note counts the oldest step. It was begun behind others perhaps: then it was alone with the slowest stage for as long as nothing else ended, and
// each stage took about that long.
func (e *Engine) note(t *slot, err error) {
	now := time.Now()
	took := now.Sub(t.begun)
	alone := took
	if e.landed.After(t.begun) {
		alone = min(took, now.Sub(e.landed)*time.Duration(len(e.under)))
	}
	e.landed = now
	e.pace.note(t.tokens, alone)
	e.measure(t.begun, took, t.tokens, err)
}

// complete checks that there is a result for each chunk, and a token for the engine's own probe.
func complete(step *Step, results []Result) error {
	last := len(step.Chunks) - 1
	if len(results) != last+1 {
		return fmt.Errorf("%d results of %d chunks", len(results), last+1)
	}
	if step.Chunks[last].Sequence == 0 && results[last].Token < 0 {
		return errors.New("the probe gave no token")
	}
	return nil
}

// failed ends the requests of a step that could not be run, unless it was for a plan that has been replaced. Nothing new begins before those that
// were started behind it are over.
func (e *Engine) failed(step *Step, err error) {
	e.mu.Lock()
	stale := e.epoch != step.Epoch
	e.mu.Unlock()
	follows := e.held
	e.held = true
	switch {
	case stale:
		e.logger.Warn("step of an old plan failed", "step", step.ID, "epoch", step.Epoch, "error", err)
		e.scheduler.land()
		e.scheduler.forget() // all of it is computed again
	case follows:
		e.logger.Debug("step failed behind another", "step", step.ID, "epoch", step.Epoch, "error", err)
		e.scheduler.abort(err)
	default:
		e.logger.Error("step failed", "step", step.ID, "epoch", step.Epoch, "chunks", len(step.Chunks), "error", err)
		e.scheduler.abort(err)
	}
}
