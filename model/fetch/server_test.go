package fetch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"polynode/kernels"
	"polynode/model/store"
	"polynode/transport"
)

// digestOf reads a digest.
func digestOf(t testing.TB, text string) store.Hash {
	t.Helper()
	var h store.Hash
	if err := h.UnmarshalText([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return h
}

// frameOf is a request as a frame.
func frameOf(w want) transport.Frame {
	return transport.Frame{Header: transport.Header{Kind: transport.KindWant, Step: 1}, Payload: w.append(nil)}
}

func TestServerLimitsConnectionsOfAPeer(t *testing.T) {
	from, digest := packed(t, small(), kernels.Q8)
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.stop()
		c.serve("a", from, nil)
		me := c.node("me")
		ask := func() (transport.Conn, transport.Frame) {
			conn, err := me.Dial(t.Context(), "a", transport.ClassWeights)
			if err != nil {
				t.Fatal(err)
			}
			f := frameOf(want{operation: getPresent, digest: digestOf(t, digest)})
			_ = conn.Send(&f) // the server may have refused already
			var in transport.Frame
			if err := conn.Recv(&in); err != nil {
				t.Fatal(err)
			}
			return conn, in
		}
		var conns []transport.Conn
		for range streamsMax {
			conn, in := ask()
			if in.Kind != transport.KindPart {
				t.Fatalf("answer of kind %d: %s", in.Kind, in.Payload)
			}
			conns = append(conns, conn)
		}
		if _, in := ask(); in.Kind != transport.KindFailed || !strings.Contains(string(in.Payload), "4 connections") {
			t.Errorf("one more: kind %d, %s", in.Kind, in.Payload)
		}
		conns[0].Close()
		synctest.Wait()
		if _, in := ask(); in.Kind != transport.KindPart {
			t.Errorf("after one was closed: %s", in.Payload)
		}
	})
}

// Requests that ask for too much, for what does not exist or in no sensible order end the connection with a reason.
func TestServerRefusesBadRequests(t *testing.T) {
	from, digest := packed(t, small(), kernels.Q8)
	hash := digestOf(t, digest)
	many := make([]span, spansMax+1)
	for i := range many {
		many[i] = span{2 * i, 2*i + 1}
	}
	for name, w := range map[string]want{
		"operation":    {operation: 99, digest: hash},
		"no units":     {operation: getUnits, digest: hash},
		"empty span":   {operation: getUnits, digest: hash, spans: []span{{3, 3}}},
		"backwards":    {operation: getUnits, digest: hash, spans: []span{{5, 6}, {4, 5}}},
		"twice":        {operation: getUnits, digest: hash, spans: []span{{4, 6}, {5, 7}}},
		"beyond":       {operation: getUnits, digest: hash, spans: []span{{0, 1}, {1, 1 << 31}}},
		"spans":        {operation: getUnits, digest: hash, spans: many},
		"superfluous":  {operation: getHashes, digest: hash, spans: []span{{0, 1}}},
		"other digest": {operation: getManifest, digest: store.Hash{1}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t)
				defer c.stop()
				c.serve("a", from, nil)
				conn, err := c.node("me").Dial(t.Context(), "a", transport.ClassWeights)
				if err != nil {
					t.Fatal(err)
				}
				f := frameOf(w)
				if err := conn.Send(&f); err != nil {
					t.Fatal(err)
				}
				if err := conn.Recv(&f); err != nil || f.Kind != transport.KindFailed || f.Step != 1 || len(f.Payload) == 0 {
					t.Fatalf("answer of kind %d, %v", f.Kind, err)
				}
				if name == "other digest" {
					return // an honest question
				}
				if err := conn.Recv(&f); !errors.Is(err, transport.ErrPeerGone) {
					t.Errorf("the connection goes on: %v", err)
				}
			})
		})
	}
}

func TestServerEndsIdleConnections(t *testing.T) {
	from, _ := packed(t, small(), kernels.Q8)
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.stop()
		c.serve("a", from, nil)
		conn, err := c.node("me").Dial(t.Context(), "a", transport.ClassWeights)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		var f transport.Frame
		if err := conn.Recv(&f); !errors.Is(err, transport.ErrPeerGone) || time.Since(start) != idleMax {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}

func FuzzWant(f *testing.F) {
	f.Add((&want{operation: getManifest, digest: store.Hash{1}}).append(nil), uint8(transport.KindWant), uint16(0))
	f.Add((&want{operation: getUnits, spans: []span{{0, 3}, {7, 8}}}).append(nil), uint8(transport.KindWant), uint16(0))
	f.Add([]byte{5}, uint8(transport.KindPart), uint16(1))
	f.Fuzz(func(t *testing.T, payload []byte, kind uint8, flags uint16) {
		frame := transport.Frame{Header: transport.Header{Kind: transport.Kind(kind), Flags: transport.Flags(flags)}, Payload: payload}
		w, err := parseWant(&frame)
		if err != nil {
			if !errors.Is(err, errMessage) {
				t.Errorf("error %v", err)
			}
			return
		}
		if again := w.append(nil); !bytes.Equal(again, payload) {
			t.Errorf("%x is written as %x", payload, again)
		}
		at := 0
		for _, s := range w.spans {
			if s.lo < at || s.hi <= s.lo {
				t.Fatalf("spans %v", w.spans)
			}
			at = s.hi
		}
	})
}

// FuzzAnswers has a source answer with whatever frames there are in data: Get ends with an error and keeps nothing that is not the
// model's, or nothing at all happened to the answers that matter.
func FuzzAnswers(f *testing.F) {
	from, digest := packed(f, small(), kernels.Q8)
	f.Add([]byte{}, uint8(4))
	f.Add([]byte{11, 0, 3, 0, 1, 2, 3}, uint8(3))
	f.Add([]byte{11, 1, 0, 0, 11, 0, 0, 0}, uint8(4))
	f.Add([]byte{9, 0, 1, 0, 'x'}, uint8(1))
	f.Fuzz(func(t *testing.T, data []byte, after uint8) {
		synctest.Test(t, func(t *testing.T) {
			c := newCluster(t)
			defer c.stop()
			frames := 0
			c.serve("a", from, tapped(nil, func(f *transport.Frame) error {
				if frames++; frames > int(after) && len(data) >= 4 {
					n := min(int(binary.LittleEndian.Uint16(data[2:])), len(data)-4)
					f.Kind, f.Flags = transport.Kind(data[0]), transport.Flags(data[1])
					f.Payload, data = data[4:4+n], data[4+n:]
				}
				return nil
			}))
			dir := newDir(t)
			m, err := Get(t.Context(), c.node("me"), dir, digest, share(0, 0), []string{"a"}, Options{})
			if err != nil && !errors.Is(err, ErrUnavailable) {
				t.Errorf("error %v", err)
			}
			if m == nil {
				if m, err = dir.Open(digest); errors.Is(err, store.ErrNotFound) {
					return
				}
			} else {
				check(t, m, share(0, 0))
			}
			if err == nil {
				err = m.VerifyAll(t.Context(), nil)
				m.Close()
			}
			if err != nil {
				t.Error(err)
			}
		})
	})
}
