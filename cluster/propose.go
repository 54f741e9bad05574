package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"polynode/shard"
)

// abandonTimeout is how long Activate tries to take back a plan that could not be prepared.
const abandonTimeout = 5 * time.Second

// Propose has a command agreed on and returns what became of it; a refusal is both in the result and the error. Only the
// coordinator can do it, others get ErrNotLeader. When ctx ends before the answer is there, the command may still be
// applied (ErrUncertain); proposing it again does no harm.
func (c *Cluster) Propose(ctx context.Context, command Command) (Result, error) {
	data, err := command.Encode()
	if err != nil {
		return Result{}, fmt.Errorf("propose %s: %w", command.Kind, err)
	}
	answer, err := c.call(ctx, func() raft.Future { return c.raft.Apply(data, enqueueTimeout) })
	if err != nil {
		return Result{}, fmt.Errorf("propose %s: %w", command.Kind, err)
	}
	result, ok := answer.(raft.ApplyFuture).Response().(Result)
	if !ok {
		return Result{}, fmt.Errorf("propose %s: %w", command.Kind, ErrUncertain)
	}
	return result, result.Err
}

// Prepare makes the ranks of a plan ready to take it over at once: slices mapped and verified. The plan has no epoch yet.
type Prepare func(ctx context.Context, plan *shard.Plan) error

// Activate replaces the active plan. prepare runs between the two phases; if it fails, the plan is given up and the old one
// stays. The epoch is that of the new plan. A nil prepare has nothing to do.
func (c *Cluster) Activate(ctx context.Context, plan *shard.Plan, prepare Prepare) (shard.Epoch, error) {
	prepared, err := c.Propose(ctx, PreparePlan(plan, c.State().Epoch()))
	if err != nil {
		return 0, fmt.Errorf("activate plan: %w", err)
	}
	if prepare != nil {
		err = prepare(ctx, unnumbered(plan))
	}
	var activated Result
	if err == nil {
		activated, err = c.Propose(ctx, ActivatePlan(prepared.Index))
	}
	if err != nil {
		c.abandon(ctx, prepared.Index)
		return 0, fmt.Errorf("activate plan: %w", err)
	}
	return shard.Epoch(activated.Index), nil
}

// unnumbered is the plan without its epoch, as it is kept while it is prepared.
func unnumbered(plan *shard.Plan) *shard.Plan {
	plan = plan.Clone()
	plan.Epoch = 0
	return plan
}

// abandon takes a prepared plan back even though the caller may have lost patience. Where it is not prepared any more,
// there is nothing to take back.
func (c *Cluster) abandon(ctx context.Context, prepared uint64) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abandonTimeout)
	defer cancel()
	if _, err := c.Propose(ctx, AbandonPlan(prepared)); err != nil && !errors.Is(err, ErrConflict) {
		c.logger.Warn("abandon plan", "node", c.node, "err", err)
	}
}

// call asks raft and waits for its answer, but no longer than ctx. Raft always answers while it runs, so the
// goroutine that waits for it ends; Close waits for that.
func (c *Cluster) call(ctx context.Context, ask func() raft.Future) (raft.Future, error) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil, ErrClosed
	}
	c.calls.Add(1)
	c.mu.Unlock()

	answered := make(chan raft.Future, 1)
	go func() {
		defer c.calls.Done()
		future := ask()
		_ = future.Error() // waits; asked again below
		answered <- future
	}()
	select {
	case future := <-answered:
		return future, translate(future.Error())
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrUncertain, ctx.Err())
	}
}

// translate says raft's errors in our words.
func translate(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, raft.ErrRaftShutdown):
		return fmt.Errorf("%w: %w", ErrClosed, err)
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipLost),
		errors.Is(err, raft.ErrLeadershipTransferInProgress), errors.Is(err, raft.ErrEnqueueTimeout),
		errors.Is(err, raft.ErrAbortedByRestore):
		return fmt.Errorf("%w: %w", ErrNotLeader, err)
	}
	return err
}
