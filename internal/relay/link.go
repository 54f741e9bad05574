package relay

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// queueBytes is how much one direction holds before new packets are lost, or a TCP sender has to wait.
const queueBytes = 4 << 20

// Link is one direction of a cable. The zero Link passes everything on at once.
type Link struct {
	Delay     time.Duration // of everything
	Jitter    time.Duration // added at most, at random, so that packets overtake one another
	Rate      int64         // bits per second on the wire; zero is unlimited
	Loss      float64       // share of packets that are lost
	Duplicate float64       // share of packets that arrive twice
	Reorder   float64       // share of packets that arrive a Delay later than the rest
	Cut       bool          // nothing passes
}

// whole reports whether packets that came together may be passed on together.
func (l *Link) whole() bool {
	return l.Jitter == 0 && l.Loss == 0 && l.Duplicate == 0 && l.Reorder == 0
}

// parcel is something under way: one packet, or several of the same length and a last one.
type parcel struct {
	due     time.Time
	data    []byte
	segment int
}

// direction is a queue of parcels in one direction of one caller.
type direction struct {
	mu      sync.Mutex
	link    Link
	random  *rand.Rand
	free    time.Time // when the wire has nothing more to send
	parcels []parcel  // by due time
	bytes   int
	idle    [][]byte // buffers to use again
	changed chan struct{}
	spare   chan struct{} // there is room again
}

func newDirection(link Link, seed uint64) *direction {
	return &direction{link: link, random: rand.New(rand.NewPCG(seed, 0)), changed: make(chan struct{}, 1), spare: make(chan struct{}, 1)}
}

func (d *direction) set(link Link) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.link = link
}

// put takes packets of one length and a shorter last one, with so many bytes around each on the wire. It reports whether
// there is room for more.
func (d *direction) put(data []byte, segment, around int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	if d.link.Cut || len(data) == 0 {
		return d.bytes < queueBytes
	}
	if d.link.whole() {
		d.enqueue(data, segment, d.through(now, len(data)+(len(data)+segment-1)/segment*around).Add(d.link.Delay))
		return d.bytes < queueBytes
	}
	for len(data) > 0 {
		packet := data[:min(segment, len(data))]
		data = data[len(packet):]
		end := d.through(now, len(packet)+around)
		copies := 1
		switch {
		case d.random.Float64() < d.link.Loss:
			copies = 0
		case d.random.Float64() < d.link.Duplicate:
			copies = 2
		}
		for range copies {
			due := end.Add(d.link.Delay)
			if d.link.Jitter > 0 {
				due = due.Add(time.Duration(d.random.Int64N(int64(d.link.Jitter))))
			}
			if d.random.Float64() < d.link.Reorder {
				due = due.Add(max(d.link.Delay, time.Millisecond))
			}
			d.enqueue(packet, segment, due)
		}
	}
	return d.bytes < queueBytes
}

// through is when the last of some bytes has left, if they begin as soon as the wire is free.
func (d *direction) through(now time.Time, bytes int) time.Time {
	if d.link.Rate == 0 {
		return now
	}
	if d.free.Before(now) {
		d.free = now
	}
	d.free = d.free.Add(time.Duration(int64(bytes) * 8 * int64(time.Second) / d.link.Rate))
	return d.free
}

// enqueue keeps a copy. What finds no room is lost; a TCP caller stops before that.
func (d *direction) enqueue(data []byte, segment int, due time.Time) {
	if d.bytes >= 2*queueBytes {
		return
	}
	var buf []byte
	if n := len(d.idle); n > 0 {
		buf, d.idle = d.idle[n-1], d.idle[:n-1]
	}
	d.parcels = append(d.parcels, parcel{})
	at := len(d.parcels) - 1
	for ; at > 0 && d.parcels[at-1].due.After(due); at-- {
		d.parcels[at] = d.parcels[at-1]
	}
	d.parcels[at] = parcel{due: due, data: append(buf[:0], data...), segment: segment}
	d.bytes += len(data)
	wake(d.changed)
}

// take waits for the first parcel that is due. The parcel has to be given back.
func (d *direction) take(ctx context.Context) (parcel, error) {
	for {
		d.mu.Lock()
		var wait time.Duration
		if len(d.parcels) > 0 {
			if wait = time.Until(d.parcels[0].due); wait <= 0 {
				p := d.parcels[0]
				d.parcels = append(d.parcels[:0], d.parcels[1:]...)
				d.mu.Unlock()
				return p, nil
			}
		}
		d.mu.Unlock()
		if err := d.await(ctx, wait); err != nil {
			return parcel{}, err
		}
	}
}

// await waits for a change or, if wait is not zero, about that long.
func (d *direction) await(ctx context.Context, wait time.Duration) error {
	if wait > 0 && wait < 2*time.Millisecond && ctx.Err() == nil {
		nap(wait) // the runtime's timers are not fine enough
		return nil
	}
	var due <-chan time.Time
	if wait > 0 {
		timer := time.NewTimer(wait - time.Millisecond)
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-d.changed:
	case <-due:
	}
	return nil
}

// give returns a parcel's buffer when it has been passed on.
func (d *direction) give(p parcel) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.bytes -= len(p.data)
	d.idle = append(d.idle, p.data)
	wake(d.spare)
}

// drain waits until everything has been passed on.
func (d *direction) drain(ctx context.Context) {
	for {
		d.mu.Lock()
		empty := d.bytes == 0
		d.mu.Unlock()
		if empty {
			return
		}
		select {
		case <-d.spare:
		case <-ctx.Done():
			return
		}
	}
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
