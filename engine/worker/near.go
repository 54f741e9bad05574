package worker

import (
	"context"
	"errors"
	"fmt"

	"polynode/engine"
)

// ErrTaken reports a rank whose worker a newer plan has taken.
var ErrTaken = errors.New("rank taken by a newer plan")

// Near is the rank of a server's worker for a coordinator in the same process: pipeline.Rank without a connection.
type Near struct {
	server *Server

	mu      turn            // held while the worker works
	working context.Context // ends when a newer plan takes the worker
	give    func()          // nil when this rank does not have the worker
	forget  func() bool     // that the worker is given up when working ends
}

// Near is a rank without a plan. Assign takes the worker, and Close gives it back.
func (s *Server) Near() *Near { return &Near{server: s, mu: newTurn()} }

// Assign takes the worker from whoever has it in an older plan. See pipeline.Rank.
func (n *Near) Assign(ctx context.Context, place engine.Place) error {
	if err := n.Close(); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	working, give, err := n.server.take(context.WithoutCancel(ctx), place.Generation, place.Plan.Epoch)
	if err != nil {
		return err
	}
	n.working, n.give = working, give
	if err := n.server.worker.Assign(ctx, place); err != nil {
		return errors.Join(err, n.release())
	}
	n.forget = context.AfterFunc(working, func() { _ = n.Close() })
	return nil
}

// Begin does nothing: a rank in this process gets its steps from Run. See pipeline.Rank.
func (n *Near) Begin(context.Context, *engine.Step) error { return nil }

// Run computes the rank's part of a step. See pipeline.Rank.
func (n *Near) Run(ctx context.Context, step *engine.Step, out *engine.Output) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.give == nil {
		return fmt.Errorf("%w: epoch %d", ErrTaken, step.Epoch)
	}
	if n.server.worker.alone() {
		return n.server.worker.Run(ctx, step, out)
	}
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(n.working, cancel)()
	return n.server.worker.Run(running, step, out)
}

// Close gives the worker back, without a plan. It waits for a step that runs.
func (n *Near) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.release()
}

func (n *Near) release() error {
	if n.give == nil {
		return nil
	}
	if n.forget != nil {
		n.forget()
	}
	err := n.server.worker.Close()
	n.give()
	n.give, n.forget = nil, nil
	return err
}
