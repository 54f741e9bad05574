package cluster

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/hashicorp/raft"

	"polynode/shard"
)

// Recover makes this node the only voter of its cluster, after the majority of the voters is lost for good. No node may be running from
// config.Dir. What this node knows counts from then on, agreed on or not, and the cluster has a new generation, so that ranks refuse whoever
// still follows the old one. Afterwards the node is started as always; it coordinates, and others are given votes again as they come. All other
// nodes are shut out, those without a vote too: their logs may hold what this node never heard of, and those that voted would agree with each
// other on something else. They have to join anew.
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
	if err := raft.RecoverCluster(c.raftSettings(nil), &recovering{machine: c.machine, self: c.node, now: time.Now()}, logs, stable, snapshots, network, voters); err != nil {
		return fmt.Errorf("recover cluster: %w: %w", ErrState, err)
	}
	return nil
}

// recovering is the machine whose snapshot begins the next generation.
type recovering struct {
	*machine
	self shard.NodeID
	now  time.Time
}

var _ raft.FSM = (*recovering)(nil)

// Snapshot is what the node starts from. A plan that was being prepared is forgotten.
func (r *recovering) Snapshot() (raft.FSMSnapshot, error) {
	m := r.machine
	m.mu.Lock()
	m.state.Generation++
	m.state.Prepared = nil
	for id := range m.state.Nodes {
		if id == r.self {
			continue
		}
		delete(m.state.Nodes, id)
		gone := Revoke(id, "", r.now.Unix()).Revocation
		put(&m.state.Revocations, gone.key(), *gone)
	}
	m.mu.Unlock()
	return m.Snapshot()
}

// Look reads what the folder of a node that is down remembers: the state as far as the node knows it, agreed on or not, and who votes.
func Look(config Config) (state *State, voters []shard.NodeID, err error) {
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	if _, err := os.Stat(config.Dir); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	c := &Cluster{node: config.Node, logger: config.Logger, machine: newMachine(), solo: true}
	logs, stable, snapshots, err := c.openStorage(config.Dir)
	if err != nil {
		return nil, nil, err
	}
	_, network := raft.NewInmemTransport(raft.ServerAddress(c.node))
	c.transport = network
	defer func() { err = errors.Join(err, c.closeRaft()) }()
	if known, err := raft.HasExistingState(logs, stable, snapshots); err != nil || !known {
		return nil, nil, errors.Join(fmt.Errorf("%w: %s remembers no cluster", ErrState, config.Dir), err)
	}
	servers, err := raft.GetConfiguration(c.raftSettings(nil), c.machine, logs, stable, snapshots, network)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	for _, server := range servers.Servers {
		if server.Suffrage == raft.Voter {
			voters = append(voters, shard.NodeID(server.ID))
		}
	}
	if err := c.replay(logs, snapshots); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	return c.machine.copy(), voters, nil
}

// replay takes the machine from the newest snapshot to the end of the log.
func (c *Cluster) replay(logs raft.LogStore, snapshots raft.SnapshotStore) error {
	list, err := snapshots.List()
	if err != nil {
		return err
	}
	after := uint64(0)
	if len(list) > 0 {
		meta, reader, err := snapshots.Open(list[0].ID)
		if err != nil {
			return err
		}
		if err := c.machine.Restore(reader); err != nil {
			return err
		}
		after = meta.Index
	}
	first, err := logs.FirstIndex()
	if err != nil {
		return err
	}
	last, err := logs.LastIndex()
	if err != nil {
		return err
	}
	for index := max(first, after+1); index <= last && first > 0; index++ {
		var log raft.Log
		if err := logs.GetLog(index, &log); err != nil {
			return err
		}
		if log.Type == raft.LogCommand {
			c.machine.Apply(&log)
		}
	}
	return nil
}
