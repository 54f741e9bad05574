package cluster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"polynode/shard"
)

// What asking the cluster fails with, beside the refusals of a command.
var (
	ErrNotLeader = errors.New("not the coordinator")   // ask the node that Leader names; the command may have been lost
	ErrClosed    = errors.New("cluster closed")        // this node is shutting down
	ErrUncertain = errors.New("outcome not yet known") // the caller stopped waiting; look at the state
)

// Config is what a node needs to take part.
type Config struct {
	Node   shard.NodeID
	Facts  Facts
	ID     string       // of the cluster that this node founds; random when empty
	Logger *slog.Logger // none says nothing
}

// Timeouts of raft. A lone voter leads as soon as it has waited for others in vain, so short ones make it quick and have no
// price; more voters need longer ones.
const (
	electionTimeout = 50 * time.Millisecond
	enqueueTimeout  = time.Second // for raft to take a command from us
	snapshotAfter   = 1024        // commands
	trailingLogs    = 1024        // commands kept behind a snapshot
)

// Cluster is one node's part in the agreement.
type Cluster struct {
	node      shard.NodeID
	logger    *slog.Logger
	machine   *machine
	raft      *raft.Raft
	transport raft.Transport

	stop    context.CancelFunc // ends lead
	leading sync.WaitGroup     // lead

	mu     sync.Mutex
	closed bool
	calls  sync.WaitGroup // of raft, each of which ends by itself while raft runs
}

// Start founds a cluster of one voter and returns when this node coordinates it and is one of its ready nodes, after about a
// tenth of a second. Log and snapshots are kept in memory: what was agreed is gone when the process ends.
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
	c := &Cluster{node: config.Node, logger: config.Logger, machine: newMachine()}
	notify := make(chan bool, 4) // raft waits for us when it is full
	if err := c.startRaft(notify); err != nil {
		return nil, fmt.Errorf("start cluster: %w", err)
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx)) // until Close, whatever becomes of the caller
	c.stop = stop
	established := make(chan error, 1)
	c.leading.Go(func() { c.lead(running, config, notify, established) })
	var err error
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

// startRaft makes a voter that knows of no others.
func (c *Cluster) startRaft(notify chan<- bool) error {
	config := raft.DefaultConfig()
	config.LocalID = raft.ServerID(c.node)
	config.HeartbeatTimeout = electionTimeout
	config.ElectionTimeout = electionTimeout
	config.LeaderLeaseTimeout = electionTimeout
	config.SnapshotThreshold = snapshotAfter
	config.TrailingLogs = trailingLogs
	config.ShutdownOnRemove = false // a node that comes back must find its raft alive
	config.NotifyCh = notify
	config.Logger = newRaftLogger(c.logger.With("source", "raft"))

	address, transport := raft.NewInmemTransport(raft.ServerAddress(c.node))
	store, snapshots := raft.NewInmemStore(), raft.NewInmemSnapshotStore()
	voters := raft.Configuration{Servers: []raft.Server{{ID: config.LocalID, Address: address}}}
	if err := raft.BootstrapCluster(config, store, store, snapshots, transport, voters); err != nil {
		return fmt.Errorf("bootstrap raft: %w", err)
	}
	r, err := raft.NewRaft(config, c.machine, store, store, snapshots, transport)
	if err != nil {
		return fmt.Errorf("start raft: %w", err)
	}
	c.raft, c.transport = r, transport
	return nil
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
	err := c.raft.Shutdown().Error()
	if closer, ok := c.transport.(raft.WithClose); ok {
		err = errors.Join(err, closer.Close()) // after raft, which uses it to the end
	}
	if err != nil {
		return fmt.Errorf("close cluster: %w", err)
	}
	return nil
}
