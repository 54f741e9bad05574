package relay

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// between opens a relay with a socket at each end.
func between(t *testing.T, there, back Link) (caller, target *net.UDPConn, u *UDP) {
	t.Helper()
	target, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { target.Close() })
	if err := target.SetReadBuffer(1 << 20); err != nil {
		t.Fatal(err)
	}
	if u, err = NewUDP(t.Context(), target.LocalAddr().(*net.UDPAddr).AddrPort(), there, back); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.Close() })
	if caller, err = net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(u.Address())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { caller.Close() })
	return caller, target, u
}

// send sends numbered packets, and waits a little now and then so that no queue of the kernel overflows.
func send(t *testing.T, conn *net.UDPConn, packets int) {
	t.Helper()
	for i := range packets {
		if _, err := conn.Write(binary.LittleEndian.AppendUint32(nil, uint32(i))); err != nil {
			t.Fatal(err)
		}
		if i%50 == 49 {
			nap(time.Millisecond)
		}
	}
}

// receive reads numbered packets until none comes for a while.
func receive(t *testing.T, conn *net.UDPConn) (numbers []uint32, from netip.AddrPort) {
	t.Helper()
	buf := make([]byte, 100)
	for {
		if err := conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		n, sender, err := conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return numbers, from
		}
		if n != 4 {
			t.Fatalf("a packet of %d bytes", n)
		}
		numbers, from = append(numbers, binary.LittleEndian.Uint32(buf)), sender
	}
}

func TestUDPPasses(t *testing.T) {
	caller, target, u := between(t, Link{}, Link{})
	send(t, caller, 200)
	got, from := receive(t, target)
	if len(got) != 200 {
		t.Errorf("%d of 200 packets passed", len(got))
	}
	for i, n := range got {
		if n != uint32(i) {
			t.Fatalf("packet %d is number %d", i, n)
		}
	}
	if _, err := target.WriteToUDPAddrPort([]byte("back"), from); err != nil {
		t.Fatal(err)
	}
	if got, _ := receive(t, caller); len(got) != 1 {
		t.Errorf("%d packets came back", len(got))
	}
	if there, back := u.Bytes(); there != 800 || back != 4 {
		t.Errorf("counted %d and %d bytes", there, back)
	}
}

func TestUDPFaults(t *testing.T) {
	for _, test := range []struct {
		name        string
		link        Link
		least, most int
		disorder    bool
	}{
		{"loss", Link{Loss: 0.5}, 60, 140, false},
		{"all lost", Link{Loss: 1}, 0, 0, false},
		{"duplicates", Link{Duplicate: 0.5}, 260, 340, false},
		{"reordering", Link{Reorder: 0.3}, 200, 200, true},
		{"jitter", Link{Jitter: 5 * time.Millisecond}, 200, 200, true},
		{"cut", Link{Cut: true}, 0, 0, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			caller, target, _ := between(t, test.link, Link{})
			send(t, caller, 200)
			got, _ := receive(t, target)
			disorder := false
			for i := 1; i < len(got); i++ {
				disorder = disorder || got[i] < got[i-1]
			}
			if len(got) < test.least || len(got) > test.most || disorder != test.disorder {
				t.Errorf("%d packets arrived, out of order: %v; want %d to %d, %v", len(got), disorder, test.least, test.most, test.disorder)
			}
		})
	}
}

func TestUDPCutAndHeal(t *testing.T) {
	caller, target, u := between(t, Link{}, Link{})
	send(t, caller, 1)
	receive(t, target)
	u.Set(Link{Cut: true}, Link{})
	send(t, caller, 1)
	if got, _ := receive(t, target); len(got) != 0 {
		t.Errorf("%d packets through a cut", len(got))
	}
	u.Set(Link{}, Link{})
	send(t, caller, 1)
	if got, _ := receive(t, target); len(got) != 1 {
		t.Errorf("%d packets after healing", len(got))
	}
}

// Nothing arrives before its time.
func TestUDPDelayAndRate(t *testing.T) {
	caller, target, _ := between(t, Link{Delay: 3 * time.Millisecond, Rate: 1_000_000}, Link{})
	start := time.Now()
	if _, err := caller.Write(make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	if _, err := target.Read(make([]byte, 2000)); err != nil {
		t.Fatal(err)
	}
	if took, least := time.Since(start), 3*time.Millisecond+8*(1000+around)*time.Microsecond; took < least {
		t.Errorf("arrived after %v, not before %v is possible", took, least)
	}
}

func TestTCP(t *testing.T) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	relay, err := NewTCP(t.Context(), listener.Addr().(*net.TCPAddr).AddrPort(), Link{Delay: time.Millisecond, Rate: 1_000_000_000}, Link{})
	if err != nil {
		t.Fatal(err)
	}
	defer relay.Close()
	near, err := net.Dial("tcp4", relay.Address().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	sent := bytes.Repeat([]byte("0123456789"), 1<<20) // more than fits into the relay
	written := make(chan error, 1)
	start := time.Now()
	go func() {
		_, err := near.Write(sent)
		near.Close()
		written <- err
	}()
	got, err := io.ReadAll(far)
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d of %d bytes arrived, %v", len(got), len(sent), err)
	}
	if took, least := time.Since(start), time.Duration(len(sent)*8); took < least {
		t.Errorf("arrived after %v, not before %v is possible", took, least)
	}
	if err := <-written; err != nil {
		t.Error(err)
	}
	if there, back := relay.Bytes(); there != int64(len(sent)) || back != 0 {
		t.Errorf("counted %d and %d bytes", there, back)
	}
}
