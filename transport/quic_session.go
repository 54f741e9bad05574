package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
)

// preambleBytes is what the side that opens a connection sends first: the class, and zeros. They make the packet long enough
// for a node that has been restarted to answer it with a reset; those may not be longer than what they answer.
const preambleBytes = 64

// session is an authenticated QUIC connection to a node. Connections are its streams: the side that opens one sends its
// class in the first byte, and the other side answers with the same byte once there is room in its backlog. One more stream is
// the session's pulse.
type session struct {
	network *QUIC
	conn    *quic.Conn
	peer    string
	chain   [][]byte    // the peer's certificates
	pulsing atomic.Bool // the peer has opened a pulse

	mu    sync.Mutex
	cause error // why this side ended it
}

// fail ends the session with all its connections.
func (s *session) fail(code quic.ApplicationErrorCode, cause error) {
	s.mu.Lock()
	if s.cause == nil {
		s.cause = cause
	}
	s.mu.Unlock()
	text := ""
	if code == codeIdentity {
		text = "the certificate is not valid any more"
	}
	_ = s.conn.CloseWithError(code, text)
	s.network.forget(s)
}

// serve answers connections that the peer opens, until the session ends.
func (s *session) serve() {
	defer s.network.forget(s)
	for {
		stream, err := s.conn.AcceptStream(s.conn.Context())
		if err != nil {
			return
		}
		s.network.done.Go(func() { s.announce(stream) })
	}
}

// announce learns the class of a new connection and puts it into the backlog when there is room.
func (s *session) announce(stream *quic.Stream) {
	class, err := readClass(stream)
	if err == nil && class == pulseMark {
		if s.pulsing.Swap(true) {
			abandon(stream, codeProtocol)
			return
		}
		s.keepPulse(stream)
		return
	}
	if err != nil {
		var dead *quic.StreamError
		if !errors.As(err, &dead) && s.conn.Context().Err() == nil {
			s.network.complain.once("refused a connection", "node", s.peer, "cause", err)
		}
		code := quic.StreamErrorCode(codeProtocol)
		if errors.Is(err, ErrClass) {
			code = codeClass
		}
		abandon(stream, code)
		return
	}
	q := &s.network.backlogs[class]
	select {
	case q.room <- struct{}{}:
	case <-s.conn.Context().Done():
		return
	case <-stream.Context().Done(): // the caller has given up
		abandon(stream, codeClosed)
		return
	}
	if _, err := stream.Write([]byte{byte(class)}); err != nil {
		<-q.room
		abandon(stream, codeClosed)
		return
	}
	q.conns <- newQUICConn(s, stream) // has room: it was taken before
}

func readClass(stream *quic.Stream) (Class, error) {
	if err := stream.SetReadDeadline(time.Now().Add(preambleTimeout)); err != nil {
		return 0, err
	}
	var preamble [preambleBytes]byte
	if _, err := io.ReadFull(stream, preamble[:]); err != nil {
		return 0, fmt.Errorf("read class: %w", err)
	}
	class := Class(preamble[0])
	if class != pulseMark && !class.valid() {
		return 0, fmt.Errorf("%w: %v", ErrClass, class)
	}
	return class, stream.SetReadDeadline(time.Time{})
}

// open opens a connection and waits until the peer has room for it.
func (s *session) open(ctx context.Context, class Class) (*quicConn, error) {
	stream, err := s.conn.OpenStreamSync(ctx)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = stream.SetReadDeadline(time.Unix(1, 0)) })
	preamble := [preambleBytes]byte{byte(class)}
	_, err = stream.Write(preamble[:])
	if err == nil {
		_, err = io.ReadFull(stream, preamble[:1])
	}
	if !stop() && err == nil {
		err = os.ErrDeadlineExceeded
	}
	if err == nil && preamble[0] != byte(class) {
		err = fmt.Errorf("%w: class %v was answered with %d", ErrFrame, class, preamble[0])
	}
	if err != nil {
		abandon(stream, codeClosed)
		if errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, err
	}
	return newQUICConn(s, stream), nil
}

// abandon gives a stream up in both directions.
func abandon(stream *quic.Stream, code quic.StreamErrorCode) {
	stream.CancelRead(code)
	stream.CancelWrite(code)
}

// explain turns an error of a stream into one of this package.
func (s *session) explain(err error) error {
	var (
		stream  *quic.StreamError
		closed  *quic.ApplicationError
		idle    *quic.IdleTimeoutError
		restart *quic.StatelessResetError
	)
	cause := s.ended()
	switch {
	case errors.Is(cause, ErrClosed):
		return ErrClosed
	case cause != nil:
		return fmt.Errorf("%w: %w", ErrPeerGone, cause)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return ErrDeadline
	case errors.As(err, &stream) && stream.Remote && stream.ErrorCode == codeClass:
		return fmt.Errorf("%w: the peer does not know it", ErrClass)
	case errors.As(err, &stream) && stream.Remote:
		return ErrPeerGone
	case errors.As(err, &stream):
		return ErrClosed
	case errors.As(err, &idle):
		return fmt.Errorf("%w: %w for %v", ErrPeerGone, ErrSilent, s.network.config.IdleTimeout)
	case errors.As(err, &restart):
		return fmt.Errorf("%w: it was restarted", ErrPeerGone)
	case errors.As(err, &closed) && closed.ErrorCode == codeIdentity:
		return fmt.Errorf("%w: %w: it does not accept this node's certificate any more", ErrPeerGone, ErrIdentity)
	case errors.As(err, &closed) && closed.ErrorCode == codeSilent:
		return fmt.Errorf("%w: %w: it has heard no answer of this node", ErrPeerGone, ErrSilent)
	case errors.As(err, &closed):
		return fmt.Errorf("%w: it was closed", ErrPeerGone)
	}
	return fmt.Errorf("%w: %w", ErrPeerGone, err)
}

// ended is why this side ended the session, if it did.
func (s *session) ended() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cause
}

// address is where the peer is now.
func (s *session) address() netip.AddrPort { return addrPortOf(s.conn.RemoteAddr()) }
