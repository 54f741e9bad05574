package cluster

import (
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/hashicorp/raft"
)

// Recover makes this node the only voter of its cluster, after the majority of the voters is lost for good. No node may be running from
// config.Dir. What this node knows counts from then on, agreed on or not, and the cluster has a new generation, so that ranks refuse whoever
// still follows the old one. Afterwards the node is started as always; it coordinates, and others are given votes again as they come. Nodes
// that had a vote and do not come back from their own copy: they would agree with each other on something else. They have to join anew.
func Recover(config Config) (err error) {
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	if config.Dir == "" {
		return fmt.Errorf("recover cluster: %w: nothing is kept", ErrState)
	}
	c := &Cluster{node: config.Node, logger: config.Logger, machine: newMachine(), solo: true}
	logs, stable, snapshots, err := c.openStorage(config.Dir)
	if err != nil {
		return fmt.Errorf("recover cluster: %w", err)
	}
	address, network := raft.NewInmemTransport(raft.ServerAddress(c.node))
	c.transport = network
	defer func() { err = errors.Join(err, c.closeRaft()) }()
	voters := raft.Configuration{Servers: []raft.Server{{ID: raft.ServerID(c.node), Address: address}}}
	if err := raft.RecoverCluster(c.raftSettings(nil), (*recovering)(c.machine), logs, stable, snapshots, network, voters); err != nil {
		return fmt.Errorf("recover cluster: %w: %w", ErrState, err)
	}
	return nil
}

// recovering is the machine whose snapshot begins the next generation.
type recovering machine

var _ raft.FSM = (*recovering)(nil)

func (r *recovering) Apply(log *raft.Log) any            { return (*machine)(r).Apply(log) }
func (r *recovering) Restore(source io.ReadCloser) error { return (*machine)(r).Restore(source) }

// Snapshot is what the node starts from. A plan that was being prepared is forgotten.
func (r *recovering) Snapshot() (raft.FSMSnapshot, error) {
	m := (*machine)(r)
	m.mu.Lock()
	m.state.Generation++
	m.state.Prepared = nil
	m.mu.Unlock()
	return m.Snapshot()
}
