package transport

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
)

// copyMax is the longest payload that is copied behind its header, to be written at once.
const copyMax = 128 << 10

// quicConn is a connection: a stream of a session.
type quicConn struct {
	session *session
	stream  *quic.Stream
	closed  atomic.Bool
	read    quicAlarm
	write   quicAlarm

	sending sync.Mutex // taken by Close as well, which may come while a Send waits
	out     []byte
	sendErr error

	header  [HeaderBytes]byte
	headed  int // bytes of header that have come
	in      Frame
	length  int // of the payload
	recvErr error
}

var _ Conn = (*quicConn)(nil)

func newQUICConn(s *session, stream *quic.Stream) *quicConn {
	c := &quicConn{session: s, stream: stream}
	c.read.expire, c.write.expire = stream.SetReadDeadline, stream.SetWriteDeadline
	return c
}

func (c *quicConn) Peer() string { return c.session.peer }

func (c *quicConn) local() string { return c.session.network.config.Node }

func (c *quicConn) Send(f *Frame) error {
	if len(f.Payload) > PayloadMax {
		return fmt.Errorf("send to %s: %w: %d bytes, limit %d", c.Peer(), ErrTooLarge, len(f.Payload), PayloadMax)
	}
	c.sending.Lock()
	err := c.sendErr
	if err == nil && c.closed.Load() {
		err = ErrClosed
	}
	if err == nil {
		if err = c.send(f); err != nil {
			err = c.explain(err)
			c.sendErr = err
		}
	}
	c.sending.Unlock()
	if err != nil {
		return fmt.Errorf("send to %s: %w", c.Peer(), err)
	}
	// quic-go's own goroutine has to run before this one receives: what has come already would keep it from waiting, and
	// nothing would be sent.
	runtime.Gosched()
	return nil
}

// send writes a frame at once, or a long one without copying it.
func (c *quicConn) send(f *Frame) error {
	payload := f.Payload
	head := *f
	if len(payload) > copyMax {
		head.Payload = nil
	}
	var err error
	if c.out, err = AppendFrame(c.out[:0], &head); err != nil {
		return err
	}
	if len(payload) <= copyMax {
		_, err = c.stream.Write(c.out)
		return err
	}
	putPayloadLength(c.out, len(payload))
	if _, err = c.stream.Write(c.out); err == nil {
		_, err = c.stream.Write(payload)
	}
	return err
}

func (c *quicConn) Recv(f *Frame) error {
	err := c.recvErr
	if err == nil && c.closed.Load() {
		err = ErrClosed
	}
	if err == nil {
		err = c.recv()
	}
	if err != nil {
		if !errors.Is(err, ErrDeadline) {
			c.recvErr = err
		}
		return fmt.Errorf("receive from %s: %w", c.Peer(), err)
	}
	f.Header = c.in.Header
	f.Payload, c.in.Payload = c.in.Payload, f.Payload[:0]
	c.headed = 0
	return nil
}

// recv reads on until the frame in c.in is whole. After a deadline it can go on.
func (c *quicConn) recv() error {
	for c.headed < HeaderBytes {
		n, err := c.stream.Read(c.header[c.headed:])
		if c.headed += n; c.headed < HeaderBytes && err != nil {
			if errors.Is(err, io.EOF) && c.headed == 0 {
				return errPeerClosed
			}
			return c.explain(err)
		}
		if c.headed == HeaderBytes {
			if c.length, err = c.in.decode(c.header[:]); err != nil {
				return c.refuse(err)
			}
			c.in.Payload = c.in.Payload[:0]
		}
	}
	for c.length > len(c.in.Payload) {
		have := len(c.in.Payload)
		piece := min(c.length-have, max(readPiece, cap(c.in.Payload)-have))
		c.in.Payload = slices.Grow(c.in.Payload, piece)
		n, err := c.stream.Read(c.in.Payload[have : have+piece])
		c.in.Payload = c.in.Payload[:have+n]
		if err != nil && have+n < c.length {
			return c.explain(err)
		}
	}
	return nil
}

// refuse gives up on a peer that sends what is no frame.
func (c *quicConn) refuse(err error) error {
	c.session.network.complain.once("refused what is no frame", "node", c.Peer(), "cause", err)
	abandon(c.stream, codeProtocol)
	return err
}

func (c *quicConn) explain(err error) error {
	switch {
	case c.closed.Load():
		return ErrClosed
	case errors.Is(err, io.EOF): // in the middle of a frame
		return fmt.Errorf("%w: closed within a frame", ErrPeerGone)
	}
	return c.session.explain(err)
}

func (c *quicConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *quicConn) SetReadDeadline(t time.Time) error { return c.setDeadline(&c.read, t) }

func (c *quicConn) SetWriteDeadline(t time.Time) error { return c.setDeadline(&c.write, t) }

func (c *quicConn) setDeadline(a *quicAlarm, t time.Time) error {
	if c.closed.Load() {
		return ErrClosed
	}
	if c.session.conn.Context().Err() != nil {
		return c.session.explain(os.ErrClosed)
	}
	return a.set(t)
}

// Close sends what was written, and then that this is the end.
func (c *quicConn) Close() error {
	if c.closed.Swap(true) {
		return nil
	}
	c.read.stop()
	c.write.stop()
	c.stream.CancelRead(codeClosed)
	_ = c.stream.SetWriteDeadline(time.Unix(1, 0)) // wakes a Send that waits
	c.sending.Lock()
	defer c.sending.Unlock()
	_ = c.stream.Close() // fails if the peer was first
	return nil
}

// quicAlarm is a deadline of one direction. quic-go's own makes a timer for each wait; this one has a single timer, which
// sets quic-go's deadline into the past when it rings.
type quicAlarm struct {
	mu     sync.Mutex
	at     time.Time
	timer  *time.Timer
	rung   bool
	expire func(time.Time) error
}

func (a *quicAlarm) set(t time.Time) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.at = t
	if a.rung {
		a.rung = false
		if err := a.expire(time.Time{}); err != nil {
			return err
		}
	}
	switch {
	case t.IsZero():
		if a.timer != nil {
			a.timer.Stop()
		}
	case time.Until(t) <= 0:
		a.rung = true
		return a.expire(time.Unix(1, 0))
	case a.timer == nil:
		a.timer = time.AfterFunc(time.Until(t), a.ring)
	default:
		a.timer.Reset(time.Until(t))
	}
	return nil
}

func (a *quicAlarm) ring() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.at.IsZero() || a.rung {
		return
	}
	if rest := time.Until(a.at); rest > 0 { // moved meanwhile
		a.timer.Reset(rest)
		return
	}
	a.rung = true
	_ = a.expire(time.Unix(1, 0)) // fails on a dead stream, which nobody waits for
}

func (a *quicAlarm) stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.at = time.Time{}
	if a.timer != nil {
		a.timer.Stop()
	}
}
