package transport

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// What a network and its connections fail with. Errors carry details in their text; callers test with errors.Is.
var (
	ErrUnreachable = errors.New("node unreachable") // nobody of that name is there now; trying again may help
	ErrPeerGone    = errors.New("peer gone")        // the other end was closed, or the connection broke
	ErrSilent      = errors.New("nothing heard")    // with ErrPeerGone: the node, not only its end of the connection, gave no sign of life
	ErrClosed      = errors.New("closed")           // this end, or the whole network, was closed here
	ErrDeadline    = os.ErrDeadlineExceeded         // the deadline of the connection passed
	ErrFrame       = errors.New("malformed frame")  // what arrived is no frame
	ErrTooLarge    = errors.New("frame too large")  // the payload is longer than PayloadMax
	ErrStaleEpoch  = errors.New("epoch has passed") // the sender, or the caller, follows an older plan
	ErrClass       = errors.New("unknown class")    // no such class of connection
	ErrIdentity    = errors.New("wrong identity")   // one of the nodes has a certificate that the other does not accept
	ErrVersion     = errors.New("other version")    // the other node speaks another version of the protocol
)

// errPeerClosed is ErrPeerGone where everything that the peer sent has arrived before.
var errPeerClosed = fmt.Errorf("%w: closed at the other end", ErrPeerGone)

// Class says what a connection is for. Connections of different classes do not wait for one another.
type Class uint8

// The classes. The numbers are sent; new ones go to the end.
const (
	ClassRaft       Class = 1 // agreement
	ClassGossip     Class = 2 // membership
	ClassControl    Class = 3 // plans and steps from the engine, outputs back
	ClassActivation Class = 4 // between stages and inside groups, within a step
	ClassWeights    Class = 5 // bulk
	ClassCall       Class = 6 // HTTP between nodes: forwarded requests, and what the coordinator asks of a node
	ClassProbe      Class = 7 // measures of the link itself
	classEnd        Class = 8
)

var classNames = [classEnd]string{"", "raft", "gossip", "control", "activation", "weights", "call", "probe"}

// String is the name of the class in logs and metrics.
func (c Class) String() string {
	if !c.valid() {
		return fmt.Sprintf("class(%d)", uint8(c))
	}
	return classNames[c]
}

func (c Class) valid() bool { return c > 0 && c < classEnd }

// Limits of every network.
const (
	// Window is how many bytes, headers included, a sender may be ahead of its receiver: Send returns at once as long
	// as no more is under way, and otherwise waits until the receiver has taken enough.
	Window = 256 << 10
	// BacklogMax is how many connections of one class wait to be accepted at one node; more have to wait at their dialler.
	BacklogMax = 64
)

// Network is one node's door to all others. Nodes are called by their names (shard.NodeID), which a network
// authenticates: Peer of an accepted connection can be trusted as far as the network itself. Methods are safe for
// concurrent use.
type Network interface {
	// Dial opens a connection of one class to a node. It does not wait for Accept, only for room in the backlog. While
	// a node cannot be reached it waits until ctx ends or fails with ErrUnreachable, as the network finds out.
	Dial(ctx context.Context, node string, class Class) (Conn, error)
	// Accept waits for the next connection of one class. Each class has its own backlog, so each consumer accepts
	// only what is meant for it.
	Accept(ctx context.Context, class Class) (Conn, error)
	// Close ends all connections and waiting calls of this node; they fail with ErrClosed here and ErrPeerGone at the peers.
	Close() error
}

// Hurrier is a network that can be told when a step is under way, which is when waiting has to be short and may cost a core.
// Between Hurry and Relax, which count, a goroutine polls for packets instead of sleeping. Both are safe for concurrent use.
type Hurrier interface {
	Hurry()
	Relax()
}

// Conn is one long-lived stream of frames in both directions, ordered and reliable: a frame arrives once and whole, or
// the connection fails. One goroutine may send and another receive at the same time; SetDeadline and Close may be
// called from anywhere. After an error the connection is of no use any more and has to be closed; only a Recv that
// failed with ErrDeadline may be called again, with a new deadline.
type Conn interface {
	// Peer is the name of the node at the other end.
	Peer() string
	// Send queues the frame. It returns when at most Window bytes are still under way to the receiver, so two peers
	// that send less than that to each other before they receive cannot block. The frame is the caller's again
	// afterwards.
	Send(frame *Frame) error
	// Recv waits for the next frame. It reuses frame.Payload where that is large enough; the bytes stay valid until
	// frame is given to Recv again.
	Recv(frame *Frame) error
	// SetDeadline makes calls that wait, now or later, fail with ErrDeadline at that time. The zero time takes it back.
	SetDeadline(t time.Time) error
	// SetReadDeadline is SetDeadline for Recv alone.
	SetReadDeadline(t time.Time) error
	// SetWriteDeadline is SetDeadline for Send alone.
	SetWriteDeadline(t time.Time) error
	// Close ends the connection. The peer can still receive what was sent before and then gets ErrPeerGone. Close may be called twice.
	Close() error
}
