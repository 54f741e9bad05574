package engine

import (
	"fmt"
	"slices"

	"polynode/engine/sample"
)

// More limits of one request.
const (
	IDBytesMax       = 512
	LengthPenaltyMax = 16 // either sign
)

// normal fills in what a zero field means and gives the request slices of its own.
func (r Request) normal(positions int) Request {
	r.Choices = max(r.Choices, 1)
	r.BestOf = max(r.BestOf, r.Choices)
	r.MaxTokens = min(r.MaxTokens, positions-len(r.Prompt)+1) // the last token sampled is never fed back
	if r.Beams == 1 {
		r.Beams = 0
	}
	if r.Top > 0 && !r.PromptLogprobs {
		r.Logprobs = true
	}
	r.Prompt = slices.Clone(r.Prompt)
	r.StopIDs = slices.Clone(r.StopIDs)
	r.Params.Bias = slices.Clone(r.Params.Bias)
	r.Params.Banned = slices.Clone(r.Params.Banned)
	return r
}

// width is the number of sequences that a normal request may have at a time.
func (r *Request) width() int {
	switch {
	case r.MaxTokens == 0:
		return 1
	case r.Beams > 0:
		return r.Beams
	}
	return r.BestOf
}

// worst is the number of blocks that a normal request holds at most. Sequences share the full blocks of the prompt, but not
// the one of its last position: there each choice begins for itself.
func (r *Request) worst() int {
	prompt := len(r.Prompt)
	each := blocksFor(prompt + max(r.MaxTokens, 1) - 1)
	width := r.width()
	if width == 1 {
		return each
	}
	shared := (prompt - 1) / BlockTokens
	if r.Beams > 0 {
		shared = prompt / BlockTokens
	}
	return shared + width*(each-shared)
}

// check refuses what cannot be served. The error names the field.
func (c *Config) check(r *Request) error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", ErrRequest, fmt.Sprintf(format, args...))
	}
	switch {
	case len(r.ID) > IDBytesMax:
		return bad("id has %d bytes, want at most %d", len(r.ID), IDBytesMax)
	case len(r.Prompt) == 0:
		return bad("prompt is empty")
	case len(r.Prompt) > c.Positions:
		return fmt.Errorf("%w: the prompt has %d tokens, the context %d", ErrTooLong, len(r.Prompt), c.Positions)
	case r.MaxTokens < 0:
		return bad("max_tokens is %d, want 0 or more", r.MaxTokens)
	case r.MinTokens < 0 || r.MinTokens > r.MaxTokens:
		return bad("min_tokens is %d, want 0 to max_tokens, which is %d", r.MinTokens, r.MaxTokens)
	case len(r.StopIDs) > StopsMax:
		return bad("stop_token_ids has %d ids, want at most %d", len(r.StopIDs), StopsMax)
	case r.Choices < 0 || r.Choices > ChoicesMax:
		return bad("n is %d, want 1 to %d", r.Choices, ChoicesMax)
	case r.BestOf != 0 && (r.BestOf < max(r.Choices, 1) || r.BestOf > ChoicesMax):
		return bad("best_of is %d, want n, which is %d, to %d", r.BestOf, max(r.Choices, 1), ChoicesMax)
	case r.Top < 0 || r.Top > TopMax:
		return bad("top_logprobs is %d, want 0 to %d", r.Top, TopMax)
	}
	for _, list := range []struct {
		name string
		ids  []int32
	}{{"prompt", r.Prompt}, {"stop_token_ids", r.StopIDs}} {
		for i, id := range list.ids {
			if id < 0 || c.Vocabulary > 0 && int(id) >= c.Vocabulary {
				return bad("%s[%d] is %d, which is no token of a vocabulary of %d", list.name, i, id, c.Vocabulary)
			}
		}
	}
	if err := r.Params.Validate(c.Vocabulary); err != nil {
		return fmt.Errorf("%w: %w", ErrRequest, err)
	}
	return c.checkBeams(r, bad)
}

func (c *Config) checkBeams(r *Request, bad func(string, ...any) error) error {
	if r.Beams == 0 || r.Beams == 1 {
		return nil
	}
	choices, plain := max(r.Choices, 1), r.Params
	plain.Temperature = 0
	switch {
	case r.Beams < 0 || r.Beams > ChoicesMax:
		return bad("num_beams is %d, want 1 to %d", r.Beams, ChoicesMax)
	case r.Beams < choices:
		return bad("num_beams is %d and less than n, which is %d", r.Beams, choices)
	case r.BestOf > choices:
		return bad("best_of is %d; beam search returns the best of its beams by itself", r.BestOf)
	case r.Params.Temperature != 0:
		return bad("temperature is %v; beam search does not sample", r.Params.Temperature)
	case !r.Params.Plain():
		return bad("penalties, logit_bias and banned tokens do not go with beam search")
	case !(r.LengthPenalty >= -LengthPenaltyMax && r.LengthPenalty <= LengthPenaltyMax):
		return bad("length_penalty is %v, want %d to %d", r.LengthPenalty, -LengthPenaltyMax, LengthPenaltyMax)
	}
	return nil
}

// checkSize refuses a normal request that could not run even alone, in so many blocks.
func (c *Config) checkSize(r *Request, blocks int) error {
	if width := r.width(); width > c.SequencesMax {
		return fmt.Errorf("%w: it has %d sequences, a step at most %d", ErrTooLarge, width, c.SequencesMax)
	}
	if worst, all := r.worst(), blocks-1; worst > all {
		return fmt.Errorf("%w: a prompt of %d tokens and %d more in %d sequences take up to %d blocks of %d positions, there are %d",
			ErrTooLarge, len(r.Prompt), r.MaxTokens, r.width(), worst, BlockTokens, all)
	}
	return nil
}

// beamOptions of a normal request.
func (r *Request) beamOptions() sample.BeamOptions {
	o := sample.BeamOptions{
		Beams: r.Beams, LengthPenalty: r.LengthPenalty, EarlyStopping: r.EarlyStopping,
		Stop: r.StopIDs, Prompt: len(r.Prompt), MinTokens: r.MinTokens, MaxTokens: r.MaxTokens,
	}
	if r.Logprobs {
		o.Top = r.Top
	}
	return o
}
