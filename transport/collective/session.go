package collective

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"polynode/shard"
	"polynode/transport"
)

// What an operation fails with. The error also wraps its cause, such as transport.ErrPeerGone or transport.ErrDeadline.
var (
	ErrBroken   = errors.New("links broken")     // this or an earlier operation failed; join the plan again
	ErrMismatch = errors.New("peer out of step") // a frame of another step, operation or length than this rank is at
)

// chunkBytes is how much of a message goes into one frame. No rank is ever more than framesAhead frames ahead of what a peer has
// received from it, and so many fit into the window: ranks can all send first and receive afterwards without waiting for each other
// in a circle. Of an AllGather a rank sends a frame only when it has one from each peer for every frame before, so a peer may have
// one unread and one more on the way. An AllReduce is one frame further (see reduce).
const (
	chunkBytes  = 63 << 10
	framesAhead = 4
)

const _ = uint(transport.Window - framesAhead*(chunkBytes+transport.HeaderBytes)) // does not compile if they do not fit

// PeerError is a failure because of a peer. Err says what happened; with transport.ErrSilent it was the peer or the way to it, otherwise it may
// have ended its links because of somebody else.
type PeerError struct {
	Rank int // of the peer in its group
	Node shard.NodeID
	Err  error
}

// Error names the peer.
func (e *PeerError) Error() string { return fmt.Sprintf("rank %d (%s): %v", e.Rank, e.Node, e.Err) }

// Unwrap is what happened.
func (e *PeerError) Unwrap() error { return e.Err }

// session is what the links of one rank have in common.
type session struct {
	header transport.Header // of what this rank sends; Kind, Flags and Index are set for each frame
	out    transport.Frame
	links  []*link
	err    error // the first failure

	traffic Traffic
	waiting atomic.Pointer[link] // for whom this rank waits, for whoever looks on
}

// link is a connection to one peer.
type link struct {
	conn     transport.Conn
	node     shard.NodeID
	rank     uint16 // of the peer in its own group
	sent     uint32 // frames in this step
	received uint32
	in       transport.Frame
	gathered []byte // what the peer gave to an AllGather
	more     bool   // whether it has more to give
}

// begin starts a step.
func (s *session) begin(step uint64, deadline time.Time) {
	s.waiting.Store(nil)
	s.header.Step = step
	for _, l := range s.links {
		l.sent, l.received = 0, 0
		_ = l.conn.SetDeadline(deadline) // fails on a dead connection only; so will the next operation
	}
}

// send sends one frame of a message.
func (s *session) send(l *link, kind transport.Kind, flags transport.Flags, payload []byte) error {
	s.out = transport.Frame{Header: s.header, Payload: payload}
	s.out.Kind, s.out.Flags, s.out.Index = kind, flags, l.sent
	begun := time.Now()
	s.waiting.Store(l) // it may have no room for more
	if err := l.conn.Send(&s.out); err != nil {
		return s.failAt(l, err)
	}
	s.waiting.Store(nil)
	s.traffic.Sending += time.Since(begun)
	s.traffic.BytesSent += int64(transport.HeaderBytes + len(payload))
	s.traffic.FramesSent++
	l.sent++
	return nil
}

// recv receives the frame that is due from a peer. It stays in l.in until the next one.
func (s *session) recv(l *link, kind transport.Kind) error {
	begun := time.Now()
	s.waiting.Store(l)
	if err := l.conn.Recv(&l.in); err != nil {
		return s.failAt(l, err)
	}
	s.waiting.Store(nil)
	s.traffic.Waiting += time.Since(begun)
	s.traffic.BytesReceived += int64(transport.HeaderBytes + len(l.in.Payload))
	s.traffic.FramesReceived++
	got, want := l.in.Header, s.header
	want.Kind, want.Flags, want.Rank, want.Index = kind, got.Flags, l.rank, l.received
	if got != want {
		return s.failAt(l, fmt.Errorf("%w: got %+v, want %+v", ErrMismatch, got, want))
	}
	l.received++
	return nil
}

// failAt breaks the session because of a peer.
func (s *session) failAt(l *link, cause error) error {
	return s.fail(&PeerError{Rank: int(l.rank), Node: l.node, Err: cause})
}

// fail breaks the session and ends all its connections, so that no peer waits for this rank. Operations of a broken
// session return its error, so it is called once.
func (s *session) fail(cause error) error {
	s.err = fmt.Errorf("%w: %w", ErrBroken, cause)
	s.close()
	return s.err
}

// close may be called from any goroutine.
func (s *session) close() {
	for _, l := range s.links {
		if l.conn != nil { // when it could not be made
			_ = l.conn.Close()
		}
	}
}
