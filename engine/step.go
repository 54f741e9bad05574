package engine

import (
	"context"

	"polynode/engine/sample"
	"polynode/shard"
)

// SequenceID names a sequence for the lifetime of an engine.
type SequenceID uint64

// BlockID names a block: a page of KV for BlockTokens positions, on every rank the same.
type BlockID = int32

// BlockTokens is the number of positions in a block.
const BlockTokens = 16

// Executor runs steps on the model, near or far. Execute is called by one goroutine at a time.
type Executor interface {
	// Execute runs the step on every rank of the plan and fills out, whose slices are reused. The step and out
	// belong to the caller again when it returns.
	Execute(ctx context.Context, step *Step, out *Output) error
}

// Step is one scheduled iteration: prompt chunks and single decoded tokens side by side. It carries all that a rank needs,
// so a rank keeps nothing of a sequence but the blocks.
type Step struct {
	Epoch  shard.Epoch
	ID     uint64
	Copies []BlockCopy // done before anything else: copy on write
	Chunks []Chunk
}

// BlockCopy asks each rank to copy the keys and values of one block.
type BlockCopy struct {
	Source, Target BlockID
}

// Chunk is a run of one sequence's tokens at positions Start, Start+1, …
type Chunk struct {
	Sequence SequenceID
	Tokens   []int32   // at least one
	Start    int       // position of Tokens[0]
	Blocks   []BlockID // covers positions 0 to Start+len(Tokens)-1

	// Sample asks for a token after the last position of the chunk. A chunk that ends before the known tokens do
	// does not sample.
	Sample   bool
	Params   *sample.Params
	History  []int32 // prompt and output so far; set only when Params needs it (penalties)
	Prompt   int     // how many of History are prompt
	Top      int     // how many of the likeliest tokens to report beside the chosen one
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
	Token   int32   // the sampled token; -1 when the chunk did not sample
	Logprob float32 // of Token, when asked for
	Top     []sample.Candidate
	Targets []Target // by position of the chunk, when asked for
}

// Target is the log-probability of a given next token, its rank among all tokens (1 is likeliest) and the likeliest tokens.
type Target struct {
	Logprob float32
	Rank    int
	Top     []sample.Candidate
}
