package transport

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/quic-go/quic-go"
)

// Limits of calls without a certificate.
const (
	JoinBytesMax = 64 << 10         // in each direction
	JoinTimeout  = 10 * time.Second // from the first byte to the last
	joinsMax     = 8                // under way at one node at the same time
)

// JoinCall is one conversation between a node and a caller that has no certificate. At the node it is what JoinHandler is
// given; the caller gets it from DialJoin. Reading ends with io.EOF when the other side has called CloseWrite. One
// goroutine may use it at a time.
type JoinCall struct {
	conn   *quic.Conn
	stream *quic.Stream
	in     io.Reader
	room   int // bytes that may still be written
	close  func() error
}

// Read reads what the other side wrote, JoinBytesMax at most.
func (c *JoinCall) Read(p []byte) (int, error) { return c.in.Read(p) }

// Write writes to the other side, JoinBytesMax in all; more fails with ErrTooLarge.
func (c *JoinCall) Write(p []byte) (int, error) {
	if len(p) > c.room {
		return 0, fmt.Errorf("write to joiner: %w: limit %d bytes", ErrTooLarge, JoinBytesMax)
	}
	n, err := c.stream.Write(p)
	c.room -= n
	return n, err
}

// CloseWrite says that nothing more is to come.
func (c *JoinCall) CloseWrite() error { return c.stream.Close() }

// From is the other side's address, as the network shows it.
func (c *JoinCall) From() netip.AddrPort { return addrPortOf(c.conn.RemoteAddr()) }

// TLS is the state of the handshake: the node's certificates for the caller, and ExportKeyingMaterial, which binds what is
// said to this handshake, for both.
func (c *JoinCall) TLS() tls.ConnectionState { return c.conn.ConnectionState().TLS }

// Close ends the call on the caller's side. A handler returns instead.
func (c *JoinCall) Close() error { return c.close() }

func newJoinCall(conn *quic.Conn, stream *quic.Stream) *JoinCall {
	return &JoinCall{conn: conn, stream: stream, in: io.LimitReader(stream, JoinBytesMax), room: JoinBytesMax, close: func() error { return nil }}
}

// serveJoin answers a caller without a certificate.
func (q *QUIC) serveJoin(ctx context.Context, conn *quic.Conn) {
	select {
	case q.joining <- struct{}{}:
		defer func() { <-q.joining }()
	default:
		_ = conn.CloseWithError(codeBusy, "too many join calls at once")
		q.complain.once("refused a join call: too many at once", "from", conn.RemoteAddr())
		return
	}
	ctx, cancel := context.WithTimeout(ctx, JoinTimeout)
	defer cancel()
	if err := q.answerJoin(ctx, conn); err != nil {
		q.complain.once("join call broke off", "from", conn.RemoteAddr(), "cause", err)
		_ = conn.CloseWithError(codeProtocol, "")
		return
	}
	_ = conn.CloseWithError(codeClosed, "")
}

func (q *QUIC) answerJoin(ctx context.Context, conn *quic.Conn) error {
	stream, err := conn.AcceptStream(ctx)
	if err != nil {
		return err
	}
	deadline, _ := ctx.Deadline()
	if err := stream.SetDeadline(deadline); err != nil {
		return err
	}
	if err := q.config.Join(ctx, newJoinCall(conn, stream)); err != nil {
		return err
	}
	if err := stream.Close(); err != nil {
		return err
	}
	select { // the caller has read everything when it ends the call
	case <-conn.Context().Done():
	case <-ctx.Done():
	}
	return nil
}

// DialJoin calls a node without a certificate, from a socket of its own. The caller's verify decides whether the node is the
// right one, by its certificates as sent, its own first. Only setting up is bound to ctx; the call ends after JoinTimeout.
func DialJoin(ctx context.Context, to netip.AddrPort, verify func(chain [][]byte) error) (*JoinCall, error) {
	udp, err := net.ListenUDP("udp", nil)
	if err != nil {
		return nil, fmt.Errorf("call %v: %w", to, err)
	}
	var key quic.StatelessResetKey
	_, _ = rand.Read(key[:]) // never fails
	transport := &quic.Transport{Conn: udp, StatelessResetKey: &key}
	end := func() error { return errors.Join(transport.Close(), udp.Close()) }
	call, err := dialJoin(ctx, transport, to, verify)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("call %v: %w", to, err), end())
	}
	call.close = func() error {
		return errors.Join(call.conn.CloseWithError(codeClosed, ""), end())
	}
	return call, nil
}

func dialJoin(ctx context.Context, transport *quic.Transport, to netip.AddrPort, verify func(chain [][]byte) error) (*JoinCall, error) {
	config := &tls.Config{
		MinVersion:         tls.VersionTLS13,
		ServerName:         "polynode",
		NextProtos:         []string{alpnJoin, alpnVersion},
		InsecureSkipVerify: true, // VerifyConnection does it
		VerifyConnection: func(state tls.ConnectionState) error {
			if state.NegotiatedProtocol == alpnVersion {
				return nil
			}
			if err := verify(chainOf(&state)); err != nil {
				return fmt.Errorf("%w: %w", ErrIdentity, err)
			}
			return nil
		},
	}
	settings := &quic.Config{HandshakeIdleTimeout: handshakeTimeout, MaxIdleTimeout: JoinTimeout, MaxIncomingStreams: -1, MaxIncomingUniStreams: -1}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := dialProbing(ctx, to, func(ctx context.Context) (*quic.Conn, error) {
		return transport.Dial(ctx, net.UDPAddrFromAddrPort(to), config, settings)
	})
	if err != nil && !errors.Is(err, ErrIdentity) {
		err = explainDial(to, alpnJoin, err)
	}
	if err != nil {
		return nil, err
	}
	if conn.ConnectionState().TLS.NegotiatedProtocol == alpnVersion {
		select {
		case <-conn.Context().Done():
		case <-ctx.Done():
		}
		return nil, errors.Join(explainDial(to, alpnJoin, context.Cause(conn.Context())), conn.CloseWithError(codeVersion, ""))
	}
	stream, err := conn.OpenStreamSync(ctx)
	if err == nil {
		err = stream.SetDeadline(time.Now().Add(JoinTimeout))
	}
	if err != nil {
		return nil, errors.Join(explainDial(to, alpnJoin, err), conn.CloseWithError(codeClosed, ""))
	}
	return newJoinCall(conn, stream), nil
}
