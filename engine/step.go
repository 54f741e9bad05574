package engine

import (
	"polynode/engine/sample"
	"polynode/shard"
)

// SequenceID names a sequence for the lifetime of an engine.
type SequenceID uint64

// BlockID names a block: a page of KV for BlockTokens positions, on every rank the same.
type BlockID = int32

// BlockTokens is the number of positions in a block.
const BlockTokens = 16

// Place is where a rank stands in a plan, and what all ranks of the plan have to have alike.
type Place struct {
	Generation uint64      `json:"generation"` // of the cluster
	Plan       *shard.Plan `json:"plan"`
	Stage      int         `json:"stage"`
	Rank       int         `json:"rank"`
	Blocks     int         `json:"blocks"`    // of KV, the same on every rank
	KVFormat   string      `json:"kv_format"` // as it is written in settings
}

// Step is one scheduled iteration: prompt chunks and single decoded tokens side by side. It carries all that a rank needs,
// so a rank keeps nothing of a sequence but the blocks.
type Step struct {
	Epoch  shard.Epoch
	ID     uint64
	Copies []BlockCopy // done before anything else, in order: copy on write
	Chunks []Chunk
}

// Decodes reports whether the step computes one token of each of some sequences, and nothing else. Probes do not count.
func (s *Step) Decodes() bool {
	for i := range s.Chunks {
		if len(s.Chunks[i].Tokens) != 1 || s.Chunks[i].Sequence == 0 {
			return false
		}
	}
	return len(s.Chunks) > 0
}

// BlockCopy asks each rank to copy the keys and values of one block.
type BlockCopy struct {
	Source, Target BlockID
}

// Chunk is a run of one sequence's tokens at positions Start, Start+1, … A block that it writes to, from that of Start on, is in
// no other chunk of the step; those before may be shared.
type Chunk struct {
	Sequence SequenceID // 0 is a probe, in block 0
	Tokens   []int32    // at least one
	Start    int        // position of Tokens[0]
	Blocks   []BlockID  // covers positions 0 to Start+len(Tokens)-1

	// Sample asks for the token at position Start+len(Tokens), which together with the seed is what randomness depends on.
	// A chunk that ends before the known tokens do does not sample.
	Sample   bool
	Params   *sample.Params
	History  []int32 // prompt and output so far; set only when Params needs it (penalties)
	Prompt   int     // how many of History are prompt
	Top      int     // how many of the likeliest tokens to report, for the sampled token and for each target
	Logprobs bool    // report log-probabilities of the chosen token

	// Targets asks for the log-probability of given next tokens: Targets[i] follows Tokens[i]. A target of -1 asks for
	// nothing. Empty when no prompt log-probabilities are wanted.
	Targets []int32
}

// Output is what a step gave, in the order of its chunks.
type Output struct {
	Results []Result
}

// Result is what one chunk gave. Log-probabilities are those of the model itself, before temperature, penalties and bias.
type Result struct {
	Token   int32              // the sampled token; -1 when the chunk did not sample or every token is banned
	Logprob float32            // of Token, when asked for
	Top     []sample.Candidate // log-probabilities, likeliest first
	Targets []Target           // by position of the chunk, when asked for
}

// Target is the log-probability of a given next token, its rank among all tokens (1 is likeliest) and the likeliest tokens.
type Target struct {
	Logprob float32
	Rank    int
	Top     []sample.Candidate
}
