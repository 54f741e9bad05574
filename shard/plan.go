package shard

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
}

// Plan says which node computes which part of the model. A plan of one node has one stage with one rank.
type Plan struct {
	Epoch  Epoch   `json:"epoch"`
	Model  string  `json:"model"` // digest of the packed model
	Stages []Stage `json:"stages"`
}

// Shape is what the arithmetic of splitting has to know of a model.
type Shape struct {
	Layers, Heads, HeadDim, Inner, Vocab int
	Leaf                                 int // K is cut at multiples of this only
	PanelRows                            int // rows are cut at multiples of this only
}
