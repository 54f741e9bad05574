package refmath

import (
	"fmt"
	"math"
)

// Logits computes one row of logits for each of the given tokens, which sit at positions 0, 1, …; row t scores the
// token after position t. It is what a quality test has to offer of a model to have it measured.
type Logits[F ~float32 | ~float64] func(tokens []int32) ([][]F, error)

// Loss is how well a model predicts a text.
type Loss struct {
	Tokens int     // tokens that were predicted
	Mean   float64 // mean negative log-likelihood, in nats
}

// Perplexity is e to the mean loss.
func (l Loss) Perplexity() float64 { return math.Exp(l.Mean) }

// MeasureLoss is the loss over the tokens of a text. A text longer than window is cut into windows that are scored on
// their own; the first token of each window is context only, so every window costs one prediction. Only the first pieces
// logits count when pieces is positive: those beyond are rows of the embedding that no token names.
func MeasureLoss[F ~float32 | ~float64](tokens []int32, window, pieces int, logits Logits[F]) (Loss, error) {
	if len(tokens) < 2 || window < 2 {
		return Loss{}, fmt.Errorf("%w: %d tokens in windows of %d, want at least 2", ErrInput, len(tokens), window)
	}
	var loss Loss
	total := 0.0
	for lo := 0; lo+1 < len(tokens); lo += window {
		part := tokens[lo:min(lo+window, len(tokens))]
		rows, err := logits(part)
		if err != nil {
			return Loss{}, fmt.Errorf("score tokens %d to %d: %w", lo, lo+len(part), err)
		}
		if len(rows) != len(part) {
			return Loss{}, fmt.Errorf("%w: %d rows of logits for %d tokens", ErrInput, len(rows), len(part))
		}
		for t, next := range part[1:] {
			row := rows[t]
			if pieces > 0 && pieces < len(row) {
				row = row[:pieces]
			}
			if next < 0 || int(next) >= len(row) {
				return Loss{}, fmt.Errorf("%w: token %d, want below %d", ErrInput, next, len(row))
			}
			total += logSumExp(row) - float64(row[next])
			loss.Tokens++
		}
	}
	loss.Mean = total / float64(loss.Tokens)
	return loss, nil
}
