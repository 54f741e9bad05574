package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
)

// stranger dials with a TLS configuration of its own, past everything that Dial checks.
func stranger(t *testing.T, to netip.AddrPort, config *tls.Config) (*quic.Conn, error) {
	t.Helper()
	udp, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	transport := &quic.Transport{Conn: udp}
	t.Cleanup(func() {
		transport.Close()
		udp.Close()
	})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	config.InsecureSkipVerify, config.MinVersion = true, tls.VersionTLS13
	if config.NextProtos == nil {
		config.NextProtos = []string{"pn/1"}
	}
	return transport.Dial(ctx, net.UDPAddrFromAddrPort(to), config, &quic.Config{HandshakeIdleTimeout: 2 * time.Second})
}

// refused fails the test unless the other side ends the session because of what this one presented.
func refused(t *testing.T, conn *quic.Conn, err error) {
	t.Helper()
	if err == nil {
		select {
		case <-conn.Context().Done():
			err = context.Cause(conn.Context())
		case <-t.Context().Done():
		}
	}
	var alert *quic.TransportError
	if !errors.As(err, &alert) || !alert.Remote || !alert.ErrorCode.IsCryptoError() {
		t.Errorf("got %v, want a refusal", err)
	}
}

func TestQUICRefusesStrangers(t *testing.T) {
	cluster, foreign := newTestCluster(t), newAuthority(t)
	server := cluster.start(t, "server")
	near, far := join2(t, cluster.start(t, "friend"), server)
	for name, certificates := range map[string][]tls.Certificate{
		"no certificate": nil,
		"foreign":        {*foreign.issue(t, "friend", time.Now().Add(time.Hour))},
		"expired":        {*cluster.issue(t, "friend", time.Now().Add(-time.Hour))},
	} {
		t.Run(name, func(t *testing.T) {
			for range 3 {
				conn, err := stranger(t, server.Address(), &tls.Config{Certificates: certificates})
				refused(t, conn, err)
			}
		})
	}
	t.Run("no common protocol", func(t *testing.T) {
		conn, err := stranger(t, server.Address(), &tls.Config{NextProtos: []string{"h3"}})
		refused(t, conn, err)
	})
	t.Run("join without a handler", func(t *testing.T) {
		conn, err := stranger(t, server.Address(), &tls.Config{NextProtos: []string{alpnJoin}})
		refused(t, conn, err)
	})
	exchange(t, near, far)
	if n := cluster.log.count("refused a caller"); n != 1 {
		t.Errorf("refusals of one host logged %d times:\n%s", n, &cluster.log)
	}
}

// join2 is join for nodes of any name.
func join2(t *testing.T, a, b *QUIC) (dialled, accepted Conn) {
	t.Helper()
	dialled, err := a.Dial(t.Context(), b.config.Node, ClassControl)
	if err != nil {
		t.Fatal(err)
	}
	accepted, err = b.Accept(t.Context(), ClassControl)
	if err != nil {
		t.Fatal(err)
	}
	return dialled, accepted
}

// exchange sends a frame each way.
func exchange(t *testing.T, near, far Conn) {
	t.Helper()
	patient(t, near, far)
	var frame Frame
	for _, ends := range [][2]Conn{{near, far}, {far, near}} {
		if err := ends[0].Send(numbered(1, 1000)); err != nil {
			t.Fatal(err)
		}
		if err := ends[1].Recv(&frame); err != nil || frame.Step != 1 {
			t.Fatal(err)
		}
	}
}

func TestQUICWrongIdentity(t *testing.T) {
	cluster, foreign := newTestCluster(t), newAuthority(t)
	a, b := cluster.start(t, "a"), cluster.start(t, "b")
	cluster.put("c", b.Address())
	if _, err := a.Dial(t.Context(), "c", ClassRaft); !errors.Is(err, ErrIdentity) || !strings.Contains(err.Error(), "b answers there") {
		t.Errorf("another node at the address: %v", err)
	}
	if _, err := a.Dial(t.Context(), "b", ClassRaft); err != nil {
		t.Errorf("the right name: %v", err)
	}
	other := cluster.start(t, "other", func(c *QUICConfig) { c.Identity = newMember(t, cluster.authority, foreign, "other") })
	if _, err := a.Dial(t.Context(), "other", ClassRaft); !errors.Is(err, ErrIdentity) {
		t.Errorf("a node of another cluster: %v", err)
	}
	if _, err := other.Dial(t.Context(), "b", ClassRaft); !errors.Is(err, ErrIdentity) || !strings.Contains(err.Error(), "does not accept") {
		t.Errorf("from a node of another cluster: %v", err)
	}
}

func TestQUICRevoked(t *testing.T) {
	cluster := newTestCluster(t)
	identity := newMember(t, cluster.authority, cluster.authority, "server")
	server := cluster.start(t, "server", func(c *QUICConfig) { c.Identity = identity })
	client, friend := cluster.start(t, "client"), cluster.start(t, "friend")
	near, far := join2(t, client, server)
	friendNear, friendFar := join2(t, friend, server)
	patient(t, near, far)
	identity.revoke("client")
	server.Recheck()
	if err := far.Recv(new(Frame)); !errors.Is(err, ErrIdentity) || !errors.Is(err, ErrPeerGone) {
		t.Errorf("at the node that revoked: %v", err)
	}
	if err := near.Recv(new(Frame)); !errors.Is(err, ErrIdentity) || !errors.Is(err, ErrPeerGone) {
		t.Errorf("at the node that was revoked: %v", err)
	}
	if _, err := client.Dial(t.Context(), "server", ClassControl); !errors.Is(err, ErrIdentity) {
		t.Errorf("dial afterwards: %v", err)
	}
	if _, err := server.Dial(t.Context(), "client", ClassControl); !errors.Is(err, ErrIdentity) {
		t.Errorf("dial the revoked node: %v", err)
	}
	exchange(t, friendNear, friendFar)
}

// A certificate that expires, and one that is replaced, while sessions live.
func TestQUICRotation(t *testing.T) {
	cluster := newTestCluster(t)
	identity := newMember(t, cluster.authority, cluster.authority, "client")
	identity.certificate = cluster.issue(t, "client", time.Now().Add(1500*time.Millisecond))
	client := cluster.start(t, "client", func(c *QUICConfig) { c.Identity = identity })
	server := cluster.start(t, "server", func(c *QUICConfig) { c.RecheckInterval = 20 * time.Millisecond })
	near, far := join2(t, client, server)
	exchange(t, near, far)
	patient(t, near, far)
	if err := far.Recv(new(Frame)); !errors.Is(err, ErrIdentity) {
		t.Errorf("after it expired: %v", err)
	}
	identity.mu.Lock()
	identity.certificate = cluster.issue(t, "client", time.Now().Add(time.Hour))
	identity.mu.Unlock()
	near, far = join2(t, client, server)
	exchange(t, near, far)
}

func TestQUICVersions(t *testing.T) {
	cluster := newTestCluster(t)
	old := cluster.start(t, "old")
	later := cluster.start(t, "later", func(c *QUICConfig) { c.version = 7 })
	for _, test := range []struct {
		from, to *QUIC
		says     string
	}{{old, later, `speaks "pn/7", this one "pn/1"`}, {later, old, `speaks "pn/1", this one "pn/7"`}} {
		_, err := test.from.Dial(t.Context(), test.to.config.Node, ClassRaft)
		if !errors.Is(err, ErrVersion) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%v, want %s", err, test.says)
		}
	}
}

// Whatever bytes an authenticated peer sends, only that connection ends.
func TestQUICGarbage(t *testing.T) {
	cluster := newTestCluster(t)
	client, server := cluster.start(t, "client"), cluster.start(t, "server")
	near, far := join2(t, client, server)
	oversized, err := AppendFrame(nil, &Frame{Header: Header{Kind: KindSums}})
	if err != nil {
		t.Fatal(err)
	}
	putPayloadLength(oversized, PayloadMax+1)
	for _, test := range []struct {
		name  string
		bytes []byte
		want  error
	}{
		{"garbage", []byte(strings.Repeat("garbage ", 100)), ErrFrame},
		{"oversized", oversized, ErrTooLarge},
		{"half a frame", oversized[:20], ErrPeerGone},
	} {
		t.Run(test.name, func(t *testing.T) {
			bad, victim := join2(t, client, server)
			patient(t, victim)
			stream := bad.(*quicConn).stream
			if _, err := stream.Write(test.bytes); err != nil {
				t.Fatal(err)
			}
			if err := stream.Close(); err != nil {
				t.Fatal(err)
			}
			var frame Frame
			for range 2 {
				if err := victim.Recv(&frame); !errors.Is(err, test.want) {
					t.Errorf("got %v, want %v", err, test.want)
				}
			}
			if cap(frame.Payload) > readPiece {
				t.Errorf("allocated %d bytes", cap(frame.Payload))
			}
		})
	}
	t.Run("unknown class", func(t *testing.T) {
		s, _, err := client.sessionTo(t.Context(), lane{node: "server"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.open(t.Context(), 200); !errors.Is(s.explain(err), ErrClass) {
			t.Errorf("got %v, want %v", err, ErrClass)
		}
	})
	exchange(t, near, far)
	if n := cluster.log.count("refused what is no frame"); n != 1 {
		t.Errorf("logged %d times:\n%s", n, &cluster.log)
	}
}

// Packets that are nothing at all, and loose packets for nobody, disturb nobody.
func TestQUICNoise(t *testing.T) {
	cluster := newTestCluster(t)
	a, b := cluster.start(t, "a"), cluster.start(t, "b")
	near, far := join(t, a, b, ClassActivation)
	noise, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(b.Address()))
	if err != nil {
		t.Fatal(err)
	}
	defer noise.Close()
	packet := make([]byte, 1500)
	for i := range 2000 {
		for j := range packet {
			packet[j] = byte(i*j + i>>3)
		}
		packet[0] = byte(i)
		if _, err := noise.Write(packet[:1+i%1500]); err != nil {
			t.Fatal(err)
		}
		if i%500 == 0 {
			exchange(t, near, far)
		}
	}
	exchange(t, near, far)
}

// A flood of handshakes is refused beyond its budget, while sessions go on and a known node can come back.
func TestQUICFlood(t *testing.T) {
	cluster := newTestCluster(t)
	server, client := cluster.start(t, "server"), cluster.start(t, "client")
	near, far := join2(t, client, server)
	config := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, NextProtos: []string{"pn/1"}}
	flooder, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	transport := &quic.Transport{Conn: flooder}
	defer flooder.Close()
	defer transport.Close()
	var flood sync.WaitGroup
	for range 8 {
		flood.Go(func() {
			for range 12 {
				ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
				if conn, err := transport.Dial(ctx, net.UDPAddrFromAddrPort(server.Address()), config, nil); err == nil {
					conn.CloseWithError(0, "")
				}
				cancel()
			}
		})
	}
	for range 50 {
		exchange(t, near, far)
	}
	flood.Wait()
	server.doorman.mu.Lock()
	server.doorman.spent = handshakesBurst + 10*handshakesPerSecond // the flood goes on
	server.doorman.mu.Unlock()
	if _, err := transport.Dial(t.Context(), net.UDPAddrFromAddrPort(server.Address()), config, nil); err == nil || !strings.Contains(err.Error(), "REFUSED") {
		t.Errorf("a stranger beyond the budget: %v", err)
	}
	server.sessionsLive()[0].fail(codeClosed, ErrPeerGone)
	if _, err := client.Dial(t.Context(), "server", ClassRaft); err != nil {
		t.Errorf("a node that was inside before: %v", err)
	}
	if n := cluster.log.count("too many at once"); n != 1 {
		t.Errorf("logged %d times:\n%s", n, &cluster.log)
	}
}

func TestQUICJoin(t *testing.T) {
	cluster := newTestCluster(t)
	handler := func(_ context.Context, call *JoinCall) error {
		question, err := io.ReadAll(call)
		if err != nil {
			return err
		}
		state := call.TLS()
		bound, err := state.ExportKeyingMaterial("test", nil, 32)
		if err != nil {
			return err
		}
		switch string(question) {
		case "long":
			_, err = call.Write(make([]byte, JoinBytesMax+1))
		case "bad":
			err = errors.New("no such token")
		default:
			_, err = call.Write(append(question, bound...))
		}
		return err
	}
	server := cluster.start(t, "server", func(c *QUICConfig) { c.Join = handler })
	near, far := join2(t, cluster.start(t, "friend"), server)
	identity := newMember(t, cluster.authority, cluster.authority, "joiner")
	ask := func(question string, verify func([][]byte) error) (answer []byte, bound []byte, err error) {
		call, err := DialJoin(t.Context(), server.Address(), verify)
		if err != nil {
			return nil, nil, err
		}
		defer func() { err = errors.Join(err, call.Close()) }()
		if call.From() != server.Address() {
			t.Errorf("the node is at %v, want %v", call.From(), server.Address())
		}
		if _, err := call.Write([]byte(question)); err != nil {
			return nil, nil, err
		}
		if err := call.CloseWrite(); err != nil {
			return nil, nil, err
		}
		state := call.TLS()
		if bound, err = state.ExportKeyingMaterial("test", nil, 32); err != nil {
			return nil, nil, err
		}
		answer, err = io.ReadAll(call)
		return answer, bound, err
	}
	trust := func(chain [][]byte) error { _, err := identity.Verify(chain); return err }
	if answer, bound, err := ask("hello", trust); err != nil || string(answer) != "hello"+string(bound) {
		t.Errorf("answer %q, %v", answer, err)
	}
	if _, _, err := ask("hello", func([][]byte) error { return errors.New("other authority") }); !errors.Is(err, ErrIdentity) {
		t.Errorf("an authority that is not the token's: %v", err)
	}
	for _, question := range []string{"bad", "long", strings.Repeat("x", JoinBytesMax)} {
		if _, _, err := ask(question, trust); err == nil {
			t.Errorf("%.10q was answered", question)
		}
	}
	plain := cluster.start(t, "plain")
	if _, err := DialJoin(t.Context(), plain.Address(), trust); !errors.Is(err, ErrVersion) {
		t.Errorf("a node that takes no joiners: %v", err)
	}
	exchange(t, near, far)
}
