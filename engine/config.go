package engine

import (
	"errors"
	"fmt"
	"time"

	"polynode/shard"
)

// What a Config has where it says 0, and what it may say at most.
const (
	StepTokensDefault   = 256
	SequencesMaxDefault = 32
	QueueMaxDefault     = 256
	QueuePromptsDefault = 64 // full contexts of prompt tokens that may wait

	BlocksMax     = 1 << 24
	PositionsMax  = 1 << 20
	StepTokensMax = 1 << 16
	QueueMaxMax   = 1 << 20
)

// Config is how much an engine may take on at a time.
type Config struct {
	Blocks     int // of KV, in all, while the first plan runs; block 0 is kept for probes
	Positions  int // tokens of a sequence at most: the model's context
	Vocabulary int // number of tokens that may be given; ids are checked against it. 0 is unknown

	StepTokens   int // tokens of a step at most; 0 is StepTokensDefault
	SequencesMax int // sequences of a step at most; 0 is SequencesMaxDefault
	QueueMax     int // requests that may wait; 0 is QueueMaxDefault
	QueueTokens  int // prompt tokens that may wait; 0 is QueuePromptsDefault full contexts

	StepTime time.Duration // a step takes about that long at most, by taking fewer prompt tokens; 0 is no limit

	Epoch shard.Epoch // of the plan that the first steps run under; see SetPlan

	CacheOff bool // forget a prompt's blocks when nothing uses them any more: for measurements
}

// withDefaults fills in what is 0.
func (c Config) withDefaults() Config {
	set := func(field *int, value int) {
		if *field == 0 {
			*field = value
		}
	}
	set(&c.StepTokens, StepTokensDefault)
	set(&c.SequencesMax, min(SequencesMaxDefault, c.StepTokens))
	set(&c.QueueMax, QueueMaxDefault)
	set(&c.QueueTokens, QueuePromptsDefault*c.Positions)
	return c
}

// Validate reports every mistake at once.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	check := func(name string, value, least, most int) {
		if value < least || value > most {
			errs = append(errs, fmt.Errorf("%s is %d, want %d to %d", name, value, least, most))
		}
	}
	check("blocks", c.Blocks, 2, BlocksMax)
	check("positions", c.Positions, 1, PositionsMax)
	check("vocabulary", c.Vocabulary, 0, 1<<31-1)
	check("step tokens", c.StepTokens, 1, StepTokensMax)
	check("sequences", c.SequencesMax, 1, max(c.StepTokens, 1)) // each gets a token in every step
	check("step time", int(c.StepTime), 0, int(time.Hour))
	check("queue", c.QueueMax, 1, QueueMaxMax)
	check("queue tokens", c.QueueTokens, max(c.Positions, 1), 1<<40) // any prompt may wait
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("engine configuration: %w", errors.Join(errs...))
}

// blocksFor is the number of blocks that hold so many positions.
func blocksFor(positions int) int { return (positions + BlockTokens - 1) / BlockTokens }
