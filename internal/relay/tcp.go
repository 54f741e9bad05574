package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
)

// TCP passes connections on to one target. Of a Link it knows delay and rate; a cut makes bytes wait until it is healed.
type TCP struct {
	listener *net.TCPListener
	target   netip.AddrPort
	links    [2]Link
	stop     context.CancelFunc
	done     sync.WaitGroup
	bytes    [2]atomic.Int64

	mu    sync.Mutex
	conns []net.Conn
}

// NewTCP listens on a port of the loopback interface and passes on to target. It runs until Close.
func NewTCP(ctx context.Context, target netip.AddrPort, there, back Link) (*TCP, error) {
	listener, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, fmt.Errorf("open relay: %w", err)
	}
	ctx, stop := context.WithCancel(ctx)
	t := &TCP{listener: listener, target: target, links: [2]Link{there, back}, stop: stop}
	t.done.Go(func() { t.accept(ctx) })
	return t, nil
}

// Address is where callers connect to.
func (t *TCP) Address() netip.AddrPort { return t.listener.Addr().(*net.TCPAddr).AddrPort() }

// Bytes is how much has come from callers and from the target, without what is around segments.
func (t *TCP) Bytes() (there, back int64) { return t.bytes[0].Load(), t.bytes[1].Load() }

// Close ends the relay and all connections through it.
func (t *TCP) Close() error {
	t.stop()
	err := t.listener.Close()
	t.mu.Lock()
	for _, conn := range t.conns {
		_ = conn.Close() // it may have ended before
	}
	t.conns = nil
	t.mu.Unlock()
	t.done.Wait()
	return err
}

func (t *TCP) accept(ctx context.Context) {
	for {
		near, err := t.listener.AcceptTCP()
		if err != nil {
			return
		}
		far, err := new(net.Dialer).DialContext(ctx, "tcp4", t.target.String())
		if err != nil {
			_ = near.Close()
			continue
		}
		t.mu.Lock()
		if ctx.Err() != nil {
			t.mu.Unlock()
			_, _ = near.Close(), far.Close()
			return
		}
		t.conns = append(t.conns, near, far)
		t.mu.Unlock()
		for i, ends := range [2][2]net.Conn{{near, far}, {far, near}} {
			d := newDirection(t.links[i], uint64(i))
			d.link.Loss, d.link.Duplicate, d.link.Reorder, d.link.Jitter = 0, 0, 0, 0
			ctx, end := context.WithCancelCause(ctx)
			t.done.Go(func() { end(t.read(ctx, d, ends[0], i)) })
			t.done.Go(func() {
				write(ctx, d, ends[1])
				_, _ = near.Close(), far.Close()
			})
		}
	}
}

// read takes bytes in, while there is room.
func (t *TCP) read(ctx context.Context, d *direction, from net.Conn, way int) error {
	buf := make([]byte, trainBytes)
	for {
		n, err := from.Read(buf)
		t.bytes[way].Add(int64(n))
		if !d.put(buf[:n], segmentTCP, aroundTCP) {
			select {
			case <-d.spare:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if err != nil {
			d.drain(ctx)
			return errors.Join(errEnded, err)
		}
	}
}

var errEnded = errors.New("connection ended")

// write sends what is due.
func write(ctx context.Context, d *direction, to net.Conn) {
	for {
		p, err := d.take(ctx)
		if err != nil {
			return
		}
		_, err = to.Write(p.data)
		d.give(p)
		if err != nil {
			return
		}
	}
}
