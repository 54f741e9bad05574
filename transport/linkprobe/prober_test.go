package linkprobe

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"polynode/transport"
)

// bench is some nodes of a network in memory that probe each other, in virtual time.
type bench struct {
	hub     *transport.Memory
	probers map[string]*Prober
	busy    map[string]*atomic.Bool
	stop    func()
}

func newBench(t *testing.T, names ...string) *bench {
	b := &bench{hub: transport.NewMemory(), probers: map[string]*Prober{}, busy: map[string]*atomic.Bool{}}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for _, name := range names {
		network, err := b.hub.Node(name)
		if err != nil {
			t.Fatal(err)
		}
		b.busy[name] = new(atomic.Bool)
		b.probers[name] = New(Config{
			Node: name, Network: network, Busy: b.busy[name].Load,
			Peers: func() []string {
				return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == name })
			},
		})
	}
	for p := range maps.Values(b.probers) {
		running.Go(func() { p.Run(ctx) })
	}
	b.stop = func() {
		cancel()
		running.Wait()
	}
	return b
}

func TestLinksAreMeasured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "a", "b", "c")
		defer b.stop()
		b.hub.Delay("a", "b", 3*time.Millisecond)
		b.hub.Delay("b", "a", time.Millisecond)
		time.Sleep(3 * time.Second)
		for _, way := range [][2]string{{"a", "b"}, {"b", "a"}} {
			if got := b.probers[way[0]].Links()[way[1]].RoundTrip; got != 4*time.Millisecond {
				t.Errorf("%v: %v, want 4ms", way, got)
			}
		}
		if got, known := b.probers["c"].Links()["a"]; !known || got.RoundTrip != 0 {
			t.Errorf("c to a: %v, %v", got, known)
		}
		rated := 0
		for name, p := range b.probers {
			for peer, link := range p.Links() {
				if link.BytesPerSecond > 0 {
					rated++
					if name > peer {
						t.Errorf("%s measured the bandwidth to %s, which is the turn of %s", name, peer, peer)
					}
				}
			}
		}
		if rated != 3 {
			t.Errorf("bandwidth of %d links, want 3", rated)
		}
		// A window of 256 KiB is under way at a time, and 3 ms long on the way.
		if got := b.probers["a"].Links()["b"].BytesPerSecond; got < 50e6 || got > 200e6 {
			t.Errorf("%d bytes a second, want about %d", got, transport.Window*1000/3)
		}
	})
}

// A link that gets slower is seen within half a minute, and one slow round alone is not.
func TestLinksAreFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "a", "b")
		defer b.stop()
		time.Sleep(time.Minute)
		b.hub.Delay("a", "b", time.Second)
		time.Sleep(roundPause + time.Second) // one round or two
		b.hub.Delay("a", "b", 0)
		time.Sleep(10 * time.Second)
		if got := b.probers["a"].Links()["b"].RoundTrip; got != 0 {
			t.Errorf("%v after one slow round", got)
		}
		b.hub.Delay("a", "b", 20*time.Millisecond)
		time.Sleep(30 * time.Second)
		if got := b.probers["a"].Links()["b"].RoundTrip; got != 20*time.Millisecond {
			t.Errorf("%v, want 20ms", got)
		}
	})
}

// No bandwidth is measured while either node works, and it is once both are idle.
func TestBusyNodesAreLeftAlone(t *testing.T) {
	for _, who := range []string{"a", "b"} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, "a", "b")
			defer b.stop()
			b.busy[who].Store(true)
			time.Sleep(5 * time.Minute)
			link, known := b.probers["a"].Links()["b"]
			if !known || link.BytesPerSecond != 0 {
				t.Errorf("%s is busy: %+v, %v", who, link, known)
			}
			b.busy[who].Store(false)
			time.Sleep(2 * roundPause)
			if b.probers["a"].Links()["b"].BytesPerSecond == 0 {
				t.Errorf("%s was busy: no bandwidth", who)
			}
		})
	}
}

// A peer whose link is cut keeps its last measures, and is measured again when the link is there again.
func TestCutsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "a", "b")
		defer b.stop()
		time.Sleep(3 * time.Second)
		b.hub.Cut("a", "b")
		time.Sleep(2 * time.Minute)
		if _, known := b.probers["a"].Links()["b"]; !known {
			t.Error("the link is forgotten")
		}
		b.hub.Delay("a", "b", 5*time.Millisecond)
		b.hub.Heal("a", "b")
		time.Sleep(time.Minute)
		if got := b.probers["a"].Links()["b"].RoundTrip; got != 5*time.Millisecond {
			t.Errorf("%v, want 5ms", got)
		}
	})
}

// Bytes that nobody allowed, too many of them, and strange frames end the connection, and the node goes on.
func TestNonsenseEndsTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "a", "b")
		defer b.stop()
		stranger, err := b.hub.Node("s")
		if err != nil {
			t.Fatal(err)
		}
		defer stranger.Close()
		header := transport.Header{Kind: transport.KindProbe}
		for name, frames := range map[string][]transport.Frame{
			"bytes without asking": {{Header: transport.Header{Kind: transport.KindProbe, Index: indexPiece}, Payload: make([]byte, 100)}},
			"unknown question":     {{Header: transport.Header{Kind: transport.KindProbe, Index: 99}}},
			"another kind":         {{Header: transport.Header{Kind: transport.KindSums}}},
			"a long ping":          {{Header: header, Payload: make([]byte, pieceBytes+1)}},
			"too many bytes":       flood(),
		} {
			conn, err := stranger.Dial(t.Context(), "b", transport.ClassProbe)
			if err != nil {
				t.Fatal(err)
			}
			for i := range frames {
				if err := conn.Send(&frames[i]); err != nil {
					break
				}
			}
			var answer transport.Frame
			for err == nil {
				err = conn.Recv(&answer)
			}
			if conn.Close(); answer.Step > 1 {
				t.Errorf("%s: an answer to step %d", name, answer.Step)
			}
		}
		time.Sleep(time.Minute)
		if b.probers["a"].Links()["b"].BytesPerSecond == 0 {
			t.Error("nobody can measure the bandwidth to b any more")
		}
	})
}

func flood() []transport.Frame {
	frames := []transport.Frame{{Header: transport.Header{Kind: transport.KindProbe, Index: indexBegin}}}
	for range BulkBytes/pieceBytes + 2 {
		frames = append(frames, transport.Frame{Header: transport.Header{Kind: transport.KindProbe, Index: indexPiece}, Payload: make([]byte, pieceBytes)})
	}
	return frames
}
