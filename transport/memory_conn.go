package transport

import (
	"fmt"
	"sync"
	"time"
)

// memoryPair is a connection in memory: two ends and the frames under way in both directions.
type memoryPair struct {
	hub    *Memory
	mu     sync.Mutex
	wake   sync.Cond // whatever changes, all who wait look again
	ends   [2]memoryConn
	broken bool
}

// memoryConn is one end of a connection in memory. Its fields are guarded by the pair's mutex.
type memoryConn struct {
	pair     *memoryPair
	side     int // index in pair.ends
	name     string
	outgoing direction // what this end sends
	closed   bool
	read     alarm // when receiving fails
	write    alarm // when sending fails
}

// alarm is a deadline of one end. Its fields are guarded by the pair's mutex.
type alarm struct {
	at    time.Time   // zero for none
	timer *time.Timer // wakes waiters then
}

// direction is a queue of frames from one end to the other.
type direction struct {
	ring   []sent // of which count from head on are under way
	head   int
	count  int
	bytes  int // under way, headers included
	fault  fault
	arrive *time.Timer // wakes waiters when a delayed frame is due
}

// sent is a frame under way. Its payload is reused by a later frame.
type sent struct {
	Frame
	due time.Time // zero when the way has no delay
}

var _ Conn = (*memoryConn)(nil)

func newMemoryPair(hub *Memory, from, to string) *memoryPair {
	p := &memoryPair{hub: hub}
	p.wake.L = &p.mu
	p.ends[0] = memoryConn{pair: p, side: 0, name: from}
	p.ends[1] = memoryConn{pair: p, side: 1, name: to}
	return p
}

func (c *memoryConn) other() *memoryConn { return &c.pair.ends[1-c.side] }

func (c *memoryConn) Peer() string { return c.other().name }

func (c *memoryConn) local() string { return c.name }

func (c *memoryConn) Send(f *Frame) error {
	if len(f.Payload) > PayloadMax {
		return fmt.Errorf("send to %s: %w: %d bytes, limit %d", c.Peer(), ErrTooLarge, len(f.Payload), PayloadMax)
	}
	c.pair.mu.Lock()
	defer c.pair.mu.Unlock()
	if err := c.dead(); err != nil {
		return fmt.Errorf("send to %s: %w", c.Peer(), err)
	}
	if c.peerClosed() {
		return fmt.Errorf("send to %s: %w", c.Peer(), ErrPeerGone)
	}
	c.outgoing.push(f)
	c.pair.wake.Broadcast()
	for c.outgoing.bytes > Window {
		if err := c.wait(&c.write); err != nil {
			return fmt.Errorf("send to %s: %w", c.Peer(), err)
		}
		if c.peerClosed() {
			return fmt.Errorf("send to %s: %w", c.Peer(), ErrPeerGone)
		}
	}
	return nil
}

func (c *memoryConn) Recv(f *Frame) error {
	c.pair.mu.Lock()
	defer c.pair.mu.Unlock()
	if err := c.dead(); err != nil {
		return fmt.Errorf("receive from %s: %w", c.Peer(), err)
	}
	incoming := &c.other().outgoing
	for !incoming.ready() {
		if incoming.count == 0 && c.peerClosed() {
			return fmt.Errorf("receive from %s: %w", c.Peer(), errPeerClosed)
		}
		incoming.announce(&c.pair.wake)
		if err := c.wait(&c.read); err != nil {
			return fmt.Errorf("receive from %s: %w", c.Peer(), err)
		}
	}
	incoming.pop(f)
	c.pair.wake.Broadcast()
	return nil
}

func (c *memoryConn) SetDeadline(t time.Time) error { return c.setDeadline(t, &c.read, &c.write) }

func (c *memoryConn) SetReadDeadline(t time.Time) error { return c.setDeadline(t, &c.read) }

func (c *memoryConn) SetWriteDeadline(t time.Time) error { return c.setDeadline(t, &c.write) }

func (c *memoryConn) setDeadline(t time.Time, alarms ...*alarm) error {
	c.pair.mu.Lock()
	defer c.pair.mu.Unlock()
	if err := c.dead(); err != nil {
		return err
	}
	for _, a := range alarms {
		c.set(a, t)
	}
	return nil
}

// set moves one deadline.
func (c *memoryConn) set(a *alarm, t time.Time) {
	a.at = t
	switch {
	case t.IsZero():
		a.stop()
	case a.timer == nil:
		a.timer = time.AfterFunc(time.Until(t), func() { c.ring(a) })
	default:
		a.timer.Reset(time.Until(t))
	}
}

func (c *memoryConn) Close() error {
	c.pair.mu.Lock()
	forget := c.close()
	c.pair.mu.Unlock()
	if forget {
		c.pair.hub.forget(c.pair)
	}
	return nil
}

// close closes one end and reports whether the connection is over for both.
func (c *memoryConn) close() bool {
	c.closed = true
	c.stopTimers()
	c.pair.wake.Broadcast()
	return c.pair.broken || c.other().closed
}

// stopTimers leaves no timer behind that only this end waits for.
func (c *memoryConn) stopTimers() {
	c.read.stop()
	c.write.stop()
	if arrive := c.other().outgoing.arrive; arrive != nil {
		arrive.Stop()
	}
}

// ring wakes those who wait at a deadline.
func (c *memoryConn) ring(a *alarm) {
	c.pair.mu.Lock()
	defer c.pair.mu.Unlock()
	if rest := time.Until(a.at); rest > 0 && !c.closed { // moved meanwhile, or the wall clock was set
		a.timer.Reset(rest)
		return
	}
	c.pair.wake.Broadcast()
}

func (a *alarm) stop() {
	if a.timer != nil {
		a.timer.Stop()
	}
}

// dead says why this end cannot be used, if so.
func (c *memoryConn) dead() error {
	switch {
	case c.closed:
		return ErrClosed
	case c.pair.broken:
		return ErrPeerGone
	}
	return nil
}

// peerClosed reports whether the other end was closed and the news could reach this one.
func (c *memoryConn) peerClosed() bool { return c.other().closed && !c.other().outgoing.fault.cut }

// wait sleeps until something changes. It fails when this end died or the deadline passed.
func (c *memoryConn) wait(deadline *alarm) error {
	if !deadline.at.IsZero() && !time.Now().Before(deadline.at) {
		return ErrDeadline
	}
	c.pair.wake.Wait()
	return c.dead()
}

func (p *memoryPair) between() way { return way{p.ends[0].name, p.ends[1].name} }

// sever ends the connection for both without closing either end.
func (p *memoryPair) sever() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.broken = true
	p.ends[0].stopTimers()
	p.ends[1].stopTimers()
	p.wake.Broadcast()
}

// closeNode closes the ends of one node and reports whether the connection is over.
func (p *memoryPair) closeNode(name string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	over := false
	for i := range p.ends {
		if p.ends[i].name == name {
			over = p.ends[i].close()
		}
	}
	return over
}

// apply sets what is wrong with one way.
func (p *memoryPair) apply(w way, f fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.ends {
		if p.ends[i].name == w.from && p.ends[1-i].name == w.to {
			p.ends[i].outgoing.fault = f
		}
	}
	p.wake.Broadcast()
}

// push queues a copy of the frame.
func (d *direction) push(f *Frame) {
	if d.count == len(d.ring) {
		d.grow()
	}
	slot := &d.ring[(d.head+d.count)%len(d.ring)]
	slot.Header = f.Header
	slot.Payload = append(slot.Payload[:0], f.Payload...)
	slot.due = time.Time{}
	if d.fault.delay > 0 {
		slot.due = time.Now().Add(d.fault.delay)
	}
	d.count++
	d.bytes += HeaderBytes + len(f.Payload)
}

// pop moves the oldest frame into f and keeps the payload that f had.
func (d *direction) pop(f *Frame) {
	slot := &d.ring[d.head]
	f.Header = slot.Header
	f.Payload, slot.Payload = slot.Payload, f.Payload[:0]
	d.head = (d.head + 1) % len(d.ring)
	d.count--
	d.bytes -= HeaderBytes + len(f.Payload)
}

// ready reports whether the oldest frame has arrived.
func (d *direction) ready() bool {
	if d.count == 0 || d.fault.cut {
		return false
	}
	due := d.ring[d.head].due
	return due.IsZero() || !time.Now().Before(due)
}

// announce sees to it that waiters wake when the oldest frame is due.
func (d *direction) announce(wake *sync.Cond) {
	if d.count == 0 || d.fault.cut {
		return
	}
	wait := time.Until(d.ring[d.head].due)
	if d.arrive == nil {
		d.arrive = time.AfterFunc(wait, func() {
			wake.L.Lock()
			defer wake.L.Unlock()
			wake.Broadcast()
		})
		return
	}
	d.arrive.Reset(wait)
}

func (d *direction) grow() {
	ring := make([]sent, max(4, 2*len(d.ring)))
	for i := range d.count {
		ring[i] = d.ring[(d.head+i)%len(d.ring)]
	}
	d.ring, d.head = ring, 0
}
