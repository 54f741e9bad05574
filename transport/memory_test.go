package transport

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// connected makes a hub with nodes a and b and a connection from a to b.
func connected(t *testing.T) (hub *Memory, a, b Network, dialled, accepted Conn) {
	t.Helper()
	hub = NewMemory()
	a, b = addNode(t, hub, "a"), addNode(t, hub, "b")
	dialled, err := a.Dial(t.Context(), "b", ClassActivation)
	if err != nil {
		t.Fatal(err)
	}
	accepted, err = b.Accept(t.Context(), ClassActivation)
	if err != nil {
		t.Fatal(err)
	}
	return hub, a, b, dialled, accepted
}

func addNode(t *testing.T, hub *Memory, name string) Network {
	t.Helper()
	network, err := hub.Node(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { network.Close() })
	return network
}

func numbered(step uint64, size int) *Frame {
	return &Frame{Header: Header{Kind: KindGather, Step: step}, Payload: bytes.Repeat([]byte{byte(step)}, size)}
}

func TestMemoryOrderAndContent(t *testing.T) {
	_, _, _, a, b := connected(t)
	if a.Peer() != "b" || b.Peer() != "a" {
		t.Errorf("peers %q and %q", a.Peer(), b.Peer())
	}
	const frames = 2000
	var wg sync.WaitGroup
	for _, ends := range [][2]Conn{{a, b}, {b, a}} {
		wg.Go(func() {
			for i := range uint64(frames) {
				frame := numbered(i, int(i*7%3000))
				if err := ends[0].Send(frame); err != nil {
					t.Errorf("send %d: %v", i, err)
				}
				clear(frame.Payload) // it is ours again
			}
		})
		wg.Go(func() {
			var frame Frame
			for i := range uint64(frames) {
				if err := ends[1].Recv(&frame); err != nil {
					t.Errorf("receive %d: %v", i, err)
				}
				if want := numbered(i, int(i*7%3000)); frame.Header != want.Header || !bytes.Equal(frame.Payload, want.Payload) {
					t.Errorf("frame %d is %+v", i, frame.Header)
				}
			}
		})
	}
	wg.Wait()
}

func TestMemoryNoAllocations(t *testing.T) {
	_, _, _, a, b := connected(t)
	out, in := numbered(1, 10_000), new(Frame)
	exchange := func() {
		if err := a.Send(out); err != nil {
			t.Fatal(err)
		}
		if err := b.Recv(in); err != nil {
			t.Fatal(err)
		}
		if err := b.SetDeadline(time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	for range 10 {
		exchange()
	}
	if n := testing.AllocsPerRun(100, exchange); n != 0 {
		t.Errorf("%v allocations per frame", n)
	}
}

// Send returns while no more than Window bytes are under way and waits beyond.
func TestMemoryWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, _, a, b := connected(t)
		half := numbered(1, Window/2-HeaderBytes)
		for range 2 {
			if err := a.Send(half); err != nil {
				t.Fatal(err)
			}
		}
		done := make(chan error, 1)
		go func() { done <- a.Send(numbered(2, 0)) }()
		synctest.Wait()
		select {
		case err := <-done:
			t.Fatalf("send beyond the window returned %v", err)
		default:
		}
		var frame Frame
		if err := b.Recv(&frame); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Errorf("send after room was made: %v", err)
		}
		if err := a.Send(&Frame{Payload: make([]byte, PayloadMax+1)}); !errors.Is(err, ErrTooLarge) {
			t.Errorf("large payload: %v", err)
		}
	})
}

func TestMemoryClose(t *testing.T) {
	_, _, _, a, b := connected(t)
	if err := a.Send(numbered(1, 3)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
	}
	var frame Frame
	if err := b.Recv(&frame); err != nil || frame.Step != 1 {
		t.Errorf("what was sent before: step %d, %v", frame.Step, err)
	}
	if err := b.Recv(&frame); !errors.Is(err, ErrPeerGone) {
		t.Errorf("then: %v", err)
	}
	if err := b.Send(&frame); !errors.Is(err, ErrPeerGone) {
		t.Errorf("send to a closed end: %v", err)
	}
	if err := a.Send(&frame); !errors.Is(err, ErrClosed) {
		t.Errorf("send at the closed end: %v", err)
	}
	if err := a.Recv(&frame); !errors.Is(err, ErrClosed) {
		t.Errorf("receive at the closed end: %v", err)
	}
	b.Close()
}

// Whatever waits in a connection is woken by each way of ending it.
func TestMemoryWaitersWake(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(hub *Memory, network Network, a, b Conn)
		want error
	}{
		{"own close", func(_ *Memory, _ Network, a, _ Conn) { a.Close() }, ErrClosed},
		{"peer's close", func(_ *Memory, _ Network, _, b Conn) { b.Close() }, ErrPeerGone},
		{"own node's close", func(_ *Memory, n Network, _, _ Conn) { n.Close() }, ErrClosed},
		{"break", func(hub *Memory, _ Network, _, _ Conn) { hub.Break("b", "a") }, ErrPeerGone},
		{"deadline", func(_ *Memory, _ Network, a, _ Conn) { a.SetDeadline(time.Now().Add(time.Second)) }, ErrDeadline},
		{"past deadline", func(_ *Memory, _ Network, a, _ Conn) { a.SetDeadline(time.Now().Add(-time.Second)) }, ErrDeadline},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hub, network, _, a, b := connected(t)
				errs := make(chan error, 2)
				go func() { errs <- a.Recv(new(Frame)) }()
				go func() { errs <- a.Send(numbered(1, 2*Window)) }()
				synctest.Wait()
				test.end(hub, network, a, b)
				for range 2 {
					if err := <-errs; !errors.Is(err, test.want) {
						t.Errorf("got %v, want %v", err, test.want)
					}
				}
			})
		})
	}
}

func TestMemoryDeadlineMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, _, a, _ := connected(t)
		start := time.Now()
		a.SetDeadline(start.Add(time.Second))
		a.SetDeadline(start.Add(time.Minute))
		if err := a.Recv(new(Frame)); !errors.Is(err, ErrDeadline) || time.Since(start) != time.Minute {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		a.SetDeadline(time.Time{})
		done := make(chan error, 1)
		go func() { done <- a.Recv(new(Frame)) }()
		time.Sleep(time.Hour)
		synctest.Wait()
		select {
		case err := <-done:
			t.Errorf("without a deadline: %v", err)
		default:
		}
		a.Close()
		<-done
	})
}

func TestMemoryDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub, _, _, a, b := connected(t)
		hub.Delay("a", "b", 30*time.Millisecond)
		start := time.Now()
		for i := range uint64(3) {
			if err := a.Send(numbered(i, 10)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond)
		}
		var frame Frame
		for i := range uint64(3) {
			err := b.Recv(&frame)
			want := 30*time.Millisecond + time.Duration(i)*10*time.Millisecond
			if err != nil || frame.Step != i || time.Since(start) != want {
				t.Errorf("frame %d after %v, want %v: %v", frame.Step, time.Since(start), want, err)
			}
		}
		if err := b.Send(numbered(9, 1)); err != nil {
			t.Fatal(err)
		}
		before := time.Now()
		if err := a.Recv(&frame); err != nil || time.Since(before) != 0 {
			t.Errorf("the other way took %v, %v", time.Since(before), err)
		}
	})
}

func TestMemoryCutAndHeal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub, network, _, a, b := connected(t)
		hub.Cut("a", "b")
		if err := a.Send(numbered(1, 1)); err != nil {
			t.Fatal(err)
		}
		b.SetDeadline(time.Now().Add(time.Second))
		if err := b.Recv(new(Frame)); !errors.Is(err, ErrDeadline) {
			t.Errorf("through a cut: %v", err)
		}
		if err := b.Send(numbered(2, 1)); err != nil {
			t.Errorf("the other way: %v", err)
		}
		var frame Frame
		if err := a.Recv(&frame); err != nil || frame.Step != 2 {
			t.Errorf("the other way: step %d, %v", frame.Step, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := network.Dial(ctx, "b", ClassControl); !errors.Is(err, ErrUnreachable) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("dial through a cut: %v", err)
		}
		a.Close()
		b.SetDeadline(time.Time{})
		go func() {
			time.Sleep(time.Minute)
			hub.Heal("a", "b")
		}()
		start := time.Now()
		if err := b.Recv(&frame); err != nil || frame.Step != 1 || time.Since(start) != time.Minute {
			t.Errorf("after healing: step %d, %v after %v", frame.Step, err, time.Since(start))
		}
		if err := b.Recv(&frame); !errors.Is(err, ErrPeerGone) {
			t.Errorf("after healing: %v", err)
		}
		if _, err := network.Dial(t.Context(), "b", ClassControl); err != nil {
			t.Errorf("dial after healing: %v", err)
		}
	})
}

func TestMemoryClassesAndNodes(t *testing.T) {
	hub := NewMemory()
	a, b := addNode(t, hub, "a"), addNode(t, hub, "b")
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
		if _, err := a.Accept(t.Context(), class); !errors.Is(err, ErrClass) {
			t.Errorf("accept %v: %v", class, err)
		}
	}
	if _, err := a.Dial(t.Context(), "c", ClassRaft); !errors.Is(err, ErrUnreachable) {
		t.Errorf("dial a stranger: %v", err)
	}
	if _, err := hub.Node("a"); err == nil {
		t.Error("a second node a")
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.Accept(cancelled, ClassRaft); !errors.Is(err, context.Canceled) {
		t.Errorf("accept with a dead context: %v", err)
	}
}

func TestMemoryNodeRestart(t *testing.T) {
	hub, a, b, conn, _ := connected(t)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := conn.Recv(new(Frame)); !errors.Is(err, ErrPeerGone) {
		t.Errorf("connection to a dead node: %v", err)
	}
	if _, err := a.Dial(t.Context(), "b", ClassRaft); !errors.Is(err, ErrUnreachable) {
		t.Errorf("dial a dead node: %v", err)
	}
	if _, err := b.Dial(t.Context(), "a", ClassRaft); !errors.Is(err, ErrClosed) {
		t.Errorf("dial from a dead node: %v", err)
	}
	if _, err := b.Accept(t.Context(), ClassRaft); !errors.Is(err, ErrClosed) {
		t.Errorf("accept at a dead node: %v", err)
	}
	again := addNode(t, hub, "b")
	if _, err := a.Dial(t.Context(), "b", ClassRaft); err != nil {
		t.Errorf("dial after the restart: %v", err)
	}
	if _, err := again.Accept(t.Context(), ClassRaft); err != nil {
		t.Errorf("accept after the restart: %v", err)
	}
}

func TestMemoryBacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := NewMemory()
		a, b := addNode(t, hub, "a"), addNode(t, hub, "b")
		for range BacklogMax {
			if _, err := a.Dial(t.Context(), "b", ClassRaft); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := a.Dial(ctx, "b", ClassRaft); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("dial into a full backlog: %v", err)
		}
		done := make(chan error, 1)
		go func() {
			_, err := a.Dial(t.Context(), "b", ClassRaft)
			done <- err
		}()
		synctest.Wait()
		b.Close()
		if err := <-done; !errors.Is(err, ErrUnreachable) {
			t.Errorf("dial into a full backlog of a node that closes: %v", err)
		}
	})
}

// Connections that are over are forgotten by the hub, however they ended.
func TestMemoryForgets(t *testing.T) {
	hub, a, b, dialled, accepted := connected(t)
	dialled.Close()
	accepted.Close()
	for i := range 3 {
		if _, err := a.Dial(t.Context(), "b", ClassRaft); err != nil {
			t.Fatal(err, i)
		}
	}
	hub.Break("a", "b")
	a.Dial(t.Context(), "b", ClassControl)
	a.Close()
	b.Close()
	if len(hub.pairs) != 0 {
		t.Errorf("%d connections left", len(hub.pairs))
	}
}

func BenchmarkMemoryExchange(b *testing.B) {
	for _, size := range []int{64, 10_000, 100_000} {
		b.Run(fmt.Sprintf("bytes=%d", size), func(b *testing.B) {
			hub := NewMemory()
			nodeA, _ := hub.Node("a")
			nodeB, _ := hub.Node("b")
			defer nodeA.Close()
			defer nodeB.Close()
			near, err := nodeA.Dial(b.Context(), "b", ClassActivation)
			if err != nil {
				b.Fatal(err)
			}
			far, err := nodeB.Accept(b.Context(), ClassActivation)
			if err != nil {
				b.Fatal(err)
			}
			var wg sync.WaitGroup
			wg.Go(func() {
				var frame Frame
				for far.Recv(&frame) == nil && far.Send(&frame) == nil {
				}
			})
			out, in := numbered(1, size), new(Frame)
			binary.LittleEndian.PutUint64(out.Payload, 1)
			b.ReportAllocs()
			for b.Loop() {
				if err := near.Send(out); err != nil {
					b.Fatal(err)
				}
				if err := near.Recv(in); err != nil {
					b.Fatal(err)
				}
			}
			near.Close()
			wg.Wait()
		})
	}
}
