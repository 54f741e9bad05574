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

// around is what Ethernet, IP and UDP put around each packet, in bytes on the wire; segmentTCP and aroundTCP are the like
// for TCP.
const (
	around     = 38 + 20 + 8
	segmentTCP = 1448
	aroundTCP  = 38 + 20 + 32
)

const trainBytes = 64 << 10

// UDP passes packets between callers and one target. Each caller appears to the target under an address of its own.
type UDP struct {
	front  *net.UDPConn
	target netip.AddrPort
	stop   context.CancelFunc
	done   sync.WaitGroup
	bytes  [2]atomic.Int64

	mu      sync.Mutex
	links   [2]Link // to the target, and back
	callers map[netip.AddrPort]*caller
}

// caller is one who sends to the target through the relay.
type caller struct {
	address netip.AddrPort
	back    *net.UDPConn // towards the target
	ways    [2]*direction
}

// NewUDP listens on a port of the loopback interface and passes on to target. It runs until Close.
func NewUDP(ctx context.Context, target netip.AddrPort, there, back Link) (*UDP, error) {
	front, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, fmt.Errorf("open relay: %w", err)
	}
	if err := joinPackets(front); err != nil {
		return nil, errors.Join(fmt.Errorf("open relay: %w", err), front.Close())
	}
	ctx, stop := context.WithCancel(ctx)
	u := &UDP{front: front, target: target, stop: stop, links: [2]Link{there, back}, callers: map[netip.AddrPort]*caller{}}
	u.done.Go(func() { u.readFront(ctx) })
	return u, nil
}

// Address is where callers send to.
func (u *UDP) Address() netip.AddrPort { return u.front.LocalAddr().(*net.UDPAddr).AddrPort() }

// Set changes both directions: to the target, and back.
func (u *UDP) Set(there, back Link) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.links = [2]Link{there, back}
	for _, c := range u.callers {
		c.ways[0].set(there)
		c.ways[1].set(back)
	}
}

// Bytes is how much has come from callers and from the target, without what is around packets.
func (u *UDP) Bytes() (there, back int64) { return u.bytes[0].Load(), u.bytes[1].Load() }

// Close ends the relay. What is under way is lost.
func (u *UDP) Close() error {
	u.stop()
	err := u.front.Close()
	u.mu.Lock()
	for _, c := range u.callers {
		err = errors.Join(err, c.back.Close())
	}
	u.mu.Unlock()
	u.done.Wait()
	return err
}

func (u *UDP) readFront(ctx context.Context) {
	buf, oob := make([]byte, trainBytes), make([]byte, 128)
	for ctx.Err() == nil {
		n, oobn, _, from, err := u.front.ReadMsgUDPAddrPort(buf, oob)
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue // somebody refused a packet
		}
		c, err := u.callerAt(ctx, from)
		if err != nil {
			return
		}
		u.bytes[0].Add(int64(n))
		c.ways[0].put(buf[:n], segmentOf(oob[:oobn], n), around)
	}
}

// callerAt finds a caller, or begins to serve one.
func (u *UDP) callerAt(ctx context.Context, from netip.AddrPort) (*caller, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if c, ok := u.callers[from]; ok {
		return c, nil
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	back, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(u.target))
	if err != nil {
		return nil, err
	}
	if err := joinPackets(back); err != nil {
		return nil, errors.Join(err, back.Close())
	}
	seed := uint64(2 * len(u.callers))
	c := &caller{address: from, back: back, ways: [2]*direction{newDirection(u.links[0], seed), newDirection(u.links[1], seed+1)}}
	u.callers[from] = c
	u.done.Go(func() { u.readBack(ctx, c) })
	u.done.Go(func() { pass(ctx, c.ways[0], c.back, netip.AddrPort{}) })
	u.done.Go(func() { pass(ctx, c.ways[1], u.front, c.address) })
	return c, nil
}

func (u *UDP) readBack(ctx context.Context, c *caller) {
	buf, oob := make([]byte, trainBytes), make([]byte, 128)
	for ctx.Err() == nil {
		n, oobn, _, _, err := c.back.ReadMsgUDPAddrPort(buf, oob)
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue // the target is not there now
		}
		u.bytes[1].Add(int64(n))
		c.ways[1].put(buf[:n], segmentOf(oob[:oobn], n), around)
	}
}

// pass sends what is due. Errors are lost packets.
func pass(ctx context.Context, d *direction, conn *net.UDPConn, to netip.AddrPort) {
	var control []byte
	segment := 0
	for {
		p, err := d.take(ctx)
		if err != nil {
			return
		}
		var oob []byte
		if len(p.data) > p.segment {
			if p.segment != segment {
				control, segment = segmentControl(p.segment), p.segment
			}
			oob = control
		}
		_, _, _ = conn.WriteMsgUDPAddrPort(p.data, oob, to)
		d.give(p)
	}
}
