package cluster

import (
	"maps"

	"polynode/shard"
)

// State is what all nodes of a cluster agree on. The zero State is that of a cluster that was not founded yet.
type State struct {
	ID         string                `json:"id"`         // of the cluster; empty until it is founded
	Generation uint64                `json:"generation"` // grows when the cluster is recovered by force
	Nodes      map[shard.NodeID]Node `json:"nodes"`
	Models     map[string]Model      `json:"models"` // by digest
	Plan       *shard.Plan           `json:"plan,omitempty"`
	Prepared   *Prepared             `json:"prepared,omitempty"`
}

// Node is a machine that belongs to the cluster.
type Node struct {
	ID    shard.NodeID `json:"id"`
	Phase Phase        `json:"phase"`
	Facts Facts        `json:"facts"`
	Index uint64       `json:"index"` // of its last change
}

// Phase is where a node is in its life within the cluster.
type Phase string

// The phases. Only ready nodes get into a new plan.
const (
	Joining  Phase = "joining"
	Ready    Phase = "ready"
	Draining Phase = "draining"
	Gone     Phase = "gone"
)

// Facts are what was measured on a node. They are whole numbers, so that every replica reads the same.
type Facts struct {
	Version        string `json:"version"` // of the program
	Cores          int    `json:"cores"`
	MemoryBytes    int64  `json:"memory_bytes"`     // that a model may use
	BytesPerSecond int64  `json:"bytes_per_second"` // read from memory
	OpsPerSecond   int64  `json:"ops_per_second"`
}

// Model is a packed model that the cluster can serve.
type Model struct {
	Digest string      `json:"digest"`
	Name   string      `json:"name"`
	Shape  shard.Shape `json:"shape"`
	Index  uint64      `json:"index"` // of its last change
}

// Prepared is a plan that ranks make themselves ready for while another one is active. Its epoch is zero.
type Prepared struct {
	Index uint64     `json:"index"` // of the preparation
	Plan  shard.Plan `json:"plan"`
}

// Limits of the state. More is refused with ErrFull.
const (
	NodesMax  = 1024
	ModelsMax = 64
)

// Epoch is that of the active plan, 0 when there is none.
func (s *State) Epoch() shard.Epoch {
	if s.Plan == nil {
		return 0
	}
	return s.Plan.Epoch
}

// Clone is a copy that shares no memory with the state.
func (s *State) Clone() *State {
	c := *s
	c.Nodes = maps.Clone(s.Nodes)
	c.Models = maps.Clone(s.Models)
	if s.Plan != nil {
		c.Plan = s.Plan.Clone()
	}
	if s.Prepared != nil {
		c.Prepared = &Prepared{Index: s.Prepared.Index, Plan: *s.Prepared.Plan.Clone()}
	}
	return &c
}
