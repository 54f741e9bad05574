package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/quic-go/quic-go"
)

// probeAfter is how long a dial waits for an answer before it asks the other machine's kernel whether anybody listens.
const probeAfter = 150 * time.Millisecond

// alpnMismatch is the TLS alert of a server that shares no protocol with its caller.
const alpnMismatch = quic.TransportErrorCode(0x100 + 120)

var errNobodyListens = errors.New("nobody listens")

// Dial implements Network. It does not wait for a node that is down: the error says what is known about the cause.
func (q *QUIC) Dial(ctx context.Context, node string, class Class) (Conn, error) {
	if !class.valid() {
		return nil, fmt.Errorf("dial %s: %w: %v", node, ErrClass, class)
	}
	l := lane{node: node, bulk: class == ClassWeights}
	conn, err := q.dial(ctx, class, func(ctx context.Context) (*session, bool, error) { return q.sessionTo(ctx, l) })
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", node, err)
	}
	return conn, nil
}

// DialAddress implements Datagrams.
func (q *QUIC) DialAddress(ctx context.Context, to netip.AddrPort, class Class) (Conn, error) {
	if !class.valid() {
		return nil, fmt.Errorf("dial %v: %w: %v", to, ErrClass, class)
	}
	conn, err := q.dial(ctx, class, func(ctx context.Context) (*session, bool, error) {
		if s := q.sessionAt(to, class == ClassWeights); s != nil {
			return s, false, nil
		}
		s, err := q.call(ctx, to, "")
		if err == nil {
			q.prefer(lane{node: s.peer, bulk: class == ClassWeights}, s)
		}
		return s, true, err
	})
	if err != nil {
		return nil, fmt.Errorf("dial %v: %w", to, err)
	}
	return conn, nil
}

// dial opens a connection in a session. A session that was there before may turn out to be dead, because the peer was started
// again; then there is a second try with a new one.
func (q *QUIC) dial(ctx context.Context, class Class, find func(context.Context) (s *session, fresh bool, err error)) (Conn, error) {
	for {
		s, fresh, err := find(ctx)
		if err != nil {
			return nil, err
		}
		conn, err := s.open(ctx, class)
		if err == nil {
			return conn, nil
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("%w: no room for the connection, or no answer: %w", ErrUnreachable, ctx.Err())
		}
		var stream *quic.StreamError
		if q.isClosed() || errors.As(err, &stream) || errors.Is(err, ErrFrame) { // the session is alive
			return nil, s.explain(err)
		}
		_ = s.conn.CloseWithError(codeClosed, "") // it is over, and has been all along if the peer was restarted
		q.forget(s)
		if fresh { // a refusal comes after the caller's part of the handshake
			return nil, q.dialError(s.address(), s.ended(), err)
		}
	}
}

// sessionTo finds or makes a session to a node. Calls that come while one is being made wait for it.
func (q *QUIC) sessionTo(ctx context.Context, l lane) (s *session, fresh bool, err error) {
	for {
		q.mu.Lock()
		s, calling := q.sessions[l], q.dialling[l]
		if s != nil && s.conn.Context().Err() == nil {
			q.mu.Unlock()
			return s, false, nil
		}
		if calling == nil {
			calling = make(chan struct{})
			q.dialling[l] = calling
			q.mu.Unlock()
			return q.makeSession(ctx, l, calling)
		}
		q.mu.Unlock()
		select {
		case <-calling: // or it failed, and this call finds out itself
		case <-ctx.Done():
			return nil, false, fmt.Errorf("%w: %w", ErrUnreachable, ctx.Err())
		}
	}
}

func (q *QUIC) makeSession(ctx context.Context, l lane, calling chan struct{}) (*session, bool, error) {
	defer func() {
		q.mu.Lock()
		delete(q.dialling, l)
		q.mu.Unlock()
		close(calling)
	}()
	to, ok := q.config.Resolve(l.node)
	if !ok {
		return nil, false, fmt.Errorf("%w: no address of it is known", ErrUnreachable)
	}
	s, err := q.call(ctx, to, l.node)
	if err != nil {
		return nil, false, err
	}
	q.prefer(l, s)
	return s, true, nil
}

// prefer makes a session the one to a node, if it is alive.
func (q *QUIC) prefer(l lane, s *session) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if _, ok := q.live[s]; ok {
		q.sessions[l] = s
	}
}

// sessionAt finds a session with whoever is at an address.
func (q *QUIC) sessionAt(at netip.AddrPort, bulk bool) *session {
	q.mu.Lock()
	defer q.mu.Unlock()
	for l, s := range q.sessions {
		if l.bulk == bulk && s.address() == at && s.conn.Context().Err() == nil {
			return s
		}
	}
	return nil
}

// call makes a session with whoever answers at an address, or only with one node.
func (q *QUIC) call(ctx context.Context, to netip.AddrPort, want string) (*session, error) {
	if q.isClosed() {
		return nil, ErrClosed
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := dialProbing(ctx, to, func(ctx context.Context) (*quic.Conn, error) {
		return q.transport.Dial(ctx, net.UDPAddrFromAddrPort(to), q.config.memberTLS(want), q.config.settings(to.Addr()))
	})
	if err != nil {
		return nil, q.dialError(to, nil, err)
	}
	state := conn.ConnectionState().TLS
	if state.NegotiatedProtocol == alpnVersion {
		select {
		case <-conn.Context().Done():
		case <-ctx.Done():
		}
		_ = conn.CloseWithError(codeVersion, "")
		return nil, q.dialError(to, nil, context.Cause(conn.Context()))
	}
	s, err := q.adopt(conn, want, true)
	if err != nil {
		_ = conn.CloseWithError(codeIdentity, "")
		return nil, err
	}
	return s, nil
}

// dialProbing dials, and gives up as soon as the other machine says that nobody listens.
func dialProbing(ctx context.Context, to netip.AddrPort, dial func(context.Context) (*quic.Conn, error)) (*quic.Conn, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	var probing sync.WaitGroup
	probing.Go(func() {
		if probe(ctx, to) {
			cancel(errNobodyListens)
		}
	})
	conn, err := dial(ctx)
	cancel(nil)
	probing.Wait()
	return conn, err
}

// probe reports whether a machine says that nobody listens on a port. The byte that it sends means nothing to anybody.
func probe(ctx context.Context, to netip.AddrPort) bool {
	timer := time.NewTimer(probeAfter)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
	}
	conn, err := new(net.Dialer).DialContext(ctx, "udp", to.String())
	if err != nil {
		return false
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err = conn.Write([]byte{0x40}); err == nil {
		_, err = conn.Read(make([]byte, 1))
	}
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) // the latter on Windows
}

// dialError says why a session could not be made, and what to do.
func (q *QUIC) dialError(to netip.AddrPort, ended, err error) error {
	switch {
	case q.isClosed():
		return ErrClosed
	case ended != nil:
		return ended
	case errors.Is(err, ErrIdentity):
		return fmt.Errorf("node at %v: %w", to, err)
	}
	return explainDial(to, q.config.alpn(), err)
}

// explainDial says why nobody could be talked to at an address.
func explainDial(to netip.AddrPort, ours string, err error) error {
	var (
		refused *quic.TransportError
		closed  *quic.ApplicationError
		silent  net.Error
	)
	switch {
	case errors.Is(err, errNobodyListens):
		return fmt.Errorf("%w: the machine answers, but nothing listens on UDP %v: start polynode there, or correct the address", ErrUnreachable, to)
	case errors.As(err, &closed) && closed.ErrorCode == codeVersion:
		return fmt.Errorf("%w: the node at %v speaks %.40q, this one %q: install the same version of polynode on both", ErrVersion, to, closed.ErrorMessage, ours)
	case errors.As(err, &closed) && closed.ErrorCode == codeIdentity, errors.As(err, &refused) && refused.Remote && refused.ErrorCode.IsCryptoError() && refused.ErrorCode != alpnMismatch:
		return fmt.Errorf("%w: the node at %v does not accept this node's certificate: its log says why", ErrIdentity, to)
	case errors.As(err, &closed):
		return fmt.Errorf("%w: the node at %v ended the call: %v", ErrUnreachable, to, closed)
	case errors.As(err, &refused) && refused.ErrorCode == alpnMismatch:
		return fmt.Errorf("%w: what listens at %v does not speak %q: it is not polynode, or one of another version", ErrVersion, to, ours)
	case errors.As(err, &refused) && refused.ErrorCode == quic.ConnectionRefused:
		return fmt.Errorf("%w: the node at %v takes no new sessions now: too many at once, or it is stopping", ErrUnreachable, to)
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &silent) && silent.Timeout():
		return fmt.Errorf("%w: packets leave for UDP %v and none come back: the machine is off, the address is wrong, or a firewall drops them on one of the two ways; "+
			"if the other node's log mentions this one, they arrive there and only the way back is blocked: %w", ErrUnreachable, to, err)
	}
	return fmt.Errorf("%w: UDP %v: %w", ErrUnreachable, to, err)
}
