package pipeline

import (
	"context"
	"errors"

	"polynode/engine"
)

// Depth is how many steps can be under way at once. See engine.Executor.
func (p *Pipeline) Depth() int { return max(len(p.plan.Stages), 1) }

// Start has every rank run the step. See engine.Executor.
func (p *Pipeline) Start(ctx context.Context, step *engine.Step, out *engine.Output) {
	f := p.flight()
	f.step, f.out = step, out
	p.under = append(p.under, f)
	if p.Depth() == 1 {
		return // it begins when somebody waits: that is at once
	}
	stop := context.AfterFunc(ctx, func() { p.flow.cancel(context.Cause(ctx)) })
	defer stop()
	j := p.flow
	j.step, j.out, j.done = step, out, f.done
	p.hand(&j)
}

// hand gives a step to all ranks that have goroutines of their own. Those that are far know of it before they have done the one before.
func (p *Pipeline) hand(j *job) {
	for i := range p.rest {
		if err := p.rest[i].rank.Begin(j.ctx, j.step); err != nil {
			j.cancel(err)
		}
		p.rest[i].steps <- *j
	}
}

// flight is memory for a step.
func (p *Pipeline) flight() *flight {
	n := len(p.idle)
	if n == 0 {
		return &flight{done: make(chan error, p.Ranks())}
	}
	f := p.idle[n-1]
	p.idle = p.idle[:n-1]
	return f
}

// Wait waits for the oldest step under way. The first error is returned when all ranks have ended. See engine.Executor.
func (p *Pipeline) Wait(ctx context.Context) error {
	f := p.under[0]
	n := copy(p.under, p.under[1:])
	p.under = p.under[:n]
	defer func() {
		f.step, f.out = nil, nil
		p.idle = append(p.idle, f)
	}()
	if p.Depth() == 1 {
		return p.together(ctx, f)
	}
	var first error
	ended := ctx.Done()
	for range p.rest {
		var err error
		select {
		case err = <-f.done:
		case <-ended:
			p.flow.cancel(context.Cause(ctx))
			err = <-f.done
		}
		if err != nil && first == nil {
			first = err
		}
	}
	return cause(p.flow.ctx, first)
}

// cause is why a step failed: what failed first of all, which is why the others were cancelled.
func cause(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if first := context.Cause(ctx); first != nil {
		return first
	}
	return err
}

// together runs a step on the ranks of the only stage, one of them on the caller's goroutine.
func (p *Pipeline) together(ctx context.Context, f *flight) error {
	if len(p.rest) == 0 {
		return p.alone(ctx, f)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	p.hand(&job{ctx, cancel, f.step, f.out, f.done})
	err := p.alone(ctx, f)
	if err != nil {
		cancel(err)
	}
	for range p.rest {
		if other := <-f.done; other != nil && err == nil {
			err = other
		}
	}
	return cause(ctx, err)
}

// alone runs the sampling rank's part of a step on the caller's goroutine.
func (p *Pipeline) alone(ctx context.Context, f *flight) error {
	if err := p.first.rank.Begin(ctx, f.step); err != nil {
		return err
	}
	return p.first.rank.Run(ctx, f.step, f.out)
}

// GiveUp ends what is under way and all that comes: some rank is known to be gone. It may be called from any goroutine. In a plan of one stage the
// context given to Wait does that.
func (p *Pipeline) GiveUp() { p.flow.cancel(errGivenUp) }

// errGivenUp says that somebody outside knows of a rank that is gone.
var errGivenUp = errors.New("steps of this plan were given up")

// Execute runs one step on every rank when no other is under way.
func (p *Pipeline) Execute(ctx context.Context, step *engine.Step, out *engine.Output) error {
	p.Start(ctx, step, out)
	return p.Wait(ctx)
}
