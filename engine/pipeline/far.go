package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"polynode/engine"
	"polynode/shard"
	"polynode/transport"
)

// ErrFar reports a rank on another node that could not do its part. The text has that node's own words.
var ErrFar = errors.New("far rank")

// Far is a Rank on another node. It is the coordinator's end of a control connection whose other end is a worker.Server:
//
//	KindAssign (engine.Place as JSON)   → KindDone, empty
//	KindStep (engine.AppendStep)        → KindDone, engine.AppendOutput where the rank samples, else empty
//	either                              → KindFailed, the reason as text; the connection is of no use afterwards
//
// Frames carry generation and epoch, and steps their ID. Closing the connection ends whatever the rank is doing.
type Far struct {
	network transport.Network
	node    shard.NodeID
	conn    transport.Conn // nil until assigned

	generation uint64
	out        transport.Frame // of who begins steps
	in         transport.Frame // of who runs them
}

var _ Rank = (*Far)(nil)

// NewFar is the rank of a node, reached over network. Nothing is opened before Assign. It belongs to one pipeline.
func NewFar(network transport.Network, node shard.NodeID) *Far {
	return &Far{network: network, node: node}
}

// Assign opens a new connection to the node, which takes the rank away from whoever had it in an older epoch.
func (f *Far) Assign(ctx context.Context, place engine.Place) error {
	if err := f.Close(); err != nil {
		return err
	}
	payload, err := json.Marshal(place)
	if err != nil {
		return fmt.Errorf("encode place: %w", err)
	}
	if f.conn, err = f.network.Dial(ctx, string(f.node), transport.ClassControl); err != nil {
		return err
	}
	f.out.Header = transport.Header{Kind: transport.KindAssign, Generation: place.Generation, Epoch: uint64(place.Plan.Epoch)}
	f.out.Payload = append(f.out.Payload[:0], payload...)
	if err := f.send(ctx); err != nil {
		return err
	}
	f.generation = place.Generation
	done := f.out.Header
	done.Kind = transport.KindDone
	return f.hear(ctx, done)
}

// Begin sends the step to the rank, which takes it up when it is done with earlier ones. See Rank.
func (f *Far) Begin(ctx context.Context, step *engine.Step) error {
	if f.conn == nil {
		return fmt.Errorf("%w %s: no plan assigned", ErrFar, f.node)
	}
	f.out.Kind, f.out.Step, f.out.Epoch = transport.KindStep, step.ID, uint64(step.Epoch)
	f.out.Payload = engine.AppendStep(f.out.Payload[:0], step)
	return f.send(ctx)
}

// Run waits until the rank has computed its part of the step. See Rank.
func (f *Far) Run(ctx context.Context, step *engine.Step, out *engine.Output) error {
	if f.conn == nil {
		return fmt.Errorf("%w %s: no plan assigned", ErrFar, f.node)
	}
	done := transport.Header{Kind: transport.KindDone, Generation: f.generation, Epoch: uint64(step.Epoch), Step: step.ID}
	if err := f.hear(ctx, done); err != nil {
		return err
	}
	if out == nil {
		return nil
	}
	return engine.DecodeOutput(f.in.Payload, out)
}

// send sends the frame in f.out, but tries no longer than ctx.
func (f *Far) send(ctx context.Context) error {
	conn := f.conn
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	return f.failure(ctx, conn.Send(&f.out))
}

// hear waits for an answer with the header that is due, but no longer than ctx.
func (f *Far) hear(ctx context.Context, want transport.Header) error {
	conn := f.conn
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // the rank ends what it does, too
	defer stop()
	if err := f.failure(ctx, conn.Recv(&f.in)); err != nil {
		return err
	}
	if f.in.Kind == transport.KindFailed {
		return fmt.Errorf("%w %s: %s", ErrFar, f.node, f.in.Payload)
	}
	if f.in.Header != want {
		return fmt.Errorf("%w %s: answered %+v, want %+v", ErrFar, f.node, f.in.Header, want)
	}
	return nil
}

// failure is what became of a call of the connection.
func (f *Far) failure(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("%w %s: %w", ErrFar, f.node, err)
	}
	return nil
}

// Close ends the connection, and with it the rank.
func (f *Far) Close() error {
	if f.conn == nil {
		return nil
	}
	err := f.conn.Close()
	f.conn = nil
	return err
}
