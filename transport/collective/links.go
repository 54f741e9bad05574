package collective

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"polynode/shard"
	"polynode/transport"
)

// Links are the connections of one rank within a plan: to the other ranks of its group, to the rank of the stage before
// that feeds it, and to the ranks of the stage behind that it feeds. Rank r of a stage is fed by rank r modulo the size of
// the stage before; all ranks of a stage hold the same activations, so it does not matter which one sends.
type Links struct {
	session  session
	group    Group
	previous *link   // nil in the first stage
	next     []*link // empty in the last stage, and for ranks that feed nobody
	out      []byte
}

// Peers is the number of other ranks that this one is linked to.
func (l *Links) Peers() int { return len(l.session.links) }

// Group is the rank's side of its group.
func (l *Links) Group() *Group { return &l.group }

// Traffic is what the links have carried. It belongs to the goroutine that runs the steps.
func (l *Links) Traffic() Traffic { return l.session.traffic }

// Waiting is the node that this rank waits for at the moment, to send or to receive; empty while it waits for nobody. It may be called from any
// goroutine.
func (l *Links) Waiting() shard.NodeID {
	if peer := l.session.waiting.Load(); peer != nil {
		return peer.node
	}
	return ""
}

// Begin starts a step. Whatever waits for a peer until the step's end fails at the deadline; zero means none. All ranks of
// a plan run the same steps in the same order.
func (l *Links) Begin(step uint64, deadline time.Time) { l.session.begin(step, deadline) }

// Send hands activations (tokens, embed) to the next stage. In the last stage it does nothing.
func (l *Links) Send(activations []float32) error {
	if l.session.err != nil {
		return l.session.err
	}
	for len(activations) > 0 && len(l.next) > 0 {
		n := min(len(activations), chunkBytes/4)
		l.out = l.out[:0]
		for _, v := range activations[:n] {
			l.out = binary.LittleEndian.AppendUint32(l.out, math.Float32bits(v))
		}
		for _, next := range l.next {
			if err := l.session.send(next, transport.KindActivation, 0, l.out); err != nil {
				return err
			}
		}
		activations = activations[n:]
	}
	return nil
}

// Recv fills activations (tokens, embed) with what the previous stage sends; both know the tokens of the step. In the
// first stage, which has none before it, it fails.
func (l *Links) Recv(activations []float32) error {
	if l.session.err != nil {
		return l.session.err
	}
	if l.previous == nil {
		return fmt.Errorf("receive activations: %w: no stage before this one", ErrMismatch)
	}
	for len(activations) > 0 {
		n := min(len(activations), chunkBytes/4)
		if err := l.session.recv(l.previous, transport.KindActivation); err != nil {
			return err
		}
		bytes := l.previous.in.Payload
		if len(bytes) != 4*n {
			return l.session.failAt(l.previous, fmt.Errorf("%w: %d bytes of activations, want %d", ErrMismatch, len(bytes), 4*n))
		}
		for i := range n {
			activations[i] = math.Float32frombits(binary.LittleEndian.Uint32(bytes[4*i:]))
		}
		activations = activations[n:]
	}
	return nil
}

// Close ends all connections. Operations that wait fail, here and at the peers. It may be called at any time, from any
// goroutine, more than once.
func (l *Links) Close() error {
	l.session.close()
	return nil
}
