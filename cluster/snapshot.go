package cluster

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"polynode/shard"
)

// ErrSnapshot reports bytes that are no state of this version.
var ErrSnapshot = errors.New("snapshot")

// SnapshotMax is the largest snapshot that is read, in bytes.
const SnapshotMax = 16 << 20

// snapshotVersion is the version of the format.
const snapshotVersion = 1

// snapshot is a state as it is kept: JSON, whose maps are written in the order of their keys.
type snapshot struct {
	Version int    `json:"version"`
	State   *State `json:"state"`
}

// Snapshot is the whole state in bytes. Equal states have equal bytes.
func (s *State) Snapshot() ([]byte, error) {
	data, err := json.Marshal(snapshot{Version: snapshotVersion, State: s})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSnapshot, err)
	}
	return data, nil
}

// Hash is the same on all nodes that applied the same commands.
func (s *State) Hash() ([sha256.Size]byte, error) {
	data, err := s.Snapshot()
	if err != nil {
		return [sha256.Size]byte{}, err
	}
	return sha256.Sum256(data), nil
}

// Restore reads a snapshot. What is not one gives ErrSnapshot.
func Restore(r io.Reader) (*State, error) {
	data, err := io.ReadAll(io.LimitReader(r, SnapshotMax+1))
	if err != nil {
		return nil, fmt.Errorf("%w: read: %w", ErrSnapshot, err)
	}
	if len(data) > SnapshotMax {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrSnapshot, SnapshotMax)
	}
	var snap snapshot
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&snap); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSnapshot, err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, fmt.Errorf("%w: bytes behind its end", ErrSnapshot)
	}
	if snap.Version != snapshotVersion || snap.State == nil {
		return nil, fmt.Errorf("%w: version %d, want %d", ErrSnapshot, snap.Version, snapshotVersion)
	}
	if snap.State.ID != "" {
		if snap.State.Nodes == nil {
			snap.State.Nodes = map[shard.NodeID]Node{}
		}
		if snap.State.Models == nil {
			snap.State.Models = map[string]Model{}
		}
	}
	return snap.State, nil
}
