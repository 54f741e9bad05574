package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
)

// QUIC is one node's door to a real network: one UDP socket for everything, every session encrypted and authenticated on
// both sides. It is a Network, Datagrams and a Hurrier, and safe for concurrent use.
//
// Its goroutines are one that accepts sessions, one that verifies certificates again from time to time, three for each
// session, of which two keep its pulse, and one for each connection until its class is known. Close waits for all of them.
type QUIC struct {
	config    QUICConfig
	udp       *net.UDPConn
	transport *quic.Transport
	listener  *quic.Listener
	doorman   doorman
	complain  complaints
	hurry     atomic.Int32
	traffic   traffic
	joining   chan struct{} // one for each call of Join under way
	backlogs  [classEnd]backlog

	stop   context.CancelFunc
	closed chan struct{}
	done   sync.WaitGroup

	mu       sync.Mutex
	sessions map[lane]*session      // by whom this node called, the newest
	dialling map[lane]chan struct{} // closed when the call has ended
	live     map[*session]struct{}  // all, called and calling
	packets  sync.Pool              // of *[packetRoom]byte
}

var (
	_ Network   = (*QUIC)(nil)
	_ Datagrams = (*QUIC)(nil)
	_ Hurrier   = (*QUIC)(nil)
)

// lane is a session to a node for some classes: bulk has its own, so that nothing waits behind it.
type lane struct {
	node string
	bulk bool
}

// backlog holds the connections of one class that wait to be accepted.
type backlog struct {
	room  chan struct{} // one for each place that is taken
	conns chan *quicConn
}

// packetRoom is room for a packet and the byte before it.
const packetRoom = 1 + PacketMax

// Listen opens the socket and answers from then on, until Close. Only setting up is bound to ctx.
func Listen(ctx context.Context, config QUICConfig) (*QUIC, error) {
	if err := config.check(); err != nil {
		return nil, fmt.Errorf("listen on %s: %w", config.Listen, err)
	}
	packetConn, err := new(net.ListenConfig).ListenPacket(ctx, "udp", config.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", config.Listen, err)
	}
	q := &QUIC{
		config: config, udp: packetConn.(*net.UDPConn),
		joining: make(chan struct{}, joinsMax), closed: make(chan struct{}),
		sessions: map[lane]*session{}, dialling: map[lane]chan struct{}{}, live: map[*session]struct{}{},
	}
	q.complain.logger = config.Logger
	q.packets.New = func() any { return new([packetRoom]byte) }
	for class := range q.backlogs {
		q.backlogs[class] = backlog{room: make(chan struct{}, BacklogMax), conns: make(chan *quicConn, BacklogMax)}
	}
	if err := q.listen(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("listen on %s: %w", config.Listen, err), q.udp.Close())
	}
	ctx, q.stop = context.WithCancel(context.WithoutCancel(ctx))
	q.done.Go(func() { q.accept(ctx) })
	q.done.Go(func() { q.recheck(ctx) })
	return q, nil
}

// listen hands the socket to quic-go.
func (q *QUIC) listen(ctx context.Context) error {
	conn, err := newSocket(q.udp, &q.hurry, &q.traffic)
	if err != nil {
		return err
	}
	key := quic.StatelessResetKey(q.config.ResetKey)
	q.transport = &quic.Transport{
		Conn:                conn,
		StatelessResetKey:   &key,
		VerifySourceAddress: q.doorman.suspicious,
		ConnContext:         q.watchHandshake,
	}
	settings := q.config.settings(netip.Addr{})
	settings.GetConfigForClient = func(info *quic.ClientInfo) (*quic.Config, error) {
		from := addrPortOf(info.RemoteAddr)
		if !q.doorman.admit(from, info.AddrVerified) {
			q.complain.once("refused callers because there were too many at once", "from", from)
			return nil, errors.New("too many handshakes")
		}
		return q.config.settings(from.Addr()), nil
	}
	if q.listener, err = q.transport.Listen(q.config.serverTLS(), settings); err != nil {
		return err
	}
	q.keepPackets(ctx)
	return nil
}

// Hurry implements Hurrier.
func (q *QUIC) Hurry() {
	if !q.config.NoPolling {
		q.hurry.Add(1)
	}
}

// Relax implements Hurrier.
func (q *QUIC) Relax() {
	if !q.config.NoPolling {
		q.hurry.Add(-1)
	}
}

// traffic counts bytes in UDP packets.
type traffic struct{ sent, received atomic.Int64 }

// Traffic is how many bytes have gone through the socket in UDP packets, without their headers. Only Linux counts.
func (q *QUIC) Traffic() (sent, received int64) {
	return q.traffic.sent.Load(), q.traffic.received.Load()
}

// Accept implements Network.
func (q *QUIC) Accept(ctx context.Context, class Class) (Conn, error) {
	if !class.valid() {
		return nil, fmt.Errorf("accept: %w: %v", ErrClass, class)
	}
	if q.isClosed() { // before anything that still waits in the backlog
		return nil, fmt.Errorf("accept %v: %w", class, ErrClosed)
	}
	select {
	case conn := <-q.backlogs[class].conns:
		<-q.backlogs[class].room
		return conn, nil
	case <-q.closed:
		return nil, fmt.Errorf("accept %v: %w", class, ErrClosed)
	case <-ctx.Done():
		return nil, fmt.Errorf("accept %v: %w", class, ctx.Err())
	}
}

// Recheck verifies the certificates behind all sessions again and ends those that do not pass any more. It is worth calling
// when one was revoked; otherwise it happens from time to time.
func (q *QUIC) Recheck() {
	for _, s := range q.sessionsLive() {
		if err := q.config.recheck(s.chain, s.peer); err != nil {
			q.complain.once("ended a session: the certificate is not valid any more", "node", s.peer, "cause", err)
			s.fail(codeIdentity, err)
		}
	}
}

func (q *QUIC) recheck(ctx context.Context) {
	ticker := time.NewTicker(q.config.RecheckInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			q.Recheck()
		}
	}
}

// Close implements Network. Goroutines have ended when it returns.
func (q *QUIC) Close() error {
	q.mu.Lock()
	if q.isClosed() {
		q.mu.Unlock()
		q.done.Wait()
		return nil
	}
	close(q.closed)
	q.mu.Unlock()
	for _, s := range q.sessionsLive() {
		s.fail(codeClosed, ErrClosed)
	}
	q.stop()
	err := errors.Join(q.listener.Close(), q.transport.Close(), q.udp.Close())
	q.done.Wait()
	return err
}

func (q *QUIC) isClosed() bool {
	select {
	case <-q.closed:
		return true
	default:
		return false
	}
}

// accept takes sessions that others open.
func (q *QUIC) accept(ctx context.Context) {
	for {
		conn, err := q.listener.Accept(ctx)
		if err != nil {
			return
		}
		q.done.Go(func() { q.welcome(ctx, conn) })
	}
}

// welcome does what a caller has come for.
func (q *QUIC) welcome(ctx context.Context, conn *quic.Conn) {
	state := conn.ConnectionState().TLS
	switch state.NegotiatedProtocol {
	case alpnVersion:
		_ = conn.CloseWithError(codeVersion, q.config.alpn())
		q.complain.once("refused a caller that speaks another version of the protocol", "from", conn.RemoteAddr(), "ours", q.config.alpn())
	case alpnJoin:
		q.serveJoin(ctx, conn)
	default:
		s, err := q.adopt(conn, "", false)
		if err != nil {
			_ = conn.CloseWithError(codeIdentity, "")
			return
		}
		s.serve()
	}
}

// adopt makes a session of a connection whose handshake is over. What the peer opens in one that this node has called is
// served as well.
func (q *QUIC) adopt(conn *quic.Conn, want string, called bool) (*session, error) {
	state := conn.ConnectionState().TLS
	chain := chainOf(&state)
	peer, err := q.config.verify(chain, want)
	if err != nil {
		return nil, err
	}
	s := &session{network: q, conn: conn, peer: peer, chain: chain}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.isClosed() {
		return nil, ErrClosed
	}
	q.live[s] = struct{}{}
	q.doorman.remember(s.address())
	if called {
		q.done.Go(s.serve)
		q.done.Go(s.openPulse)
	}
	return s, nil
}

func (q *QUIC) forget(s *session) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.live, s)
	for l, other := range q.sessions {
		if other == s {
			delete(q.sessions, l)
		}
	}
}

func (q *QUIC) sessionsLive() []*session {
	q.mu.Lock()
	defer q.mu.Unlock()
	sessions := make([]*session, 0, len(q.live))
	for s := range q.live {
		sessions = append(sessions, s)
	}
	return sessions
}

// watchHandshake says why callers did not get in.
func (q *QUIC) watchHandshake(ctx context.Context, info *quic.ClientInfo) (context.Context, error) {
	from := info.RemoteAddr
	context.AfterFunc(ctx, func() {
		cause := context.Cause(ctx)
		var timeout *quic.HandshakeTimeoutError
		var refused *quic.TransportError
		switch {
		case errors.As(cause, &timeout):
			q.complain.once("a caller's packets arrive here, but it does not answer: if it is waiting, a firewall drops UDP on the way back to it", "from", from)
		case errors.As(cause, &refused) && refused.ErrorCode.IsCryptoError():
			q.complain.once("refused a caller", "from", from, "cause", cause)
		}
	})
	return ctx, nil
}

func addrPortOf(address net.Addr) netip.AddrPort {
	udp, ok := address.(*net.UDPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := udp.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
