package shard

import "slices"

// NodeID names a node for its whole life; it is derived from the node's key, never from its address.
type NodeID string

// Epoch numbers the plans of a cluster; it only grows, and frames of an older one are refused.
type Epoch uint64

// Rank places one share of a stage on a node. Heads, Inner and Vocab are cut independently, each in proportion to
// what the node can do; an empty slice is allowed.
type Rank struct {
	Node  NodeID `json:"node"`
	Heads Slice  `json:"heads"` // attention heads of every layer of the stage
	Inner Slice  `json:"inner"` // FFN columns of every layer of the stage
	Vocab Slice  `json:"vocab"` // rows of the head; only the last stage has any
}

// Stage is a run of layers and the group of ranks that split each of its matrices.
type Stage struct {
	Layers Slice  `json:"layers"`
	Group  []Rank `json:"group"`
	// DelayBytes is what a link between two ranks carries in the time that a message takes beside its bytes, as measured when the plan
	// was made. All ranks choose by it how they exchange sums. 0 is unknown.
	DelayBytes int64 `json:"delay_bytes,omitempty"`
}

// DelayBytesMax is more than any link carries while a message is under way.
const DelayBytesMax = 1 << 40

// Plan says which node computes which part of the model. A plan of one node has one stage with one rank.
type Plan struct {
	Epoch  Epoch   `json:"epoch"`
	Model  string  `json:"model"` // digest of the packed model
	Stages []Stage `json:"stages"`
}

// Find looks up the place of a node. A node has at most one rank in a valid plan.
func (p *Plan) Find(node NodeID) (stage, rank int, ok bool) {
	for s := range p.Stages {
		for r := range p.Stages[s].Group {
			if p.Stages[s].Group[r].Node == node {
				return s, r, true
			}
		}
	}
	return 0, 0, false
}

// Nodes lists the nodes of the plan, stage by stage and rank by rank.
func (p *Plan) Nodes() []NodeID {
	var nodes []NodeID
	for _, stage := range p.Stages {
		for _, rank := range stage.Group {
			nodes = append(nodes, rank.Node)
		}
	}
	return nodes
}

// First reports whether the stage embeds tokens.
func (p *Plan) First(stage int) bool { return stage == 0 }

// Last reports whether the stage makes logits.
func (p *Plan) Last(stage int) bool { return stage == len(p.Stages)-1 }

// Clone is a copy that shares no memory with the plan.
func (p *Plan) Clone() *Plan {
	c := *p
	c.Stages = slices.Clone(p.Stages)
	for i := range c.Stages {
		c.Stages[i].Group = slices.Clone(c.Stages[i].Group)
	}
	return &c
}
