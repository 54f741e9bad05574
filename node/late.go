package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"polynode/engine"
	"polynode/engine/worker"
	"polynode/shard"
)

// lookAgain is the time between two looks at a step that takes long.
const lookAgain = 250 * time.Millisecond

// errLate reports a step that was ended because a rank is to blame for how long it took.
var errLate = errors.New("step takes too long")

// lateError is an errLate that names the nodes which the step waited for in vain. They may be none.
type lateError struct {
	nodes []shard.NodeID
	why   string
}

// Error names them.
func (e *lateError) Error() string {
	if len(e.nodes) == 0 {
		return fmt.Sprintf("%v: no rank works, and none waits for another", errLate)
	}
	return fmt.Sprintf("%v: node %s %s", errLate, names(e.nodes), e.why)
}

// Unwrap makes it an errLate.
func (e *lateError) Unwrap() error { return errLate }

// inquirer asks nodes what their ranks do. Who is missing in the answer did not say in time.
type inquirer func(ctx context.Context, nodes []shard.NodeID) map[shard.NodeID]worker.Progress

// watch looks after the steps of the active plan: when one takes far longer than it should, it asks the ranks why, again and again, and ends the step
// as soon as one of them is to blame. A quick step costs a timer. Its methods may be called from several goroutines.
type watch struct {
	self shard.NodeID
	ask  inquirer

	mu    sync.Mutex
	nodes []shard.NodeID // of the plan
	pace  pace
}

// follow begins with a new plan, of which a step of one row is predicted to take so long; zero where that is not known.
func (w *watch) follow(plan *shard.Plan, predicted time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.nodes, w.pace = plan.Nodes(), pace{predicted: predicted}
}

// over runs a step of so many rows. run returns soon after its context ends.
func (w *watch) over(ctx context.Context, rows int, run func(context.Context) error) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	w.mu.Lock()
	nodes, askAfter := w.nodes, w.pace.askAfter(rows)
	q := &inquest{self: w.self, begun: time.Now(), expected: w.pace.expected(rows), cold: w.pace.cold()}
	w.mu.Unlock()
	looked := make(chan struct{})
	timer := time.AfterFunc(askAfter, func() {
		defer close(looked)
		w.look(ctx, q, nodes, end)
	})
	err := run(ctx)
	end(nil)
	if !timer.Stop() {
		<-looked
	}
	if err == nil {
		w.mu.Lock()
		w.pace.note(rows, time.Since(q.begun))
		w.mu.Unlock()
		return nil
	}
	if late := context.Cause(ctx); errors.Is(late, errLate) {
		return fmt.Errorf("%w: %w", late, err)
	}
	return err
}

// look asks until ctx ends or somebody is to blame.
func (w *watch) look(ctx context.Context, q *inquest, nodes []shard.NodeID, end context.CancelCauseFunc) {
	pause := time.NewTicker(lookAgain)
	defer pause.Stop()
	for {
		asked := time.Now()
		accounts := w.ask(ctx, nodes)
		if ctx.Err() != nil {
			return
		}
		// A machine that stood still itself has not given the others their time.
		if now := time.Now(); now.Sub(asked) < askPatience+lookAgain {
			if v := q.judge(now, nodes, accounts); v.end {
				end(&lateError{v.nodes, v.why})
				return
			}
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return
		}
	}
}

// rowsOf is how many rows a step computes.
func rowsOf(step *engine.Step) int {
	rows := 0
	for i := range step.Chunks {
		rows += len(step.Chunks[i].Tokens)
	}
	return rows
}
