package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"polynode/shard"
	"polynode/transport"
)

// Times of gossip. A node that died is known to be dead after about a second in a cluster of a few.
const (
	probeInterval  = 200 * time.Millisecond
	probeTimeout   = 100 * time.Millisecond
	gossipInterval = 100 * time.Millisecond
	pushPull       = 15 * time.Second
	suspicionMult  = 3
	streamTimeout  = 2 * time.Second
)

// MembersConfig is what a node needs to see the others.
type MembersConfig struct {
	Node    shard.NodeID
	Network transport.Network
	Packets transport.Datagrams
	Keys    [][]byte                     // gossip keys of 32 bytes, the one to send with first; none sends in clear
	Admit   func(node shard.NodeID) bool // whether a node belongs to the cluster; nil admits all
	Logger  *slog.Logger
}

// Members is who is alive as far as this node sees, by gossip (SWIM with the extensions of Lifeguard, as memberlist does it), and the address
// book that follows from it. It is a hint: nothing is decided by it alone. Methods are safe for concurrent use. A nil Members sees nobody.
type Members struct {
	config  MembersConfig
	list    *memberlist.Memberlist
	ring    *memberlist.Keyring // nil in clear
	gossip  *gossip
	mu      sync.Mutex
	alive   map[shard.NodeID]netip.AddrPort
	book    map[shard.NodeID]netip.AddrPort // of all that were ever seen
	changed chan struct{}
}

// NewMembers starts to gossip. The network and its packets stay the caller's, who closes them after the members.
func NewMembers(ctx context.Context, config MembersConfig) (*Members, error) {
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	m := &Members{
		config: config, alive: map[shard.NodeID]netip.AddrPort{}, book: map[shard.NodeID]netip.AddrPort{}, changed: make(chan struct{}),
	}
	settings := memberlist.DefaultLANConfig()
	settings.Name = string(config.Node)
	settings.ProbeInterval, settings.ProbeTimeout = probeInterval, probeTimeout
	settings.GossipInterval, settings.PushPullInterval = gossipInterval, pushPull
	settings.SuspicionMult, settings.TCPTimeout = suspicionMult, streamTimeout
	settings.DeadNodeReclaimTime = time.Nanosecond // a node is its key, wherever it is: its new address replaces the old one at once
	settings.GossipToTheDeadTime = 30 * time.Second
	settings.UDPBufferSize = transport.PacketMax - packetSlack
	settings.EnableCompression = false // packets are small, and unpacking what anybody sends is a risk
	settings.Events, settings.Alive = (*memberEvents)(m), (*memberEvents)(m)
	settings.LogOutput = lineLogger{config.Logger.With("source", "gossip")}
	settings.ProtocolVersion = memberlist.ProtocolVersionMax
	if len(config.Keys) > 0 {
		ring, err := memberlist.NewKeyring(config.Keys, config.Keys[0])
		if err != nil {
			return nil, fmt.Errorf("start gossip: %w", err)
		}
		settings.Keyring, m.ring = ring, ring
	}
	m.gossip = startGossip(ctx, config.Network, config.Packets)
	settings.Transport = m.gossip
	list, err := memberlist.Create(settings)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start gossip: %w", err), m.gossip.Shutdown())
	}
	m.list = list
	return m, nil
}

// packetSlack is what encryption and headers add to a packet.
const packetSlack = 100

// Meet introduces this node to those at some addresses, one of which is enough. It returns how many were there.
func (m *Members) Meet(addresses []netip.AddrPort) (int, error) {
	names := make([]string, len(addresses))
	for i, address := range addresses {
		names[i] = address.String()
	}
	n, err := m.list.Join(names)
	if err != nil && n == 0 {
		return 0, fmt.Errorf("meet %v: %w: %w", addresses, transport.ErrUnreachable, err)
	}
	return n, nil
}

// errClear reports a change of keys where gossip has none.
var errClear = errors.New("gossip is in clear")

// SetKeys changes the keys of gossip while it runs: the first is used from now on, all are accepted. As with trust.Ring, those who have the old
// keys and those who have the new ones have to understand each other.
func (m *Members) SetKeys(keys [][]byte) error {
	if m.ring == nil || len(keys) == 0 {
		return fmt.Errorf("set gossip keys: %w", errClear)
	}
	for _, key := range keys {
		if err := m.ring.AddKey(key); err != nil {
			return fmt.Errorf("set gossip keys: %w", err)
		}
	}
	if err := m.ring.UseKey(keys[0]); err != nil {
		return fmt.Errorf("set gossip keys: %w", err)
	}
	for _, old := range m.ring.GetKeys() {
		if slices.ContainsFunc(keys, func(key []byte) bool { return bytes.Equal(key, old) }) {
			continue
		}
		if err := m.ring.RemoveKey(old); err != nil {
			return fmt.Errorf("set gossip keys: %w", err)
		}
	}
	return nil
}

// Keys are those that gossip accepts, the one it uses first.
func (m *Members) Keys() [][]byte {
	if m.ring == nil {
		return nil
	}
	return m.ring.GetKeys()
}

// Alive is a copy of who is alive, this node included, and where.
func (m *Members) Alive() map[shard.NodeID]netip.AddrPort {
	if m == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.alive)
}

// Changed returns a channel that is closed with the next change of Alive. To miss nothing, take the channel first.
func (m *Members) Changed() <-chan struct{} {
	if m == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.changed
}

// Resolve is where a node is, or was when it was last seen.
func (m *Members) Resolve(node string) (netip.AddrPort, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	address, known := m.book[shard.NodeID(node)]
	return address, known
}

// Note enters an address into the book that is known from elsewhere, unless gossip knows better.
func (m *Members) Note(node shard.NodeID, address netip.AddrPort) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, seen := m.alive[node]; !seen {
		m.book[node] = address
	}
}

// Leave tells the others that this node goes, so that nobody takes it for dead.
func (m *Members) Leave(timeout time.Duration) error {
	if err := m.list.Leave(timeout); err != nil {
		return fmt.Errorf("leave gossip: %w", err)
	}
	return nil
}

// Close ends gossip without a word to the others.
func (m *Members) Close() error {
	if err := m.list.Shutdown(); err != nil { // ends m.gossip, too
		return fmt.Errorf("close gossip: %w", err)
	}
	return nil
}

func (m *Members) update(change func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change()
	close(m.changed)
	m.changed = make(chan struct{})
}

// memberEvents is the side of Members that memberlist calls.
type memberEvents Members

var (
	_ memberlist.EventDelegate = (*memberEvents)(nil)
	_ memberlist.AliveDelegate = (*memberEvents)(nil)
)

func addressOf(n *memberlist.Node) netip.AddrPort {
	ip, _ := netip.AddrFromSlice(n.Addr)
	return netip.AddrPortFrom(ip.Unmap(), n.Port)
}

func (e *memberEvents) NotifyJoin(n *memberlist.Node) {
	m, node, address := (*Members)(e), shard.NodeID(n.Name), addressOf(n)
	m.update(func() { m.alive[node], m.book[node] = address, address })
	m.config.Logger.Info("node seen", "node", node, "address", address)
}

func (e *memberEvents) NotifyLeave(n *memberlist.Node) {
	m, node := (*Members)(e), shard.NodeID(n.Name)
	m.update(func() { delete(m.alive, node) })
	m.config.Logger.Info("node lost", "node", node, "left", n.State == memberlist.StateLeft)
}

func (e *memberEvents) NotifyUpdate(n *memberlist.Node) {
	m, node, address := (*Members)(e), shard.NodeID(n.Name), addressOf(n)
	m.update(func() { m.alive[node], m.book[node] = address, address })
}

// errStranger keeps a node that does not belong to the cluster out of the list.
var errStranger = errors.New("not a node of this cluster")

func (e *memberEvents) NotifyAlive(n *memberlist.Node) error {
	m := (*Members)(e)
	if m.config.Admit == nil || shard.NodeID(n.Name) == m.config.Node || m.config.Admit(shard.NodeID(n.Name)) {
		return nil
	}
	return errStranger
}

// gossip is memberlist's transport over ours. Packets go to addresses and are secured by memberlist's own keys; streams are
// authenticated by the network.
type gossip struct {
	network transport.Network
	packets transport.Datagrams
	context context.Context
	stop    context.CancelFunc
	running sync.WaitGroup
	arrived chan *memberlist.Packet
	called  chan net.Conn
}

var _ memberlist.Transport = (*gossip)(nil)

func startGossip(ctx context.Context, network transport.Network, packets transport.Datagrams) *gossip {
	g := &gossip{network: network, packets: packets, arrived: make(chan *memberlist.Packet), called: make(chan net.Conn)}
	g.context, g.stop = context.WithCancel(context.WithoutCancel(ctx))
	g.running.Go(g.readPackets)
	g.running.Go(g.acceptStreams)
	return g
}

func (g *gossip) readPackets() {
	for {
		buf := make([]byte, transport.PacketMax)
		n, from, err := g.packets.ReadPacket(g.context, buf)
		if err != nil {
			return
		}
		packet := &memberlist.Packet{Buf: buf[:n], From: net.UDPAddrFromAddrPort(from), Timestamp: time.Now()}
		select {
		case g.arrived <- packet:
		case <-g.context.Done():
			return
		}
	}
}

func (g *gossip) acceptStreams() {
	for {
		conn, err := g.network.Accept(g.context, transport.ClassGossip)
		if err != nil {
			return
		}
		select {
		case g.called <- transport.NewStream(conn):
		case <-g.context.Done():
			conn.Close()
			return
		}
	}
}

// FinalAdvertiseAddr is what the network knows of itself.
func (g *gossip) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	address := g.packets.Address()
	return net.IP(address.Addr().AsSlice()), int(address.Port()), nil
}

// WriteTo sends one packet.
func (g *gossip) WriteTo(b []byte, address string) (time.Time, error) {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return time.Time{}, err
	}
	return time.Now(), g.packets.WritePacket(to, b)
}

// PacketCh gives what arrives.
func (g *gossip) PacketCh() <-chan *memberlist.Packet { return g.arrived }

// DialTimeout opens a stream.
func (g *gossip) DialTimeout(address string, timeout time.Duration) (net.Conn, error) {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(g.context, timeout)
	defer cancel()
	conn, err := g.packets.DialAddress(ctx, to, transport.ClassGossip)
	if err != nil {
		return nil, err
	}
	return transport.NewStream(conn), nil
}

// StreamCh gives the streams that others open.
func (g *gossip) StreamCh() <-chan net.Conn { return g.called }

// Shutdown ends both and waits.
func (g *gossip) Shutdown() error {
	g.stop()
	g.running.Wait()
	return nil
}
