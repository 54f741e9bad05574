package transport

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

func addPacketNodes(t *testing.T) (hub *Memory, a, b *MemoryNode) {
	t.Helper()
	hub = NewMemory()
	for name, node := range map[string]**MemoryNode{"a": &a, "b": &b} {
		var err error
		if *node, err = hub.Node(name); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { (*node).Close() })
	}
	return hub, a, b
}

// collect reads packets until none comes for a second.
func collect(t *testing.T, node Datagrams) (packets []string, from netip.AddrPort) {
	t.Helper()
	buf := make([]byte, PacketMax)
	for {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		n, sender, err := node.ReadPacket(ctx, buf)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			return packets, from
		}
		if err != nil {
			t.Fatal(err)
		}
		packets, from = append(packets, string(buf[:n])), sender
	}
}

func TestMemoryPackets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := addPacketNodes(t)
		for _, data := range [][]byte{[]byte("one"), nil, []byte("two")} {
			if err := a.WritePacket(b.Address(), data); err != nil {
				t.Fatal(err)
			}
			clear(data) // it is ours again
		}
		got, from := collect(t, b)
		if len(got) != 3 || got[0] != "one" || got[1] != "" || got[2] != "two" || from != a.Address() {
			t.Errorf("got %q from %v, want one and two from %v", got, from, a.Address())
		}
		if err := a.WritePacket(b.Address(), bytes.Repeat([]byte("x"), PacketMax)); err != nil {
			t.Error(err)
		}
		if n, _, err := b.ReadPacket(t.Context(), make([]byte, 10)); n != 10 || err != nil {
			t.Errorf("into a short buffer: %d, %v", n, err)
		}
		if err := a.WritePacket(b.Address(), make([]byte, PacketMax+1)); !errors.Is(err, ErrTooLarge) {
			t.Errorf("too long: %v", err)
		}
		if err := a.WritePacket(netip.MustParseAddrPort("10.9.9.9:1"), []byte("x")); err != nil {
			t.Errorf("to nobody: %v", err)
		}
		for range PacketBacklogMax + 5 {
			a.WritePacket(b.Address(), []byte("x"))
		}
		if got, _ := collect(t, b); len(got) != PacketBacklogMax {
			t.Errorf("%d packets waited, want %d", len(got), PacketBacklogMax)
		}
	})
}

func TestMemoryPacketFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub, a, b := addPacketNodes(t)
		hub.Seed(7)
		send := func(n int) {
			for i := range n {
				a.WritePacket(b.Address(), []byte{byte(i)})
			}
		}
		hub.Lose("a", "b", 0.5)
		send(200)
		if got, _ := collect(t, b); len(got) < 60 || len(got) > 140 {
			t.Errorf("half of 200 lost leaves %d", len(got))
		}
		hub.Lose("a", "b", 0)
		hub.Duplicate("a", "b", 0.5)
		send(100)
		if got, _ := collect(t, b); len(got) < 130 || len(got) > 170 {
			t.Errorf("half of 100 doubled gives %d", len(got))
		}
		hub.Duplicate("a", "b", 0)
		hub.Jitter("a", "b", 100*time.Millisecond)
		send(100)
		early := 0
		got, _ := collect(t, b)
		for i := 1; i < len(got); i++ {
			if got[i] < got[i-1] {
				early++
			}
		}
		if len(got) != 100 || early == 0 {
			t.Errorf("with jitter %d packets, %d overtook", len(got), early)
		}
		hub.Jitter("a", "b", 0)
		hub.Delay("a", "b", time.Minute)
		send(1)
		start := time.Now()
		if _, _, err := b.ReadPacket(t.Context(), make([]byte, 1)); err != nil || time.Since(start) != time.Minute {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		hub.Delay("a", "b", 0)
		hub.Cut("a", "b")
		send(1)
		hub.Heal("a", "b")
		if got, _ := collect(t, b); len(got) != 0 {
			t.Errorf("%d packets through a cut", len(got))
		}
	})
}

func TestMemoryAddresses(t *testing.T) {
	hub, a, b := addPacketNodes(t)
	old := b.Address()
	if old == a.Address() || !old.IsValid() {
		t.Errorf("addresses %v and %v", a.Address(), old)
	}
	conn, err := a.DialAddress(t.Context(), old, ClassGossip)
	if err != nil || conn.Peer() != "b" {
		t.Fatalf("dial %v: %v", old, err)
	}
	if got := NewStream(conn).LocalAddr().String(); got != "a" {
		t.Errorf("own name is %q", got)
	}
	b.Close()
	if b, err = hub.Node("b"); err != nil || b.Address() != old {
		t.Errorf("after a restart the address is %v, was %v", b.Address(), old)
	}
	if moved := hub.Move("b"); moved == old || b.Address() != moved {
		t.Errorf("moved to %v, says %v", moved, b.Address())
	}
	if _, err := a.DialAddress(t.Context(), old, ClassGossip); !errors.Is(err, ErrUnreachable) {
		t.Errorf("dial the old address: %v", err)
	}
	a.Close()
	if err := a.WritePacket(old, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("write when closed: %v", err)
	}
	if _, _, err := a.ReadPacket(t.Context(), nil); !errors.Is(err, ErrClosed) {
		t.Errorf("read when closed: %v", err)
	}
	b.Close()
}
