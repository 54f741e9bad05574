package engine

import (
	"errors"

	"polynode/engine/sample"
)

// What Submit refuses. Errors carry details in their text; callers test with errors.Is.
var (
	ErrQueueFull = errors.New("queue full")                 // try again later; see RetryAfter
	ErrTooLong   = errors.New("context length exceeded")    // the prompt alone passes the limit
	ErrTooLarge  = errors.New("request larger than the KV") // could not run even alone
	ErrRequest   = errors.New("invalid request")            // a field is out of range
	ErrClosed    = errors.New("engine closed")              // shutting down or draining
	ErrCancelled = errors.New("request cancelled")          // by the caller
	ErrStep      = errors.New("step")                       // the executor could not run a step
)

// Limits of one request.
const (
	ChoicesMax = 8  // n, best_of and num_beams
	TopMax     = 20 // reported alternatives of a token
	StopsMax   = 16 // stop token ids
)

// Request is one prompt and what to make of it. The engine speaks tokens only; text, stop strings and templates are the
// business of its callers.
type Request struct {
	ID     string
	Prompt []int32 // at least one token

	MaxTokens int     // of output; clamped to the context. 0 computes the prompt alone
	MinTokens int     // no stop id is sampled before
	StopIDs   []int32 // ids that end a sequence and are its last token; normally the model's EOS

	Choices int // sequences to return: n; 0 is 1
	BestOf  int // sequences to sample; the Choices likeliest per token are returned at the end, best first; 0 is Choices
	Params  sample.Params

	Beams         int     // 0 or 1 is no beam search; otherwise Choices ≤ Beams and Params must be greedy
	LengthPenalty float32 // beam scores are divided by length^penalty; the usual value is 1
	EarlyStopping bool    // end as soon as Beams finished hypotheses exist

	Logprobs       bool // report the log-probability of each output token
	Top            int  // and of that many likeliest tokens; alone it means Logprobs
	PromptLogprobs bool // report the same of the prompt's tokens
}

// FinishReason says why a sequence ended.
type FinishReason string

// The reasons. They are OpenAI's words.
const (
	FinishStop   FinishReason = "stop"
	FinishLength FinishReason = "length"
)

// Event is a piece of news about one choice of a request: one for each token, stop ids included. Those of beams and of best_of
// come at the end, one choice after the other. Slices belong to the receiver.
type Event struct {
	Choice  int
	Token   int32 // -1 when the event carries no token
	Logprob float32
	Top     []sample.Candidate
	Finish  FinishReason // set on the last event of a choice

	// Prompt is sent once, before any token, when prompt log-probabilities were asked for: Prompt[i] is the target
	// of position i (nothing is known of position 0).
	Prompt []Target
}
