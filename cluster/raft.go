package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"
)

// startRaft makes this node's raft, as a voter that knows of no others if it is to found a cluster. known tells that the folder remembers one.
func (c *Cluster) startRaft(ctx context.Context, config Config, notify chan<- bool) (known bool, err error) {
	settings := c.raftSettings(notify)
	settings.HeartbeatTimeout, settings.ElectionTimeout = electionTimeout, electionTimeout
	if config.Network == nil { // nobody will ever join
		settings.HeartbeatTimeout, settings.ElectionTimeout, settings.LeaderLeaseTimeout = soloTimeout, soloTimeout, soloTimeout
	}
	address := c.openTransport(ctx, config)
	logs, stable, snapshots, err := c.openStorage(config.Dir)
	if err == nil {
		known, err = raft.HasExistingState(logs, stable, snapshots)
	}
	if err == nil && !known && !config.Join {
		voters := raft.Configuration{Servers: []raft.Server{{ID: settings.LocalID, Address: address}}}
		err = raft.BootstrapCluster(settings, logs, stable, snapshots, c.transport, voters)
	}
	if err == nil {
		c.raft, err = raft.NewRaft(settings, c.machine, logs, stable, snapshots, c.transport)
	}
	if err == nil {
		err = c.standAlone(address)
	}
	if err != nil {
		return false, errors.Join(fmt.Errorf("start raft: %w", err), c.closeRaft())
	}
	return known, nil
}

// standAlone has a voter that knows of no other stand for election at once: there is nobody to wait for.
func (c *Cluster) standAlone(address raft.ServerAddress) error {
	servers, err := c.servers()
	if err != nil || c.solo || len(servers) != 1 || servers[0].ID != raft.ServerID(c.node) || servers[0].Suffrage != raft.Voter {
		return err
	}
	var answer raft.TimeoutNowResponse
	if err := c.transport.TimeoutNow(raft.ServerID(c.node), address, &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax}}, &answer); err != nil {
		c.logger.Info("no election before its time", "cause", err) // it comes by itself
	}
	return nil
}

func (c *Cluster) raftSettings(notify chan<- bool) *raft.Config {
	settings := raft.DefaultConfig()
	settings.LocalID = raft.ServerID(c.node)
	settings.LeaderLeaseTimeout = leaseTimeout
	settings.SnapshotThreshold = snapshotAfter
	settings.TrailingLogs = trailingLogs
	settings.ShutdownOnRemove = false // a node that comes back must find its raft alive
	settings.NotifyCh = notify
	settings.Logger = newRaftLogger(c.logger.With("source", "raft"))
	return settings
}

// openTransport gives raft its way to other nodes. A node's address is its name.
func (c *Cluster) openTransport(ctx context.Context, config Config) raft.ServerAddress {
	address := raft.ServerAddress(c.node)
	if config.Network == nil {
		_, c.transport = raft.NewInmemTransport(address)
		return address
	}
	c.transport = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream:  newStreams(context.WithoutCancel(ctx), config.Network, string(c.node)),
		MaxPool: streamsPooled,
		// One append at a time: a pipeline whose other end has a newer coordinator waits for ever to hand over what it sent too much, and raft,
		// when it is closed, for the pipeline. The log is short and its entries are few.
		MaxRPCsInFlight: 1,
		Timeout:         callTimeout,
		Logger:          newRaftLogger(c.logger.With("source", "raft")),
	})
	return address
}

// callTimeout is how long raft waits for an answer from another node.
const callTimeout = 2 * time.Second

// openStorage opens what dir remembers, or memory.
func (c *Cluster) openStorage(dir string) (raft.LogStore, raft.StableStore, raft.SnapshotStore, error) {
	if dir == "" {
		store := raft.NewInmemStore()
		return store, store, raft.NewInmemSnapshotStore(), nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	store, err := openLogStore(filepath.Join(dir, "raft.db"))
	if err != nil {
		return nil, nil, nil, err
	}
	c.storage = store
	snapshots, err := raft.NewFileSnapshotStoreWithLogger(dir, snapshotsKept, newRaftLogger(c.logger.With("source", "raft")))
	if err != nil {
		return nil, nil, nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	return store, store, snapshots, nil
}

// closeRaft ends raft and what it uses, in that order.
func (c *Cluster) closeRaft() error {
	var err error
	if c.raft != nil {
		err = c.raft.Shutdown().Error()
	}
	if closer, ok := c.transport.(raft.WithClose); ok {
		err = errors.Join(err, closer.Close())
	}
	if c.storage != nil {
		err = errors.Join(err, c.storage.Close())
	}
	return err
}
