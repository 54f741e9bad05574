package transport

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Limits of handshakes. One costs about a millisecond of computing, so strangers can take a few per cent of one core.
const (
	handshakesPerSecond = 50
	handshakesBurst     = 100
	callersKept         = 4096 // addresses that are remembered to belong to the cluster
)

// doorman keeps a flood of handshakes away from the door. Strangers share a budget; when half of it is gone, callers have
// to show that they are where they say, and when all is gone only those who were inside before get in. The zero doorman
// has a full budget. It is safe for concurrent use.
type doorman struct {
	mu    sync.Mutex
	spent float64 // of handshakesBurst
	last  time.Time
	known map[netip.AddrPort]struct{}
}

// suspicious reports whether a caller has to prove its address first, which costs it a round trip.
func (d *doorman) suspicious(net.Addr) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refill(time.Now())
	return d.spent > handshakesBurst/2
}

// admit reports whether a handshake may go on.
func (d *doorman) admit(from netip.AddrPort, proven bool) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refill(time.Now())
	if _, ok := d.known[from]; ok && proven {
		return true
	}
	if d.spent+1 > handshakesBurst {
		return false
	}
	d.spent++
	return true
}

func (d *doorman) refill(now time.Time) {
	d.spent = max(0, d.spent-now.Sub(d.last).Seconds()*handshakesPerSecond)
	d.last = now
}

// remember notes the address of somebody who was authenticated.
func (d *doorman) remember(address netip.AddrPort) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.known == nil || len(d.known) >= callersKept {
		d.known = map[netip.AddrPort]struct{}{}
	}
	d.known[address] = struct{}{}
}

// Limits of complaints.
const (
	complaintInterval = time.Minute
	complaintsKept    = 256
)

// complaints logs what others do wrong: each thing once a minute, however often it happens.
type complaints struct {
	logger *slog.Logger
	mu     sync.Mutex
	said   map[string]time.Time
}

// once logs a message, unless the same one about the same thing was logged a short while ago. The first attribute says what
// it is about; of an address only the host counts.
func (c *complaints) once(message string, attributes ...any) {
	about := fmt.Sprint(attributes[1])
	if host, _, err := net.SplitHostPort(about); err == nil {
		about = host
	}
	key, now := message+about, time.Now()
	c.mu.Lock()
	last, known := c.said[key]
	if known && now.Sub(last) < complaintInterval {
		c.mu.Unlock()
		return
	}
	if c.said == nil || len(c.said) >= complaintsKept {
		c.said = map[string]time.Time{}
	}
	c.said[key] = now
	c.mu.Unlock()
	c.logger.Warn(message, attributes...)
}
