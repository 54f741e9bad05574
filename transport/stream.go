package transport

import (
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// streamPiece is how many bytes of a stream go into one frame at most.
const streamPiece = 64 << 10

// NodeAddr is the name of a node where an interface asks for a net.Addr.
type NodeAddr string

// Network is "polynode".
func (NodeAddr) Network() string { return "polynode" }

func (a NodeAddr) String() string { return string(a) }

// stream is a net.Conn over a Conn. One goroutine may read while another one writes.
type stream struct {
	conn     Conn
	in, out  Frame
	rest     []byte // of in, not yet read
	readable error  // why nothing more comes
}

// NewStream makes a byte stream of a connection, for code that has its own framing. The other end has to do the same.
// The stream owns the connection. One goroutine may read and one write at a time; deadlines and Close are for all.
//
// It differs from a TCP connection in two ways: a write that failed at its deadline ends the stream, and so does a peer
// that closed, in both directions.
func NewStream(conn Conn) net.Conn { return &stream{conn: conn} }

func (s *stream) Read(p []byte) (int, error) {
	for len(s.rest) == 0 {
		if len(p) == 0 {
			return 0, nil
		}
		if s.readable != nil {
			return 0, s.readable
		}
		if err := s.conn.Recv(&s.in); err != nil {
			err = s.failed("read", err)
			if !errors.Is(err, ErrDeadline) {
				s.readable = err
			}
			return 0, err
		}
		if s.in.Kind != KindBytes {
			s.readable = s.failed("read", fmt.Errorf("%w: kind %d in a byte stream", ErrFrame, s.in.Kind))
			return 0, s.readable
		}
		s.rest = s.in.Payload
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

func (s *stream) Write(p []byte) (written int, err error) {
	for written < len(p) {
		piece := p[written:min(written+streamPiece, len(p))]
		s.out = Frame{Header: Header{Kind: KindBytes}, Payload: piece}
		if err := s.conn.Send(&s.out); err != nil {
			return written, s.failed("write", err)
		}
		written += len(piece)
	}
	return written, nil
}

// failed gives an error the form that callers of a net.Conn expect: io.EOF at a clean end, net.ErrClosed after Close, and
// Timeout at a deadline.
func (s *stream) failed(verb string, err error) error {
	switch {
	case verb == "read" && errors.Is(err, errPeerClosed):
		return io.EOF
	case errors.Is(err, ErrDeadline):
		err = ErrDeadline // itself: net.OpError asks only its direct cause
	case errors.Is(err, ErrClosed):
		err = fmt.Errorf("%w: %w", net.ErrClosed, err)
	}
	return &net.OpError{Op: verb, Net: "polynode", Source: s.LocalAddr(), Addr: s.RemoteAddr(), Err: err}
}

func (s *stream) LocalAddr() net.Addr {
	if conn, ok := s.conn.(interface{ local() string }); ok {
		return NodeAddr(conn.local())
	}
	return NodeAddr("")
}

func (s *stream) RemoteAddr() net.Addr               { return NodeAddr(s.conn.Peer()) }
func (s *stream) SetDeadline(t time.Time) error      { return s.conn.SetDeadline(t) }
func (s *stream) SetReadDeadline(t time.Time) error  { return s.conn.SetReadDeadline(t) }
func (s *stream) SetWriteDeadline(t time.Time) error { return s.conn.SetWriteDeadline(t) }
func (s *stream) Close() error                       { return s.conn.Close() }
