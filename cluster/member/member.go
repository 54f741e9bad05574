package member

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"polynode/cluster"
	"polynode/cluster/trust"
	"polynode/shard"
	"polynode/transport"
)

// Config is what a member needs.
type Config struct {
	Dir    string // of its state
	Name   string // for people
	Listen string // host:port of the one UDP socket; an empty host is all addresses
	Facts  cluster.Facts
	Logger *slog.Logger // none says nothing

	// Open makes this machine's way to the other nodes; nil is QUIC on one UDP socket. Simulations put a network in memory in its place.
	Open func(ctx context.Context, config transport.QUICConfig) (Port, error)

	// Lead does the coordinator's duties beyond membership for as long as this node coordinates, until ctx ends.
	Lead func(ctx context.Context)
}

// Port is a machine's way to the other nodes, and theirs to it.
type Port interface {
	transport.Network
	transport.Datagrams
	// Recheck ends connections with nodes that this one trusts no more.
	Recheck()
}

var _ Port = (*transport.QUIC)(nil)

// listen is Config.Open where nothing else is said.
func listen(ctx context.Context, config transport.QUICConfig) (Port, error) {
	return transport.Listen(ctx, config)
}

// Times of membership.
const (
	meetPause   = time.Second // between attempts to meet somebody known
	followPause = time.Second // at most until what is not announced is taken over: votes, and certificates that ended
	leaveWait   = 500 * time.Millisecond
	stepWait    = 2 * time.Second
	foundedWait = 10 * time.Second
)

// resetPurpose names the key that lets a restarted node end its peers' dead connections.
const resetPurpose = "quic stateless reset"

// Member is this machine's membership. Methods are safe for concurrent use.
type Member struct {
	config   Config
	folder   *trust.Folder
	identity *identity
	id       shard.NodeID
	known    known           // of follow's goroutine once that runs
	ring     trust.Ring      // keys of gossip, as saved; of follow's goroutine once that runs
	first    []trust.Contact // whom this node knew when it was opened
	port     Port
	members  *cluster.Members
	cluster  *cluster.Cluster
	stop     context.CancelFunc
	rooting  sync.Mutex // held while the root is kept or removed

	presenting sync.Mutex // held while this node's credentials are replaced by others that are made from them

	running sync.WaitGroup
}

// Open makes this machine a member again as its folder says, or founds a cluster if the folder is empty. A machine that is to join calls
// Join first.
func Open(ctx context.Context, config Config) (*Member, error) {
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	m := &Member{config: config}
	if err := m.open(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open membership: %w", err), m.Close())
	}
	return m, nil
}

func (m *Member) open(ctx context.Context) error {
	founding, err := m.openFolder()
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	m.stop = stop
	if err := m.listen(running); err != nil {
		return err
	}
	if err := m.gossip(running); err != nil {
		return err
	}
	starting, cancel := context.WithTimeout(ctx, foundedWait)
	defer cancel()
	m.cluster, err = cluster.Start(starting, cluster.Config{
		Node: m.id, Name: m.config.Name, Address: m.port.Address().String(), Facts: m.config.Facts, ID: m.known.Cluster,
		Network: m.port, Dir: filepath.Join(m.config.Dir, dirRaft), Join: !founding, Members: m.members,
		Logger: m.config.Logger, Lead: m.config.Lead,
	})
	if err != nil {
		return err
	}
	if founding {
		if err := m.shareKeys(starting); err != nil {
			return err
		}
	}
	m.running.Go(func() { m.follow(running) })
	m.running.Go(func() { m.meet(running) })
	return nil
}

// openFolder reads who this node is, or makes it the first of a new cluster.
func (m *Member) openFolder() (founding bool, err error) {
	if m.folder, err = trust.OpenFolder(m.config.Dir); err != nil {
		return false, err
	}
	self, err := m.folder.Identity()
	if err != nil {
		return false, err
	}
	m.id = self.ID()
	credentials, err := m.folder.Credentials()
	switch {
	case errors.Is(err, trust.ErrNone):
		founding = true
		credentials, err = m.found()
	case err == nil:
		m.known, err = readKnown(m.config.Dir)
		founding = m.halfFounded()
	}
	if err != nil {
		return false, err
	}
	m.identity = &identity{credentials: credentials, bundle: credentials.Bundle}
	m.ring, err = m.folder.Gossip()
	return founding, err
}

// found makes the root of a new cluster and this node's certificate, or goes on where an earlier attempt was cut off. The certificate is
// saved last: without it the folder is that of no cluster yet.
func (m *Member) found() (*trust.Credentials, error) {
	m.known = known{Cluster: rand.Text()}
	if ca, err := m.folder.CA(); err == nil {
		m.known.Cluster = ca.Cluster()
	}
	if err := m.known.write(m.config.Dir); err != nil {
		return nil, err
	}
	credentials, _, err := trust.Found(m.folder, m.known.Cluster, time.Now())
	return credentials, err
}

// halfFounded reports whether this node made a root and a certificate, and then stopped before there was a cluster.
func (m *Member) halfFounded() bool {
	_, err := m.folder.CA()
	_, other := os.Stat(filepath.Join(m.config.Dir, dirRaft))
	return err == nil && errors.Is(other, fs.ErrNotExist) && len(m.known.Peers) == 0
}

func (m *Member) listen(ctx context.Context) error {
	key, err := m.identity.credentials.Identity.Derive(resetPurpose, transport.ResetKeyBytes)
	if err != nil {
		return err
	}
	open := m.config.Open
	if open == nil {
		open = listen
	}
	m.port, err = open(ctx, transport.QUICConfig{
		Node: string(m.id), Listen: m.config.Listen, Identity: m.identity, ResetKey: key, Logger: m.config.Logger,
		Resolve: func(node string) (netip.AddrPort, bool) { return m.members.Resolve(node) },
		Join:    m.admit,
	})
	return err
}

func (m *Member) gossip(ctx context.Context) (err error) {
	m.members, err = cluster.NewMembers(ctx, cluster.MembersConfig{
		Node: m.id, Network: m.port, Packets: m.port, Keys: m.ring, Admit: m.identity.admits, Logger: m.config.Logger,
	})
	if err != nil {
		return err
	}
	m.first = m.known.Peers
	for _, peer := range m.first {
		if address, err := netip.ParseAddrPort(peer.Address); err == nil {
			m.members.Note(peer.ID, address)
		}
	}
	return nil
}

// shareKeys has the cluster agree on its root and its key of gossip.
func (m *Member) shareKeys(ctx context.Context) error {
	if m.cluster.State().Keys != nil {
		return nil
	}
	keys := trust.Keys{Roots: m.identity.roots().Raw(), Gossip: m.ring}
	_, err := m.cluster.Propose(ctx, cluster.PutKeys(cluster.Keys{Keys: keys}))
	return err
}

// follow takes over what is agreed on, and remembers what this node needs to come back.
func (m *Member) follow(ctx context.Context) {
	ticker := time.NewTicker(followPause)
	defer ticker.Stop()
	for {
		changed, seen := m.cluster.Changed(), m.members.Changed()
		state := m.cluster.State()
		m.identity.follow(state)
		m.port.Recheck()
		if err := errors.Join(m.followKeys(state), m.followRoot(), m.remember(), m.forgetCA()); err != nil {
			m.config.Logger.Warn("remember the cluster", "err", err)
		}
		select {
		case <-changed:
		case <-seen:
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// remember writes whom this node knows, if it changed.
func (m *Member) remember() error {
	next := m.known
	peers := map[shard.NodeID]string{}
	for _, peer := range m.known.Peers {
		peers[peer.ID] = peer.Address
	}
	for id, address := range m.members.Alive() {
		if id != m.id {
			peers[id] = address.String()
		}
	}
	agreed := m.cluster.State().Nodes
	next.Peers = nil
	for id, address := range peers {
		if _, there := agreed[id]; there || len(agreed) == 0 {
			next.Peers = append(next.Peers, trust.Contact{ID: id, Address: address})
		}
	}
	slices.SortFunc(next.Peers, func(a, b trust.Contact) int { return compare(a.ID, b.ID) })
	if slices.Equal(next.Peers, m.known.Peers) {
		return nil
	}
	m.known = next
	return next.write(m.config.Dir)
}

// meet looks for those who belong to the cluster and are not seen. Gossip forgets the dead after a while and tells a node that was cut off
// nothing of its own death, so that nobody else would bring the two sides together again. A node that follows a coordinator leaves it to that.
func (m *Member) meet(ctx context.Context) {
	for {
		leader, known := m.cluster.Leader()
		alive := m.members.Alive()
		if !known || leader == m.id || len(alive) < 2 {
			level := slog.LevelDebug
			if len(alive) < 2 {
				level = slog.LevelInfo // then this node is of no use
			}
			var calling sync.WaitGroup
			for _, address := range m.contacts(alive) {
				calling.Go(func() {
					if _, err := m.members.Meet([]netip.AddrPort{address}); err != nil {
						m.config.Logger.Log(ctx, level, "a node of the cluster does not answer yet", "tried", address, "cause", err)
					}
				})
			}
			calling.Wait() // each has its deadline
		}
		select {
		case <-time.After(meetPause):
		case <-ctx.Done():
			return
		}
	}
}

// contacts are the addresses at which the nodes were last known that are not among the living.
func (m *Member) contacts(alive map[shard.NodeID]netip.AddrPort) []netip.AddrPort {
	var addresses []netip.AddrPort
	add := func(id shard.NodeID, text string) {
		address, known := m.members.Resolve(string(id))
		if !known {
			address, _ = netip.ParseAddrPort(text)
		}
		if _, here := alive[id]; !here && id != m.id && address.IsValid() && !slices.Contains(addresses, address) {
			addresses = append(addresses, address)
		}
	}
	agreed := m.cluster.State().Nodes
	for _, peer := range m.first {
		if _, there := agreed[peer.ID]; there || len(agreed) == 0 {
			add(peer.ID, peer.Address)
		}
	}
	for id, node := range agreed {
		add(id, node.Address)
	}
	return addresses
}

// ID is the name of this node for its whole life.
func (m *Member) ID() shard.NodeID { return m.id }

// Network is the way to the other nodes.
func (m *Member) Network() Port { return m.port }

// Cluster is this node's part in the agreement.
func (m *Member) Cluster() *cluster.Cluster { return m.cluster }

// Members is who is alive.
func (m *Member) Members() *cluster.Members { return m.members }

// Close leaves without a word to the others: to them this node is dead, and comes back when it is opened again.
func (m *Member) Close() error {
	if m.stop != nil {
		m.stop()
	}
	m.running.Wait()
	var errs []error
	if m.cluster != nil {
		errs = append(errs, m.cluster.Close())
	}
	if m.members != nil {
		errs = append(errs, m.members.Close())
	}
	if m.port != nil {
		errs = append(errs, m.port.Close())
	}
	return errors.Join(errs...)
}

// StepAside hands the coordinator's duties over, if this node has them, and says goodbye to gossip, so that nobody waits for it. Close
// comes after it.
func (m *Member) StepAside(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stepWait)
	defer cancel()
	return errors.Join(m.cluster.StepDown(ctx), m.members.Leave(leaveWait))
}
