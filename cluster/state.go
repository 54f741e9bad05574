package cluster

import (
	"maps"

	"polynode/cluster/trust"
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

	Tokens      map[string]trust.TokenRecord `json:"tokens,omitempty"`      // by id
	Revocations map[string]Revocation        `json:"revocations,omitempty"` // by what they are about, see Revocation.key
	Keys        *Keys                        `json:"keys,omitempty"`
}

// Node is a machine that belongs to the cluster.
type Node struct {
	ID       shard.NodeID `json:"id"`
	Name     string       `json:"name,omitempty"`      // for people; two nodes may have the same
	Role     trust.Role   `json:"role,omitempty"`      // empty: a worker
	NonVoter bool         `json:"non_voter,omitempty"` // it is never asked to vote
	Address  string       `json:"address,omitempty"`   // where it was when it joined; gossip knows better
	Serial   string       `json:"serial,omitempty"`    // of the last certificate that it was given
	Token    string       `json:"token,omitempty"`     // id of the token by which it joined; empty for the first node
	Phase    Phase        `json:"phase"`
	Facts    Facts        `json:"facts"`
	Index    uint64       `json:"index"` // of its last change
}

// Works says whether the node may hold layers.
func (n Node) Works() bool { return n.Role != trust.Witness }

// Phase is where a node is in its life within the cluster.
type Phase string

// The phases. Only ready nodes get into a new plan.
const (
	Joining  Phase = "joining"
	Ready    Phase = "ready"
	Draining Phase = "draining"
	Gone     Phase = "gone"
)

// Facts are what was measured on a node; a joiner brings them with its request.
type Facts = trust.Facts

// Revocation takes certificates of a node back: one of them, or all and the node with them.
type Revocation struct {
	Node   shard.NodeID `json:"node"`
	Serial string       `json:"serial,omitempty"` // empty: all
	Until  int64        `json:"until"`            // seconds since 1970; afterwards they have expired anyway
	Index  uint64       `json:"index,omitempty"`  // at which it was agreed on
}

func (r Revocation) key() string {
	if r.Serial == "" {
		return string(r.Node)
	}
	return string(r.Node) + "/" + r.Serial
}

// Keys are the roots of the cluster's certificates and the keys of its gossip.
type Keys struct {
	trust.Keys
	Index uint64 `json:"index"` // of their last change
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
	// TokensMax is how many join tokens are known. Where it is reached, those that nobody can use any more are forgotten.
	TokensMax = 256
	// RevokedMax is how many revocations are known. Where it is reached, those of expired certificates are forgotten.
	RevokedMax = 1024
)

// Epoch is that of the active plan, 0 when there is none.
func (s *State) Epoch() shard.Epoch {
	if s.Plan == nil {
		return 0
	}
	return s.Plan.Epoch
}

// Revoked says whether a certificate was taken back. It has the form of trust.Revoked.
func (s *State) Revoked(node shard.NodeID, serial string) bool {
	if _, all := s.Revocations[Revocation{Node: node}.key()]; all {
		return true
	}
	_, one := s.Revocations[Revocation{Node: node, Serial: serial}.key()]
	return one && serial != ""
}

// Joined says whether a node joined by a token. Its join is counted, so it may have the answer again (trust.Admit).
func (s *State) Joined(node shard.NodeID, token string) bool {
	n, there := s.Nodes[node]
	return there && token != "" && n.Token == token
}

// Clone is a copy that shares no memory with the state.
func (s *State) Clone() *State {
	c := *s
	c.Nodes = maps.Clone(s.Nodes)
	c.Models = maps.Clone(s.Models)
	c.Tokens = maps.Clone(s.Tokens)
	c.Revocations = maps.Clone(s.Revocations)
	if s.Keys != nil {
		c.Keys = &Keys{Keys: s.Keys.Keys.Clone(), Index: s.Keys.Index}
	}
	if s.Plan != nil {
		c.Plan = s.Plan.Clone()
	}
	if s.Prepared != nil {
		c.Prepared = &Prepared{Index: s.Prepared.Index, Plan: *s.Prepared.Plan.Clone()}
	}
	return &c
}
