package sample

import (
	"errors"
	"fmt"
	"math"
)

// Limits of the parameters.
const (
	NucleusMax     = 1024 // candidates that top-p and min-p look at; a larger top-k counts as none
	BiasMax        = 1024 // biases of one sequence
	BannedMax      = 1024 // banned tokens of one sequence
	TemperatureMin = 0.01 // a smaller one, except 0, counts as this; vLLM does the same
	TemperatureMax = 100
	PenaltyMax     = 2   // of presence and frequency, either sign; OpenAI's limit
	RepetitionMax  = 100 // of the repetition penalty
	BiasValueMax   = 1e4 // of a bias, either sign; OpenAI's is 100
)

// ErrParams is wrapped by all errors of Validate.
var ErrParams = errors.New("invalid sampling parameter")

// Params is how one sequence's next token is chosen. The zero value is greedy.
//
// The order is vLLM's up to the temperature and that of transformers after it: bias, repetition, frequency and presence
// penalties, bans; then temperature, top-k, top-p (of what top-k left), min-p.
type Params struct {
	Temperature float32 // 0 is greedy
	TopK        int     // 0 is off
	TopP        float32 // 0 or 1 is off; the smallest set of likeliest tokens whose probability reaches it
	MinP        float32 // 0 is off; relative to the most likely token's probability

	RepetitionPenalty float32 // 0 or 1 is off; over prompt and output (Keskar et al. 2019)
	PresencePenalty   float32 // over output, once per token seen
	FrequencyPenalty  float32 // over output, times the count

	Bias   []Bias // added to single logits
	Banned []int32
	Seed   uint64 // with the position, the only source of randomness
}

// Bias is added to one token's logit.
type Bias struct {
	Token int32
	Value float32
}

// Candidate is a token and its score: a logit, or a log-probability where the name says so.
type Candidate struct {
	Token int32
	Score float32
}

// Greedy tells whether the likeliest token is chosen.
func (p *Params) Greedy() bool { return p.Temperature == 0 || p.TopK == 1 }

// Penalises tells whether the tokens so far matter.
func (p *Params) Penalises() bool {
	return p.repeats() || p.PresencePenalty != 0 || p.FrequencyPenalty != 0
}

// Plain tells whether logits are used as the model gives them.
func (p *Params) Plain() bool { return !p.Penalises() && len(p.Bias) == 0 && len(p.Banned) == 0 }

func (p *Params) repeats() bool { return p.RepetitionPenalty != 0 && p.RepetitionPenalty != 1 }

func (p *Params) nucleus() bool { return p.TopP > 0 && p.TopP < 1 }

// topK is the number of tokens that top-k leaves; 0 is all.
func (p *Params) topK() int {
	if p.TopK > NucleusMax {
		return 0
	}
	return p.TopK
}

// filtered tells whether the token is drawn from a list of candidates instead of the whole vocabulary.
func (p *Params) filtered() bool { return p.topK() > 0 || p.nucleus() || p.MinP > 0 }

// draws tells whether the token is drawn from the whole vocabulary.
func (p *Params) draws() bool { return !p.Greedy() && !p.filtered() }

// hot tells whether top-p needs the mass of the whole vocabulary.
func (p *Params) hot() bool { return !p.Greedy() && p.nucleus() && p.topK() == 0 }

// heat is the temperature that is used.
func (p *Params) heat() float32 { return max(p.Temperature, TemperatureMin) }

// cold is its reciprocal, which logits are multiplied by.
func (p *Params) cold() float64 { return 1 / float64(p.heat()) }

// picks is the number of candidates that each slice of the vocabulary has to name.
func (p *Params) picks() int {
	switch {
	case p.Greedy() || !p.filtered():
		return 1
	case p.topK() > 0:
		return p.topK()
	}
	return NucleusMax
}

// Validate checks every field; vocabulary is the number of tokens, or 0 if it is not known. The error names the field and wraps
// ErrParams.
func (p *Params) Validate(vocabulary int) error {
	for _, f := range []struct {
		name   string
		value  float32
		lo, hi float64
	}{
		{"temperature", p.Temperature, 0, TemperatureMax},
		{"top_p", p.TopP, 0, 1},
		{"min_p", p.MinP, 0, 1},
		{"repetition_penalty", p.RepetitionPenalty, 0, RepetitionMax},
		{"presence_penalty", p.PresencePenalty, -PenaltyMax, PenaltyMax},
		{"frequency_penalty", p.FrequencyPenalty, -PenaltyMax, PenaltyMax},
	} {
		if v := float64(f.value); !(f.lo <= v && v <= f.hi) { // NaN is in no range
			return fmt.Errorf("%w: %s is %v, want %v to %v", ErrParams, f.name, f.value, f.lo, f.hi)
		}
	}
	if p.TopK < 0 {
		return fmt.Errorf("%w: top_k is %d, want 0 or more", ErrParams, p.TopK)
	}
	return p.validateTokens(vocabulary)
}

func (p *Params) validateTokens(vocabulary int) error {
	if vocabulary <= 0 {
		vocabulary = math.MaxInt32
	}
	if len(p.Bias) > BiasMax {
		return fmt.Errorf("%w: logit_bias has %d tokens, want at most %d", ErrParams, len(p.Bias), BiasMax)
	}
	if len(p.Banned) > BannedMax {
		return fmt.Errorf("%w: banned has %d tokens, want at most %d", ErrParams, len(p.Banned), BannedMax)
	}
	for _, b := range p.Bias {
		if b.Token < 0 || int(b.Token) >= vocabulary {
			return fmt.Errorf("%w: logit_bias names token %d of a vocabulary of %d", ErrParams, b.Token, vocabulary)
		}
		if v := float64(b.Value); !(-BiasValueMax <= v && v <= BiasValueMax) {
			return fmt.Errorf("%w: logit_bias of token %d is %v, want %v to %v",
				ErrParams, b.Token, b.Value, -BiasValueMax, BiasValueMax)
		}
	}
	for _, t := range p.Banned {
		if t < 0 || int(t) >= vocabulary {
			return fmt.Errorf("%w: banned names token %d of a vocabulary of %d", ErrParams, t, vocabulary)
		}
	}
	return nil
}
