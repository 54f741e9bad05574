package transport

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"
)

// Memory joins nodes of one process into a network. It keeps every promise of Network, Conn and Datagrams, windows and
// backlogs included, so code that works on it has no reason to hang on a real one. Faults can be injected between any
// two nodes. It is safe for concurrent use.
type Memory struct {
	mu             sync.Mutex // taken before the mutex of a connection or of an inbox
	nodes          map[string]*MemoryNode
	pairs          map[*memoryPair]struct{} // live connections
	faults         map[way]fault
	changed        chan struct{}             // closed and replaced when faults change
	addresses      map[string]netip.AddrPort // of nodes that are or were here
	addressesGiven uint32
	random         *rand.Rand
}

// way is the direction from one node to another.
type way struct{ from, to string }

// fault is what is wrong with one way. The zero fault is a healthy way.
type fault struct {
	cut   bool
	delay time.Duration
	// of loose packets only
	loss, duplicate float64       // probability of each
	jitter          time.Duration // added at most, so packets overtake one another
}

// NewMemory makes a network without nodes.
func NewMemory() *Memory {
	return &Memory{
		nodes:     map[string]*MemoryNode{},
		pairs:     map[*memoryPair]struct{}{},
		faults:    map[way]fault{},
		changed:   make(chan struct{}),
		addresses: map[string]netip.AddrPort{},
		random:    rand.New(rand.NewPCG(0, 0)),
	}
}

// Seed makes chance begin anew: which packets are lost or doubled, and how late they come.
func (m *Memory) Seed(seed uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.random = rand.New(rand.NewPCG(seed, 0))
}

// Node adds a node. A node that was closed may be added again, as after a restart; a node that is there may not.
func (m *Memory) Node(name string) (*MemoryNode, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.nodes[name]; ok || name == "" {
		return nil, fmt.Errorf("add node %q: there is one already, or it has no name", name)
	}
	n := &MemoryNode{hub: m, name: name, closed: make(chan struct{})}
	n.inbox.changed = make(chan struct{}, 1)
	for class := range n.backlogs {
		n.backlogs[class] = make(chan *memoryConn, BacklogMax)
	}
	m.nodes[name] = n
	m.addressOf(name)
	return n, nil
}

// Cut stops everything that goes from one node to another, in this direction only. As on a real network nothing is
// lost while connections live: frames and the news that a peer closed arrive after Heal. Loose packets are lost.
func (m *Memory) Cut(from, to string) {
	m.set(way{from, to}, func(f *fault) { f.cut = true })
}

// Heal undoes Cut.
func (m *Memory) Heal(from, to string) {
	m.set(way{from, to}, func(f *fault) { f.cut = false })
}

// Delay makes frames and packets sent from now on take that long from one node to another.
func (m *Memory) Delay(from, to string, delay time.Duration) {
	m.set(way{from, to}, func(f *fault) { f.delay = delay })
}

// Jitter delays each packet from one node to another by a random time below most, beside Delay, so that they overtake one
// another.
func (m *Memory) Jitter(from, to string, most time.Duration) {
	m.set(way{from, to}, func(f *fault) { f.jitter = most })
}

// Lose loses a share of the packets from one node to another, between 0 and 1.
func (m *Memory) Lose(from, to string, share float64) {
	m.set(way{from, to}, func(f *fault) { f.loss = share })
}

// Duplicate makes a share of the packets from one node to another arrive twice.
func (m *Memory) Duplicate(from, to string, share float64) {
	m.set(way{from, to}, func(f *fault) { f.duplicate = share })
}

// Break ends all connections between two nodes at once, without a word to either side: what was under way is lost, and
// both get ErrPeerGone.
func (m *Memory) Break(a, b string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for pair := range m.pairs {
		if between := pair.between(); between == (way{a, b}) || between == (way{b, a}) {
			pair.sever()
			delete(m.pairs, pair)
		}
	}
}

func (m *Memory) set(w way, change func(*fault)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.faults[w]
	change(&f)
	m.faults[w] = f
	for pair := range m.pairs {
		pair.apply(w, f)
	}
	close(m.changed)
	m.changed = make(chan struct{})
}

// connect makes a live connection if the target is there and reachable. Otherwise it returns a channel that is closed when it
// is worth trying again.
func (m *Memory) connect(from *MemoryNode, to string, class Class) (*memoryConn, *MemoryNode, <-chan struct{}, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.nodes[from.name] != from {
		return nil, nil, nil, ErrClosed
	}
	there, back := way{from.name, to}, way{to, from.name}
	if m.faults[there].cut || m.faults[back].cut {
		return nil, nil, m.changed, nil
	}
	target, ok := m.nodes[to]
	if !ok {
		return nil, nil, nil, ErrUnreachable
	}
	pair := newMemoryPair(m, from.name, to)
	pair.apply(there, m.faults[there])
	pair.apply(back, m.faults[back])
	m.pairs[pair] = struct{}{}
	return &pair.ends[0], target, nil, nil
}

// forget drops a connection that both ends have closed.
func (m *Memory) forget(pair *memoryPair) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.pairs, pair)
}

// MemoryNode is one node's door to a Memory. It is safe for concurrent use.
type MemoryNode struct {
	hub      *Memory
	name     string
	closed   chan struct{}
	backlogs [classEnd]chan *memoryConn
	inbox    inbox
}

var (
	_ Network = (*MemoryNode)(nil)
	_ Hurrier = (*MemoryNode)(nil)
)

// Hurry implements Hurrier: in memory nothing has to hurry.
func (n *MemoryNode) Hurry() {}

// Relax implements Hurrier.
func (n *MemoryNode) Relax() {}

// Dial implements Network.
func (n *MemoryNode) Dial(ctx context.Context, node string, class Class) (Conn, error) {
	if !class.valid() {
		return nil, fmt.Errorf("dial %s: %w: %v", node, ErrClass, class)
	}
	for {
		conn, target, changed, err := n.hub.connect(n, node, class)
		if err != nil {
			return nil, fmt.Errorf("dial %s: %w", node, err)
		}
		if conn != nil {
			return n.enqueue(ctx, conn, target, class)
		}
		select {
		case <-changed:
		case <-n.closed:
		case <-ctx.Done():
			return nil, fmt.Errorf("dial %s: %w: %w", node, ErrUnreachable, ctx.Err())
		}
	}
}

// enqueue puts the far end of a new connection into the target's backlog.
func (n *MemoryNode) enqueue(ctx context.Context, conn *memoryConn, target *MemoryNode, class Class) (Conn, error) {
	var err error
	select {
	case target.backlogs[class] <- conn.other():
		return conn, nil
	case <-target.closed:
		err = ErrUnreachable
	case <-n.closed:
		err = ErrClosed
	case <-ctx.Done():
		err = ctx.Err()
	}
	conn.Close()
	conn.other().Close()
	return nil, fmt.Errorf("dial %s: %w", target.name, err)
}

// Accept implements Network.
func (n *MemoryNode) Accept(ctx context.Context, class Class) (Conn, error) {
	if !class.valid() {
		return nil, fmt.Errorf("accept: %w: %v", ErrClass, class)
	}
	select {
	case <-n.closed: // before anything that still waits in the backlog
		return nil, fmt.Errorf("accept %v: %w", class, ErrClosed)
	default:
	}
	select {
	case conn := <-n.backlogs[class]:
		return conn, nil
	case <-n.closed:
		return nil, fmt.Errorf("accept %v: %w", class, ErrClosed)
	case <-ctx.Done():
		return nil, fmt.Errorf("accept %v: %w", class, ctx.Err())
	}
}

// Close implements Network.
func (n *MemoryNode) Close() error {
	n.hub.mu.Lock()
	defer n.hub.mu.Unlock()
	if n.hub.nodes[n.name] != n {
		return nil
	}
	delete(n.hub.nodes, n.name)
	close(n.closed)
	for pair := range n.hub.pairs {
		if pair.closeNode(n.name) {
			delete(n.hub.pairs, pair)
		}
	}
	return nil
}
