package transport

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// memoryPort is the port of every node in memory.
const memoryPort = 7946

// inbox holds the packets under way to one node. A packet that is delayed waits here until it is due.
type inbox struct {
	mu      sync.Mutex
	packets []packet // by due time; those of one time in the order in which they were sent
	changed chan struct{}
}

// packet is a loose packet under way.
type packet struct {
	due  time.Time
	from netip.AddrPort
	data []byte
}

var _ Datagrams = (*MemoryNode)(nil)

// Address is the node's made-up address. It stays the same when a node is closed and added again, and changes with Move.
func (n *MemoryNode) Address() netip.AddrPort {
	n.hub.mu.Lock()
	defer n.hub.mu.Unlock()
	return n.hub.addressOf(n.name)
}

// WritePacket implements Datagrams.
func (n *MemoryNode) WritePacket(to netip.AddrPort, data []byte) error {
	if len(data) > PacketMax {
		return fmt.Errorf("write packet to %v: %w: %d bytes, limit %d", to, ErrTooLarge, len(data), PacketMax)
	}
	n.hub.mu.Lock()
	defer n.hub.mu.Unlock()
	if n.hub.nodes[n.name] != n {
		return fmt.Errorf("write packet to %v: %w", to, ErrClosed)
	}
	target, ok := n.hub.nodes[n.hub.nameAt(to)]
	if !ok {
		return nil
	}
	f := n.hub.faults[way{n.name, target.name}]
	if f.cut || f.loss > 0 && n.hub.random.Float64() < f.loss {
		return nil
	}
	copies := 1
	if f.duplicate > 0 && n.hub.random.Float64() < f.duplicate {
		copies = 2
	}
	from, now := n.hub.addressOf(n.name), time.Now()
	for range copies {
		due := now.Add(f.delay)
		if f.jitter > 0 {
			due = due.Add(time.Duration(n.hub.random.Int64N(int64(f.jitter))))
		}
		target.inbox.put(packet{due: due, from: from, data: append([]byte{}, data...)})
	}
	return nil
}

// ReadPacket implements Datagrams.
func (n *MemoryNode) ReadPacket(ctx context.Context, buf []byte) (int, netip.AddrPort, error) {
	for {
		p, changed, wait := n.inbox.take()
		if p.data != nil {
			return copy(buf, p.data), p.from, nil
		}
		if err := n.await(ctx, changed, wait); err != nil {
			return 0, netip.AddrPort{}, fmt.Errorf("read packet: %w", err)
		}
	}
}

// await waits for a change or, if wait is not zero, no longer than that.
func (n *MemoryNode) await(ctx context.Context, changed <-chan struct{}, wait time.Duration) error {
	var due <-chan time.Time
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-n.closed:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	case <-changed:
	case <-due:
	}
	return nil
}

// DialAddress implements Datagrams.
func (n *MemoryNode) DialAddress(ctx context.Context, to netip.AddrPort, class Class) (Conn, error) {
	n.hub.mu.Lock()
	name := n.hub.nameAt(to)
	n.hub.mu.Unlock()
	if name == "" {
		return nil, fmt.Errorf("dial %v: %w: nobody has this address", to, ErrUnreachable)
	}
	return n.Dial(ctx, name, class)
}

// Move gives a node a new address, as DHCP may. Connections stay; packets to the old address are lost.
func (m *Memory) Move(name string) netip.AddrPort {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.addresses, name)
	return m.addressOf(name)
}

// addressOf is the address of a node, a new one if it has none. The hub is locked.
func (m *Memory) addressOf(name string) netip.AddrPort {
	address, ok := m.addresses[name]
	if !ok {
		m.addressesGiven++
		i := m.addressesGiven
		address = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), memoryPort)
		m.addresses[name] = address
	}
	return address
}

// nameAt is the node that has an address now, or "". The hub is locked.
func (m *Memory) nameAt(address netip.AddrPort) string {
	for name, a := range m.addresses {
		if a == address {
			return name
		}
	}
	return ""
}

// put adds a packet if there is room.
func (b *inbox) put(p packet) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.packets) >= PacketBacklogMax {
		return
	}
	at := len(b.packets)
	for at > 0 && b.packets[at-1].due.After(p.due) {
		at--
	}
	b.packets = slices.Insert(b.packets, at, p)
	b.wake()
}

// take removes the first packet that is due. If there is none, it returns what to wait for: a change, or a time.
func (b *inbox) take() (p packet, changed <-chan struct{}, wait time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.packets) == 0 {
		return packet{}, b.changed, 0
	}
	if wait = time.Until(b.packets[0].due); wait > 0 {
		return packet{}, b.changed, wait
	}
	p = b.packets[0]
	b.packets = slices.Delete(b.packets, 0, 1)
	if len(b.packets) > 0 { // for the next reader
		b.wake()
	}
	return p, nil, 0
}

// wake tells one reader to look again; none has to wait.
func (b *inbox) wake() {
	select {
	case b.changed <- struct{}{}:
	default:
	}
}
