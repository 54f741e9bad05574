package transport

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
	"time"
)

// door is what both kinds of network offer.
type door interface {
	Network
	Datagrams
	Hurrier
}

// onBoth runs a test on nodes a and b of each kind of network.
func onBoth(t *testing.T, test func(t *testing.T, a, b door)) {
	t.Run("memory", func(t *testing.T) {
		_, a, b := addPacketNodes(t)
		test(t, a, b)
	})
	t.Run("quic", func(t *testing.T) {
		cluster := newTestCluster(t)
		test(t, cluster.start(t, "a"), cluster.start(t, "b"))
	})
	t.Run("quic in a hurry", func(t *testing.T) {
		cluster := newTestCluster(t)
		a, b := cluster.start(t, "a"), cluster.start(t, "b")
		a.Hurry()
		defer a.Relax()
		b.Hurry()
		defer b.Relax()
		test(t, a, b)
	})
}

// join connects two nodes.
func join(t testing.TB, a, b door, class Class) (dialled, accepted Conn) {
	t.Helper()
	dialled, err := a.Dial(t.Context(), "b", class)
	if err != nil {
		t.Fatal(err)
	}
	accepted, err = b.Accept(t.Context(), class)
	if err != nil {
		t.Fatal(err)
	}
	if dialled.Peer() != "b" || accepted.Peer() != "a" {
		t.Fatalf("peers are %q and %q", dialled.Peer(), accepted.Peer())
	}
	return dialled, accepted
}

// patient fails a test that would hang.
func patient(t *testing.T, conns ...Conn) {
	t.Helper()
	for _, conn := range conns {
		if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestConformOrderAndContent(t *testing.T) {
	onBoth(t, func(t *testing.T, a, b door) {
		near, far := join(t, a, b, ClassActivation)
		patient(t, near, far)
		sizes := []int{0, 1, 39, 40, 41, 1400, 10_000, 20_000, 130_000, 200_000}
		const frames = 500
		var wg sync.WaitGroup
		for _, ends := range [][2]Conn{{near, far}, {far, near}} {
			wg.Go(func() {
				for i := range uint64(frames) {
					frame := numbered(i, sizes[i%uint64(len(sizes))])
					if err := ends[0].Send(frame); err != nil {
						t.Errorf("send %d: %v", i, err)
						return
					}
					clear(frame.Payload) // it is ours again
				}
			})
			wg.Go(func() {
				var frame Frame
				for i := range uint64(frames) {
					if err := ends[1].Recv(&frame); err != nil {
						t.Errorf("receive %d: %v", i, err)
						return
					}
					if want := numbered(i, sizes[i%uint64(len(sizes))]); frame.Header != want.Header || !bytes.Equal(frame.Payload, want.Payload) {
						t.Errorf("frame %d is %+v with %d bytes", i, frame.Header, len(frame.Payload))
						return
					}
				}
			})
		}
		wg.Wait()
	})
}

func TestConformLargeFrame(t *testing.T) {
	onBoth(t, func(t *testing.T, a, b door) {
		near, far := join(t, a, b, ClassWeights)
		patient(t, near, far)
		sent := numbered(1, 5<<20)
		done := make(chan error, 1)
		go func() { done <- near.Send(sent) }()
		var got Frame
		if err := far.Recv(&got); err != nil || got.Header != sent.Header || !bytes.Equal(got.Payload, sent.Payload) {
			t.Errorf("%d bytes, %v", len(got.Payload), err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := near.Send(&Frame{Payload: make([]byte, PayloadMax+1)}); !errors.Is(err, ErrTooLarge) {
			t.Errorf("a payload over the limit: %v", err)
		}
		if err := near.Send(numbered(2, 3)); err != nil {
			t.Errorf("after a payload over the limit: %v", err)
		}
	})
}

// Two peers that send up to Window before they receive cannot block, again and again, whatever was received before.
func TestConformWindow(t *testing.T) {
	onBoth(t, func(t *testing.T, a, b door) {
		near, far := join(t, a, b, ClassActivation)
		patient(t, near, far)
		var frame Frame
		for round := range uint64(8) {
			first := int(round) * 30_000 // so that windows begin anywhere
			for _, conn := range []Conn{near, far} {
				for _, size := range []int{first, Window - first - 2*HeaderBytes} {
					if err := conn.Send(numbered(round, size)); err != nil {
						t.Fatalf("round %d: %v", round, err)
					}
				}
			}
			for _, conn := range []Conn{far, near} {
				for range 2 {
					if err := conn.Recv(&frame); err != nil || frame.Step != round {
						t.Fatalf("round %d: %v", round, err)
					}
				}
			}
		}
		// A sender waits when the receiver is more than that behind, and goes on when it has caught up.
		done := make(chan error, 1)
		go func() { done <- near.Send(numbered(9, 4*Window)) }()
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		select {
		case err := <-done:
			t.Errorf("a send far beyond the window returned: %v", err)
		case <-ctx.Done():
		}
		if err := far.Recv(&frame); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// A connection whose receiver does not receive holds up no other.
func TestConformIndependent(t *testing.T) {
	onBoth(t, func(t *testing.T, a, b door) {
		stuck, _ := join(t, a, b, ClassActivation)
		done := make(chan error, 1)
		go func() { done <- stuck.Send(numbered(1, 4*Window)) }()
		for _, class := range []Class{ClassActivation, ClassControl, ClassWeights} {
			near, far := join(t, a, b, class)
			patient(t, near, far)
			var frame Frame
			for i := range uint64(20) {
				if err := near.Send(numbered(i, 50_000)); err != nil {
					t.Fatal(err)
				}
				if err := far.Recv(&frame); err != nil || frame.Step != i {
					t.Fatalf("%v: %v", class, err)
				}
			}
		}
		stuck.Close()
		if err := <-done; !errors.Is(err, ErrClosed) {
			t.Errorf("the one that was stuck: %v", err)
		}
	})
}

func TestConformClose(t *testing.T) {
	onBoth(t, func(t *testing.T, a, b door) {
		near, far := join(t, a, b, ClassControl)
		patient(t, near, far)
		for i := range uint64(3) {
			if err := near.Send(numbered(i, 50_000)); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			if err := near.Close(); err != nil {
				t.Fatal(err)
			}
		}
		var frame Frame
		for i := range uint64(3) {
			if err := far.Recv(&frame); err != nil || frame.Step != i {
				t.Errorf("what was sent before: step %d, %v", frame.Step, err)
			}
		}
		for range 2 {
			if err := far.Recv(&frame); !errors.Is(err, ErrPeerGone) {
				t.Errorf("then: %v", err)
			}
		}
		if err := far.Send(numbered(1, 4*Window)); !errors.Is(err, ErrPeerGone) {
			t.Errorf("send to a closed end: %v", err)
		}
		if err := near.Send(&frame); !errors.Is(err, ErrClosed) {
			t.Errorf("send at the closed end: %v", err)
		}
		if err := near.Recv(&frame); !errors.Is(err, ErrClosed) {
			t.Errorf("receive at the closed end: %v", err)
		}
		if err := near.SetDeadline(time.Time{}); !errors.Is(err, ErrClosed) {
			t.Errorf("deadline at the closed end: %v", err)
		}
		far.Close()
	})
}

// Whatever waits in a connection is woken by each way of ending it.
func TestConformWaitersWake(t *testing.T) {
	for _, end := range []struct {
		name string
		end  func(network door, a, b Conn)
		want error
	}{
		{"own close", func(_ door, a, _ Conn) { a.Close() }, ErrClosed},
		{"peer's close", func(_ door, _, b Conn) { b.Close() }, ErrPeerGone},
		{"own node's close", func(n door, _, _ Conn) { n.Close() }, ErrClosed},
		{"deadline", func(_ door, a, _ Conn) { a.SetDeadline(time.Now().Add(20 * time.Millisecond)) }, ErrDeadline},
		{"past deadline", func(_ door, a, _ Conn) { a.SetDeadline(time.Now().Add(-time.Second)) }, ErrDeadline},
	} {
		t.Run(end.name, func(t *testing.T) {
			onBoth(t, func(t *testing.T, network, peer door) {
				a, b := join(t, network, peer, ClassActivation)
				errs := make(chan error, 2)
				go func() { errs <- a.Recv(new(Frame)) }()
				go func() { errs <- a.Send(numbered(1, 4*Window)) }()
				// Whether they wait already makes no difference to what they have to return.
				end.end(network, a, b)
				for range 2 {
					if err := <-errs; !errors.Is(err, end.want) {
						t.Errorf("got %v, want %v", err, end.want)
					}
				}
			})
		})
	}
}

func TestConformNodeClose(t *testing.T) {
	onBoth(t, func(t *testing.T, a, b door) {
		near, far := join(t, a, b, ClassActivation)
		patient(t, near, far)
		waiting := make(chan error, 2)
		go func() {
			_, err := b.Accept(context.WithoutCancel(t.Context()), ClassControl)
			waiting <- err
		}()
		go func() {
			_, _, err := b.ReadPacket(context.WithoutCancel(t.Context()), nil)
			waiting <- err
		}()
		for range 2 {
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			if err := <-waiting; !errors.Is(err, ErrClosed) {
				t.Errorf("waiting at the closed node: %v", err)
			}
		}
		if err := near.Recv(new(Frame)); !errors.Is(err, ErrPeerGone) {
			t.Errorf("at the peer: %v", err)
		}
		if err := far.Recv(new(Frame)); !errors.Is(err, ErrClosed) {
			t.Errorf("at the closed node: %v", err)
		}
		if err := far.Send(new(Frame)); !errors.Is(err, ErrClosed) {
			t.Errorf("send at the closed node: %v", err)
		}
		if _, err := b.Dial(t.Context(), "a", ClassRaft); !errors.Is(err, ErrClosed) {
			t.Errorf("dial from a closed node: %v", err)
		}
		if _, err := b.Accept(t.Context(), ClassActivation); !errors.Is(err, ErrClosed) {
			t.Errorf("accept at a closed node: %v", err)
		}
		if err := b.WritePacket(a.Address(), nil); !errors.Is(err, ErrClosed) {
			t.Errorf("write packet at a closed node: %v", err)
		}
		if _, err := a.Dial(t.Context(), "b", ClassRaft); !errors.Is(err, ErrUnreachable) {
			t.Errorf("dial a closed node: %v", err)
		}
		if _, err := a.Dial(t.Context(), "nobody", ClassRaft); !errors.Is(err, ErrUnreachable) {
			t.Errorf("dial a stranger: %v", err)
		}
	})
}

func TestConformClasses(t *testing.T) {
	onBoth(t, func(t *testing.T, a, b door) {
		for class := ClassRaft; class < classEnd; class++ {
			if _, err := a.Dial(t.Context(), "b", class); err != nil {
				t.Errorf("dial %v: %v", class, err)
			}
		}
		for class := classEnd - 1; class > 0; class-- {
			if conn, err := b.Accept(t.Context(), class); err != nil || conn.Peer() != "a" {
				t.Errorf("accept %v: %v", class, err)
			}
		}
		for _, class := range []Class{0, classEnd, 255} {
			if _, err := a.Dial(t.Context(), "b", class); !errors.Is(err, ErrClass) {
				t.Errorf("dial %v: %v", class, err)
			}
			if _, err := a.DialAddress(t.Context(), b.Address(), class); !errors.Is(err, ErrClass) {
				t.Errorf("dial %v: %v", class, err)
			}
			if _, err := a.Accept(t.Context(), class); !errors.Is(err, ErrClass) {
				t.Errorf("accept %v: %v", class, err)
			}
		}
		cancelled, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := a.Accept(cancelled, ClassRaft); !errors.Is(err, context.Canceled) {
			t.Errorf("accept with a dead context: %v", err)
		}
		// A node can call itself.
		if _, err := a.Dial(t.Context(), "a", ClassRaft); err != nil {
			t.Errorf("dial oneself: %v", err)
		} else if conn, err := a.Accept(t.Context(), ClassRaft); err != nil || conn.Peer() != "a" {
			t.Errorf("accept oneself: %v", err)
		}
	})
}

func TestConformBacklog(t *testing.T) {
	onBoth(t, func(t *testing.T, a, b door) {
		for range BacklogMax {
			if _, err := a.Dial(t.Context(), "b", ClassRaft); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if _, err := a.Dial(ctx, "b", ClassRaft); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("dial into a full backlog: %v", err)
		}
		if _, err := a.Dial(t.Context(), "b", ClassControl); err != nil {
			t.Errorf("another class: %v", err)
		}
		if _, err := b.Accept(t.Context(), ClassRaft); err != nil {
			t.Error(err)
		}
		if _, err := a.Dial(t.Context(), "b", ClassRaft); err != nil {
			t.Errorf("dial when there is room again: %v", err)
		}
	})
}

func TestConformPackets(t *testing.T) {
	onBoth(t, func(t *testing.T, a, b door) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		buf := make([]byte, PacketMax)
		for _, data := range [][]byte{[]byte("x"), nil, {0xff, 0xf4}, bytes.Repeat([]byte{0xc0}, PacketMax)} {
			if err := a.WritePacket(b.Address(), data); err != nil {
				t.Fatal(err)
			}
			n, from, err := b.ReadPacket(ctx, buf)
			if err != nil || !bytes.Equal(buf[:n], data) || from != a.Address() {
				t.Errorf("%d bytes from %v, want %d from %v: %v", n, from, len(data), a.Address(), err)
			}
		}
		if err := a.WritePacket(b.Address(), make([]byte, PacketMax+1)); !errors.Is(err, ErrTooLarge) {
			t.Errorf("too long: %v", err)
		}
		conn, err := a.DialAddress(ctx, b.Address(), ClassGossip)
		if err != nil || conn.Peer() != "b" {
			t.Fatalf("dial an address: %v", err)
		}
		if conn, err = b.Accept(ctx, ClassGossip); err != nil || conn.Peer() != "a" {
			t.Errorf("accept: %v", err)
		}
		cancel()
		if _, _, err := b.ReadPacket(ctx, buf); !errors.Is(err, context.Canceled) {
			t.Errorf("read with a dead context: %v", err)
		}
	})
}

// A receive that failed at its deadline can go on, even within a frame.
func TestConformDeadlineThenMore(t *testing.T) {
	onBoth(t, func(t *testing.T, a, b door) {
		near, far := join(t, a, b, ClassActivation)
		sent := numbered(1, 4*Window)
		done := make(chan error, 1)
		if err := far.SetReadDeadline(time.Now().Add(-time.Second)); err != nil {
			t.Fatal(err)
		}
		if err := far.Recv(new(Frame)); !errors.Is(err, ErrDeadline) {
			t.Fatalf("past deadline: %v", err)
		}
		go func() { done <- near.Send(sent) }()
		var frame Frame
		for {
			if err := far.SetReadDeadline(time.Now().Add(100 * time.Microsecond)); err != nil {
				t.Fatal(err)
			}
			err := far.Recv(&frame)
			if err == nil {
				break
			}
			if !errors.Is(err, ErrDeadline) {
				t.Fatal(err)
			}
		}
		if frame.Header != sent.Header || !bytes.Equal(frame.Payload, sent.Payload) {
			t.Errorf("%d bytes", len(frame.Payload))
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
