package planner

import "polynode/shard"

// Report is what Plan chose and why, for people and programs. Times are predictions.
type Report struct {
	Plan      *shard.Plan  `json:"plan"` // nil when there is none
	Objective Objective    `json:"objective"`
	Kept      bool         `json:"kept"`             // Plan is the current one, because no other gains enough
	Repaired  bool         `json:"repaired"`         // Plan is the current one without its lost nodes: it can start at once, and others may be better
	Reason    string       `json:"reason,omitempty"` // why the plan was kept or replaced, in words
	Times     Prediction   `json:"times"`
	Ranks     []RankReport `json:"ranks"` // stage by stage and rank by rank
	Idle      []Idle       `json:"idle"`  // in order of name
	Solo      *Alternative `json:"solo,omitempty"`

	MoveBytes int64 `json:"move_bytes"` // that have to be fetched before the plan can start
	Searched  int   `json:"searched"`   // plans that were priced
	Exact     bool  `json:"exact"`      // whether these were all that there are
}

// Prediction is how fast a plan should be.
type Prediction struct {
	Score            float64 `json:"score_ms"` // what was minimised: milliseconds for each generated token, prompts included
	StepMS           float64 `json:"step_ms"`  // from a token to the next of the same sequence
	TokensPerS       float64 `json:"tokens_per_s"`
	PromptTokensPerS float64 `json:"prompt_tokens_per_s"`
	Terms            Terms   `json:"terms_ms"` // of StepMS
	Sequences        int     `json:"sequences"`
	Batches          int     `json:"batches"` // into which the sequences are divided, so that stages work at the same time
	KVTokens         int     `json:"kv_tokens"`
}

// Terms divides a time, in milliseconds.
type Terms struct {
	Weights   float64 `json:"weights"`   // reading and multiplying the matrices of the layers
	Attention float64 `json:"attention"` // reading keys and values
	Head      float64 `json:"head"`      // from the last layer to logits
	Sync      float64 `json:"sync"`      // all-reduces and all-gathers
	Hop       float64 `json:"hop"`       // from stage to stage, to and from the coordinator
	Wait      float64 `json:"wait"`      // for slower ranks of the group, and for other batches
	Other     float64 `json:"other"`
}

// Sum is all terms together.
func (t Terms) Sum() float64 {
	return t.Weights + t.Attention + t.Head + t.Sync + t.Hop + t.Wait + t.Other
}

// RankReport is the place of one node in the plan.
type RankReport struct {
	Node   shard.NodeID `json:"node"`
	Stage  int          `json:"stage"`
	Rank   int          `json:"rank"`
	Layers shard.Slice  `json:"layers"`
	Heads  shard.Slice  `json:"heads"`
	Inner  shard.Slice  `json:"inner"`
	Vocab  shard.Slice  `json:"vocab"`
	Terms  Terms        `json:"terms_ms"` // of one pass of its stage
	Memory Memory       `json:"memory"`
	Move   int64        `json:"move_bytes"` // that it has to fetch
}

// Memory is what a rank needs, in bytes.
type Memory struct {
	Weights   int64 `json:"weights"`
	KV        int64 `json:"kv"` // for one full context
	Buffers   int64 `json:"buffers"`
	Available int64 `json:"available"`
}

// Need is all of it.
func (m Memory) Need() int64 { return m.Weights + m.KV + m.Buffers }

// Cause is why a node has no place in a plan.
type Cause string

// The causes.
const (
	Slower      Cause = "slower"      // the plan would be slower with it
	NoMemory    Cause = "memory"      // it has no room for the smallest share
	IsWitness   Cause = "witness"     // it only votes
	IsDraining  Cause = "draining"    // it is about to leave
	OtherClass  Cause = "class"       // its numbers differ in the last bits
	Unreachable Cause = "unreachable" // it cannot be talked to, or not by the others
	NoGain      Cause = "gain"        // the plan would be better with it, by too little to move weights for
)

// Idle is a node without a place in the plan.
type Idle struct {
	Node   shard.NodeID `json:"node"`
	Cause  Cause        `json:"cause"`
	Slower float64      `json:"slower,omitempty"` // by which the best plan found with it is slower: 0.1 is 10 %
	Reason string       `json:"reason"`           // in words
}

// Alternative is another plan that the chosen one may be compared with.
type Alternative struct {
	Node  shard.NodeID `json:"node"`
	Times Prediction   `json:"times"`
}
