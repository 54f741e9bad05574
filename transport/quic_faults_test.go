package transport

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"polynode/internal/relay"
)

// behindRelay starts two nodes, where a finds b through a relay.
func behindRelay(t *testing.T, there, back relay.Link) (cluster *testCluster, a, b *QUIC, between *relay.UDP) {
	t.Helper()
	cluster = newTestCluster(t)
	a, b = cluster.start(t, "a"), cluster.start(t, "b")
	between, err := relay.NewUDP(t.Context(), b.Address(), there, back)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { between.Close() })
	cluster.put("b", between.Address())
	return cluster, a, b, between
}

// Loss, duplicates and packets out of order slow a connection down and change nothing of what arrives.
func TestQUICBadNetwork(t *testing.T) {
	bad := relay.Link{Delay: time.Millisecond, Jitter: time.Millisecond, Loss: 0.03, Duplicate: 0.05, Reorder: 0.05}
	_, a, b, _ := behindRelay(t, bad, bad)
	near, far := join(t, a, b, ClassActivation)
	patient(t, near, far)
	done := make(chan error, 1)
	go func() {
		for i := range uint64(60) {
			if err := near.Send(numbered(i, int(i)*500)); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	var frame Frame
	for i := range uint64(60) {
		if err := far.Recv(&frame); err != nil || frame.Step != i || len(frame.Payload) != int(i)*500 {
			t.Fatalf("frame %d: step %d, %d bytes, %v", i, frame.Step, len(frame.Payload), err)
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A peer that falls silent is noticed at both ends, in either direction of a cut.
func TestQUICSilentPeer(t *testing.T) {
	for _, test := range []struct {
		name        string
		there, back bool
	}{{"both ways", true, true}, {"there", true, false}, {"back", false, true}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, a, b, between := behindRelay(t, relay.Link{}, relay.Link{})
			near, far := join(t, a, b, ClassActivation)
			patient(t, near, far)
			errs := make(chan error, 1)
			go func() { errs <- far.Recv(new(Frame)) }()
			start := time.Now()
			between.Set(relay.Link{Cut: test.there}, relay.Link{Cut: test.back})
			if err := near.Recv(new(Frame)); !errors.Is(err, ErrPeerGone) {
				t.Errorf("at the caller: %v", err)
			}
			t.Logf("noticed at the caller after %v", time.Since(start))
			if err := <-errs; !errors.Is(err, ErrPeerGone) {
				t.Errorf("at the called: %v", err)
			}
			t.Logf("noticed at the called after %v", time.Since(start))
			if _, err := a.Dial(t.Context(), "b", ClassRaft); !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "none come back") {
				t.Errorf("dial through a cut: %v", err)
			}
			between.Set(relay.Link{}, relay.Link{})
			if _, err := a.Dial(t.Context(), "b", ClassRaft); err != nil {
				t.Errorf("dial when it is healed: %v", err)
			}
		})
	}
}

// When only the way back is cut, the node that is called says so.
func TestQUICFirewallIsNamed(t *testing.T) {
	cluster, a, _, _ := behindRelay(t, relay.Link{}, relay.Link{Cut: true})
	if _, err := a.Dial(t.Context(), "b", ClassRaft); !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "only the way back is blocked") {
		t.Errorf("dial: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for cluster.log.count("a firewall drops UDP on the way back") == 0 {
		select {
		case <-ctx.Done():
			t.Fatalf("the called node says nothing:\n%s", &cluster.log)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func TestQUICNobodyListens(t *testing.T) {
	cluster := newTestCluster(t)
	a := cluster.start(t, "a")
	udp, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	nobody := udp.LocalAddr().(*net.UDPAddr).AddrPort()
	udp.Close()
	if _, err := a.DialAddress(t.Context(), nobody, ClassRaft); !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "nothing listens") {
		t.Errorf("dial a closed port: %v", err)
	}
	if _, err := DialJoin(t.Context(), nobody, func([][]byte) error { return nil }); !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "nothing listens") {
		t.Errorf("call a closed port: %v", err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.DialAddress(cancelled, nobody, ClassRaft); !errors.Is(err, ErrUnreachable) || !errors.Is(err, context.Canceled) {
		t.Errorf("dial with a dead context: %v", err)
	}
}

// A node that was killed without a word and started again is found by its peers at their next frame or dial: it tells them
// with a reset, for which it needs the key of its earlier life. It is killed behind a relay, which moves to its successor.
func TestQUICRestart(t *testing.T) {
	cluster := newTestCluster(t)
	long := func(c *QUICConfig) { c.IdleTimeout = time.Hour } // so that nothing else can notice
	a, b := cluster.start(t, "a", long), cluster.start(t, "b", long)
	near, _ := join(t, a, b, ClassActivation)
	patient(t, near)
	address := b.Address()
	kill(t, b)
	again := cluster.start(t, "b", long, func(c *QUICConfig) { c.Listen = address.String() })
	if again.Address() != address {
		t.Fatalf("restarted at %v, was at %v", again.Address(), address)
	}
	if err := near.Send(numbered(1, 10)); err != nil {
		t.Fatal(err)
	}
	if err := near.Recv(new(Frame)); !errors.Is(err, ErrPeerGone) {
		t.Errorf("the old connection: %v", err)
	}
	near, far := join(t, a, again, ClassActivation)
	exchange(t, near, far)
}

// A dial in a session whose peer was restarted finds out and makes a new one.
func TestQUICRestartDial(t *testing.T) {
	cluster := newTestCluster(t)
	long := func(c *QUICConfig) { c.IdleTimeout = time.Hour }
	a, b := cluster.start(t, "a", long), cluster.start(t, "b", long)
	join(t, a, b, ClassControl)
	address := b.Address()
	kill(t, b)
	again := cluster.start(t, "b", long, func(c *QUICConfig) { c.Listen = address.String() })
	near, far := join(t, a, again, ClassControl)
	exchange(t, near, far)
}

// kill ends a node as SIGKILL would: nobody is told.
func kill(t *testing.T, q *QUIC) {
	t.Helper()
	if err := q.udp.Close(); err != nil {
		t.Fatal(err)
	}
	q.Close()
}

func TestQUICConfig(t *testing.T) {
	cluster := newTestCluster(t)
	good := QUICConfig{
		Listen: "127.0.0.1:0", Identity: newMember(t, cluster.authority, cluster.authority, "a"),
		Resolve: cluster.resolve, ResetKey: make([]byte, ResetKeyBytes),
	}
	for name, change := range map[string]func(*QUICConfig){
		"no identity": func(c *QUICConfig) { c.Identity = nil },
		"no book":     func(c *QUICConfig) { c.Resolve = nil },
		"short key":   func(c *QUICConfig) { c.ResetKey = c.ResetKey[:31] },
		"small":       func(c *QUICConfig) { c.PacketSize = packetFallback - 1 },
		"large":       func(c *QUICConfig) { c.PacketSize = packetEthernet + 1 },
		"address":     func(c *QUICConfig) { c.Listen = "nonsense" },
	} {
		config := good
		change(&config)
		if q, err := Listen(t.Context(), config); err == nil {
			q.Close()
			t.Errorf("%s: accepted", name)
		}
	}
	first, err := Listen(t.Context(), good)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	taken := good
	taken.Listen = first.Address().String()
	if q, err := Listen(t.Context(), taken); err == nil {
		q.Close()
		t.Error("two on one port")
	}
	everywhere := good
	everywhere.Listen = ":0"
	second, err := Listen(t.Context(), everywhere)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if address := second.Address(); address.Addr().IsUnspecified() || address.Port() == 0 {
		t.Errorf("a node that listens everywhere says it is at %v", address)
	}
	want := netip.MustParseAddrPort("192.0.2.1:7946")
	advertised := good
	advertised.Advertise = func() netip.AddrPort { return want }
	third, err := Listen(t.Context(), advertised)
	if err != nil {
		t.Fatal(err)
	}
	defer third.Close()
	if third.Address() != want {
		t.Errorf("advertises %v, want %v", third.Address(), want)
	}
	if !onEthernet(netip.MustParseAddr("127.0.0.1")) || onEthernet(netip.MustParseAddr("203.0.113.7")) {
		t.Error("loopback is no neighbour, or a stranger is one")
	}
}

func TestQUICNoAllocations(t *testing.T) {
	// quic-go allocates as it likes; what this package does around it must not.
	var a quicAlarm
	a.expire = func(time.Time) error { return os.ErrClosed }
	at := time.Now().Add(time.Hour)
	if n := testing.AllocsPerRun(100, func() { a.set(at) }); n != 0 {
		t.Errorf("%v allocations for each deadline", n)
	}
	a.stop()
	cluster := newTestCluster(t)
	left, right := cluster.start(t, "a"), cluster.start(t, "b")
	near, far := join(t, left, right, ClassActivation)
	out, in := numbered(1, 10_000), new(Frame)
	round := func() {
		if err := near.Send(out); err != nil {
			t.Fatal(err)
		}
		if err := far.Recv(in); err != nil {
			t.Fatal(err)
		}
	}
	for range 100 {
		round()
	}
	before := cap(near.(*quicConn).out) + cap(far.(*quicConn).in.Payload) + cap(in.Payload)
	for range 100 {
		round()
	}
	// quic-go takes two or three small objects a packet, of which this message has eight: 23 in all, with acknowledgements.
	if n := testing.AllocsPerRun(100, round); n > 40 {
		t.Errorf("%v allocations for each message", n)
	}
	if after := cap(near.(*quicConn).out) + cap(far.(*quicConn).in.Payload) + cap(in.Payload); after != before {
		t.Errorf("buffers grew from %d to %d bytes", before, after)
	}
}
