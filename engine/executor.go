package engine

import "context"

// Executor runs steps on the model, near or far. One goroutine calls its methods.
type Executor interface {
	// Depth is how many steps may be under way at once, at least 1. It may differ from plan to plan.
	Depth() int
	// Start has every rank of the plan run the step behind those that were started before. Wait fills out with one result for each
	// chunk. What out held before is memory to be used again. Step and out, with all that they point to, are not touched until Wait
	// has returned for them. What goes wrong is told by Wait.
	Start(ctx context.Context, step *Step, out *Output)
	// Wait returns when the oldest step that was started and not waited for has ended, or soon after ctx has. An error means that no block
	// of the step can be trusted but the full ones of earlier steps, and that steps started behind it are of no use either, whatever
	// Wait says of them. Wait is called once for each step, whatever happens.
	Wait(ctx context.Context) error
}

// OneAtATime makes an executor of what runs one step at a time: it does so on the goroutine that waits.
func OneAtATime(execute func(ctx context.Context, step *Step, out *Output) error) Executor {
	return &oneAtATime{execute: execute}
}

type oneAtATime struct {
	execute func(ctx context.Context, step *Step, out *Output) error
	step    *Step
	out     *Output
}

// Depth implements Executor.
func (o *oneAtATime) Depth() int { return 1 }

// Start implements Executor.
func (o *oneAtATime) Start(_ context.Context, step *Step, out *Output) { o.step, o.out = step, out }

// Wait implements Executor.
func (o *oneAtATime) Wait(ctx context.Context) error { return o.execute(ctx, o.step, o.out) }
