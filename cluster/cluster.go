package cluster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"polynode/shard"
	"polynode/transport"
)

// What asking the cluster fails with, beside the refusals of a command.
var (
	ErrNotLeader = errors.New("not the coordinator")   // ask the node that Leader names; the command may have been lost
	ErrClosed    = errors.New("cluster closed")        // this node is shutting down
	ErrUncertain = errors.New("outcome not yet known") // the caller stopped waiting; look at the state
)

// Config is what a node needs to take part.
type Config struct {
	Node    shard.NodeID
	Name    string // for people
	Address string // where it is, for those whom gossip has not told yet
	Facts   Facts
	ID      string       // of the cluster that this node founds; random when empty
	Logger  *slog.Logger // none says nothing

	Network transport.Network // to the other nodes; without one nobody can join
	Dir     string            // keeps log and snapshots, so that a node comes back as what it was; without one they are in memory
	Join    bool              // do not found a cluster: one that exists will add this node
	Members *Members          // whom this node sees; a coordinator gives votes to those

	// Lead does duties that only the coordinator has, for as long as this node coordinates; it returns when ctx ends. The agreed state is up to
	// date when it is called.
	Lead func(ctx context.Context)
}

// Timeouts of raft. A coordinator is missed after one second to two, and steps down after a second without a majority: with half a second,
// and on a machine whose two processors were taken three times over with a quarter, healthy ones stepped down, and requests ended for that.
const (
	soloTimeout     = 50 * time.Millisecond // without a network
	electionTimeout = time.Second
	leaseTimeout    = time.Second
	streamsPooled   = 3           // to each node
	enqueueTimeout  = time.Second // for raft to take a command from us
	snapshotAfter   = 1024        // commands
	snapshotsKept   = 3
	trailingLogs    = 1024 // commands kept behind a snapshot
)

// Cluster is one node's part in the agreement.
type Cluster struct {
	node      shard.NodeID
	logger    *slog.Logger
	members   *Members
	machine   *machine
	raft      *raft.Raft
	transport raft.Transport
	storage   io.Closer // nil in memory
	solo      bool      // without a network

	stop    context.CancelFunc // ends lead
	leading sync.WaitGroup     // lead

	mu     sync.Mutex
	closed bool
	calls  sync.WaitGroup // of raft, each of which ends by itself while raft runs
}

// Start takes this node's part. Where Config.Dir remembers a cluster, it is in that one again, and Start returns at once. Otherwise it founds
// one, and returns when this node coordinates it and is one of its ready nodes; or, with Config.Join, it waits to be added, and Start
// returns at once.
func Start(ctx context.Context, config Config) (*Cluster, error) {
	if err := checkName("node id", string(config.Node)); err != nil {
		return nil, fmt.Errorf("start cluster: %w", err)
	}
	if config.ID == "" {
		config.ID = rand.Text()
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Cluster{node: config.Node, logger: config.Logger, members: config.Members, machine: newMachine(), solo: config.Network == nil}
	notify := make(chan bool, 4) // raft waits for us when it is full
	known, err := c.startRaft(ctx, config, notify)
	if err != nil {
		return nil, fmt.Errorf("start cluster: %w", err)
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx)) // until Close, whatever becomes of the caller
	c.stop = stop
	established := make(chan error, 1)
	c.leading.Go(func() { c.lead(running, config, notify, established) })
	if known || config.Join {
		return c, nil
	}
	select {
	case err = <-established:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("start cluster: %w", err)
	}
	return c, nil
}

// State is a copy of what is agreed, as far as this node knows.
func (c *Cluster) State() *State { return c.machine.copy() }

// Changed returns a channel that is closed with the next change of the state. To miss nothing, take the channel first and
// look at the state afterwards.
func (c *Cluster) Changed() <-chan struct{} { return c.machine.watch() }

// Leader is the node that coordinates, if this one knows of any.
func (c *Cluster) Leader() (node shard.NodeID, known bool) {
	_, id := c.raft.LeaderWithID()
	return shard.NodeID(id), id != ""
}

// Close leaves the agreement and waits for everything that Start began. It may be called twice.
func (c *Cluster) Close() error {
	c.mu.Lock()
	again := c.closed
	c.closed = true
	c.mu.Unlock()
	if again {
		return nil
	}
	c.stop()
	c.leading.Wait()
	c.calls.Wait() // before raft stops, which may forget to answer
	err := c.closeRaft()
	if err != nil {
		return fmt.Errorf("close cluster: %w", err)
	}
	return nil
}
