package model

import (
	"errors"
	"fmt"
)

// ErrConfig reports a model description that no GPT-2/PolyLM network can have.
var ErrConfig = errors.New("model config")

// Activation names the nonlinearity between the two FFN matrices.
type Activation string

// The activations that published PolyLM and GPT-2 checkpoints use. GELUFast and
// GELUNew are the same function (the tanh form) written two ways; they share one kernel.
const (
	GELUFast Activation = "gelu_fast"
	GELUNew  Activation = "gelu_new"
	GELUErf  Activation = "gelu"
)

// Config is the shape of one PolyLM network: GPT-2 with learned positions, no BOS and a
// SentencePiece vocabulary. It is stored in the manifest of a packed model.
type Config struct {
	Layers    int `json:"layers"`
	Heads     int `json:"heads"`
	Embed     int `json:"embed"`     // width of the residual stream
	Inner     int `json:"inner"`     // width of the FFN
	Vocab     int `json:"vocab"`     // rows of the embedding, at least Pieces
	Pieces    int `json:"pieces"`    // pieces of the tokenizer; logits from here on are masked
	Positions int `json:"positions"` // learned positions: the context limit in tokens

	Activation Activation `json:"activation"`
	Epsilon    float32    `json:"epsilon"`   // added to the variance in LayerNorm
	EOS        int32      `json:"eos"`       // token that ends a text
	TiedHead   bool       `json:"tied_head"` // the head is the token embedding
}

// Limits on what a model may claim to be. They keep every product of two sizes far from
// overflow and bound what a hostile checkpoint can make us allocate.
const (
	LayersMax    = 1 << 10
	EmbedMax     = 1 << 16
	InnerMax     = 1 << 18
	VocabMax     = 1 << 21
	PositionsMax = 1 << 16
)

// HeadDim is the width of one attention head.
func (c *Config) HeadDim() int { return c.Embed / c.Heads }

// Validate reports everything that is wrong with the description at once, wrapping ErrConfig.
func (c *Config) Validate() error {
	var errs []error
	bound := func(name string, value, limit int) {
		if value < 1 || value > limit {
			errs = append(errs, fmt.Errorf("%w: %s is %d, want 1 to %d", ErrConfig, name, value, limit))
		}
	}
	bound("layers", c.Layers, LayersMax)
	bound("embed", c.Embed, EmbedMax)
	bound("inner", c.Inner, InnerMax)
	bound("vocab", c.Vocab, VocabMax)
	bound("positions", c.Positions, PositionsMax)
	bound("heads", c.Heads, max(c.Embed, 1))
	bound("pieces", c.Pieces, max(c.Vocab, 1))
	if c.Heads > 0 && c.Embed%c.Heads != 0 {
		errs = append(errs, fmt.Errorf("%w: embed %d is not a multiple of heads %d", ErrConfig, c.Embed, c.Heads))
	}
	switch c.Activation {
	case GELUFast, GELUNew, GELUErf:
	default:
		errs = append(errs, fmt.Errorf("%w: activation %q, want %s, %s or %s", ErrConfig, c.Activation, GELUFast, GELUNew, GELUErf))
	}
	if !(c.Epsilon > 0 && c.Epsilon < 1) {
		errs = append(errs, fmt.Errorf("%w: epsilon is %g, want between 0 and 1", ErrConfig, c.Epsilon))
	}
	if c.EOS < 0 || int(c.EOS) >= c.Vocab {
		errs = append(errs, fmt.Errorf("%w: eos %d is not a row of the vocabulary (%d)", ErrConfig, c.EOS, c.Vocab))
	}
	return errors.Join(errs...)
}

// Parameters counts the weights, a tied head once.
func (c *Config) Parameters() int64 {
	d, n := int64(c.Embed), int64(c.Inner)
	layer := 4*d*d + 4*d + 2*d*n + d + n + 4*d // attention, FFN, two LayerNorms
	total := int64(c.Layers)*layer + int64(c.Vocab+c.Positions)*d + 2*d
	if !c.TiedHead {
		total += int64(c.Vocab) * d
	}
	return total
}
