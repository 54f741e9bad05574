package model

import (
	"errors"
	"fmt"

	"polynode/kernels"
)

// ErrBatch reports rows that a stage cannot compute.
var ErrBatch = errors.New("model batch")

// runRows is the most rows of one sequence that attention takes together: they share each key that is widened. With 16 a row and key
// took 15 % longer than with 64 (Zen 4, a head of 128).
const runRows = 64

// Batch is the rows of one step: runs of consecutive positions of one sequence after another, in any mixture of prompt
// chunks and single tokens. The zero value is empty.
type Batch struct {
	Tokens    []int32 // (T)
	Positions []int32 // (T)
	runs      []run
	runOf     []int32 // (T), the run that a row belongs to
}

// run is up to runRows consecutive positions of one sequence.
type run struct {
	row, rows int
	keys      int // that its last row sees
	blocks    []int32
}

// Rows is the number of rows, T.
func (b *Batch) Rows() int { return len(b.Tokens) }

// Reset empties the batch and keeps its memory.
func (b *Batch) Reset() {
	b.Tokens, b.Positions, b.runs, b.runOf = b.Tokens[:0], b.Positions[:0], b.runs[:0], b.runOf[:0]
}

// Append adds tokens of one sequence at positions start, start+1, … whose keys and values live in blocks, which
// must stay unchanged while the batch is in use.
func (b *Batch) Append(tokens []int32, start int, blocks []int32) {
	for i, token := range tokens {
		if i%runRows == 0 {
			b.runs = append(b.runs, run{row: b.Rows(), rows: min(runRows, len(tokens)-i), keys: start + min(i+runRows, len(tokens)), blocks: blocks})
		}
		b.runOf = append(b.runOf, int32(len(b.runs)-1))
		b.Tokens = append(b.Tokens, token)
		b.Positions = append(b.Positions, int32(start+i))
	}
}

// check refuses rows that would read outside the model or the cache.
func (b *Batch) check(c *Config, blocks int) error {
	for t, position := range b.Positions {
		if position < 0 || int(position) >= c.Positions {
			return fmt.Errorf("%w: row %d is at position %d of %d", ErrBatch, t, position, c.Positions)
		}
		if token := b.Tokens[t]; token < 0 || int(token) >= c.Vocab {
			return fmt.Errorf("%w: row %d is token %d of %d", ErrBatch, t, token, c.Vocab)
		}
	}
	for _, r := range b.runs {
		need := (r.keys + kernels.BlockTokens - 1) / kernels.BlockTokens
		if len(r.blocks) < need {
			return fmt.Errorf("%w: row %d has %d blocks, needs %d", ErrBatch, r.row, len(r.blocks), need)
		}
		for _, block := range r.blocks[:need] {
			if block < 0 || int(block) >= blocks {
				return fmt.Errorf("%w: row %d names block %d of %d", ErrBatch, r.row, block, blocks)
			}
		}
	}
	return nil
}
