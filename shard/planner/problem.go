package planner

import (
	"errors"

	"polynode/shard"
)

// ErrProblem reports facts from which no plan can be made, such as two nodes of one name.
var ErrProblem = errors.New("planning problem")

// ErrNoPlan reports that the model fits into no combination of the nodes. The text says how many bytes are missing where.
var ErrNoPlan = errors.New("no plan")

// NodesMax is the most nodes that a problem may have.
const NodesMax = 1024

// Objective is what a plan is chosen for.
type Objective string

// The objectives. Latency is the time of one token of one sequence; throughput the tokens a second of many sequences.
const (
	Latency    Objective = "latency"
	Throughput Objective = "throughput"
)

// Node is what was measured of one node.
type Node struct {
	ID           shard.NodeID
	MemoryBytes  int64     // that weights, keys and values and buffers of a rank may use
	ReadGBs      float64   // 1e9 bytes a second that its threads read from memory together
	MultiplyGOPs float64   // 1e9 operations a second in products of many rows; a multiply-add is two
	Class        string    // numeric class; a plan never mixes two
	Witness      bool      // votes, computes nothing
	Draining     bool      // about to leave
	Unreachable  bool      // cannot be talked to at the moment
	DiskBytes    int64     // that slices may take in all, held ones included; 0 is enough for everything
	Holds        []Holding // slices of this model on its disk
}

// Holding is a part of the model on a disk: these heads and FFN columns of these layers, and these rows of the head.
type Holding struct {
	Layers shard.Slice `json:"layers"`
	Heads  shard.Slice `json:"heads"`
	Inner  shard.Slice `json:"inner"`
	Vocab  shard.Slice `json:"vocab"`
	Embed  bool        `json:"embed"` // the whole token embedding, which a first stage looks tokens up in
}

// Link is what was measured between two nodes. The zero Link is none: the two cannot talk.
type Link struct {
	RoundTripS float64 // seconds from sending a small message to having the answer
	BytesPerS  float64 // in each direction
}

// Pair is the link of two nodes, the same both ways.
type Pair struct {
	A, B shard.NodeID
	Link Link
}

// Links are the links of all nodes: Default where Pairs has none. Of two entries for the same pair the later one counts.
type Links struct {
	Default Link
	Pairs   []Pair
}

// Model is what the planner has to know of a packed model.
type Model struct {
	Digest         string // goes into the plan
	Shape          shard.Shape
	Positions      int     // tokens of a full context
	BytesPerWeight float64 // 0.5625 for 4.5 bits
	BytesPerKV     float64 // of one key or value: 2 for f16
	Tied           bool    // the head is the token embedding, stored once
}

// Workload is what the plan is to be good at.
type Workload struct {
	Objective   Objective
	Context     int     // tokens that a decoded token looks back on
	Sequences   int     // that run together; 1 for latency
	Prompt      int     // tokens of a prompt
	PromptShare float64 // prompt tokens for each generated one: how much the speed of prompts weighs
	StepTokens  int     // rows for which a rank has buffers
}

// DefaultWorkload is one sequence for latency, 16 together for throughput, at a context of 512 tokens.
func DefaultWorkload(objective Objective) Workload {
	w := Workload{Objective: objective, Context: 512, Sequences: 1, Prompt: 256, PromptShare: 0.25, StepTokens: 256}
	if objective == Throughput {
		w.Sequences = 16
	}
	return w
}

// Costs are the constants of the model of time. What differs from node to node stands in Node and Link.
type Costs struct {
	ReadShare      float64 // of ReadGBs that products of few rows reach
	KVReadShare    float64 // of ReadGBs that attention reaches
	MultiplyShare  float64 // of MultiplyGOPs that products of many rows reach
	AttentionShare float64 // of MultiplyGOPs that attention reaches
	SumBytes       float64 // on the wire for each value of an all-reduce, packed: transport/collective
	RowBytes       float64 // on the wire for each row of an all-gather of candidates
	MessageS       float64 // seconds that a message costs its sender and its receiver, whatever its size
	ByteS          float64 // seconds that a byte of it costs them
	LayerS         float64 // seconds of a layer that no other term has
	StepS          float64 // seconds of a step that no other term has
}

// DefaultCosts are figures measured with this program on x86 and in a network of 0.25 ms each way: docs/planning.md.
func DefaultCosts() Costs {
	return Costs{
		ReadShare: 0.9, KVReadShare: 0.65, MultiplyShare: 1, AttentionShare: 0.15,
		SumBytes: 2.3, RowBytes: 256, MessageS: 30e-6, ByteS: 4.2e-9,
		LayerS: 20e-6, StepS: 0.5e-3,
	}
}

// Problem is everything that a plan is made from. It is only read.
type Problem struct {
	Nodes       []Node
	Links       Links
	Model       Model
	Workload    Workload
	Costs       Costs
	Coordinator shard.NodeID // that hands out steps; empty is the first node of the plan
	Current     *shard.Plan  // the plan that holds now; nil if there is none
	Gain        float64      // share of the time that a new plan has to save before it replaces Current: 0.05 is 5 %
}

// GainDefault is the Gain for a cluster at work.
const GainDefault = 0.05
