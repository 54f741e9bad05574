package refmath

import (
	"errors"
	"math"
	"testing"

	"polynode/model"
)

func TestMeasureLoss(t *testing.T) {
	// The model gives token (t+1) mod 4 of position t odds of 5 : 1 : 1 : 1 and a huge value to rows 4 and 5, which are no pieces.
	logits := func(tokens []int32) ([][]float32, error) {
		rows := make([][]float32, len(tokens))
		for i := range rows {
			rows[i] = []float32{0, 0, 0, 0, 90, 90}
			rows[i][(i+1)%4] = float32(math.Log(5))
		}
		return rows, nil
	}
	right, wrong := -math.Log(5.0/8), -math.Log(1.0/8)
	for _, c := range []struct {
		name   string
		tokens []int32
		window int
		want   Loss
	}{
		{"one window", []int32{9, 1, 2, 0, 0}, 8, Loss{4, (3*right + wrong) / 4}},
		{"two windows", []int32{9, 1, 2, 9, 1, 1}, 3, Loss{4, (3*right + wrong) / 4}},
		{"a last window of one token scores nothing", []int32{9, 1, 2, 3}, 3, Loss{2, right}},
	} {
		got, err := MeasureLoss(c.tokens, c.window, 4, logits)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if got.Tokens != c.want.Tokens || math.Abs(got.Mean-c.want.Mean) > 1e-6 {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
	}
	if p := (Loss{1, math.Log(7)}).Perplexity(); math.Abs(p-7) > 1e-12 {
		t.Errorf("perplexity of a loss of log 7 is %g, want 7", p)
	}
}

func TestMeasureLossRefuses(t *testing.T) {
	boom := errors.New("boom")
	short := func(tokens []int32) ([][]float32, error) { return [][]float32{{1, 2}}, nil }
	bad := func([]int32) ([][]float32, error) { return nil, boom }
	for _, c := range []struct {
		name   string
		tokens []int32
		logits Logits[float32]
		want   error
	}{
		{"one token", []int32{1}, short, ErrInput},
		{"too few rows", []int32{1, 1, 1}, short, ErrInput},
		{"no such token", []int32{0, 2}, func(tokens []int32) ([][]float32, error) { return [][]float32{{1, 2}, {1, 2}}, nil }, ErrInput},
		{"a failing model", []int32{1, 1}, bad, boom},
	} {
		if _, err := MeasureLoss(c.tokens, 8, 0, c.logits); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

// TestMeasureLossOfUniformModel: a network whose head is zero knows nothing, so its perplexity is the vocabulary.
func TestMeasureLossOfUniformModel(t *testing.T) {
	config := tiny(model.GELUFast, false)
	weights := Random(config, 5)
	clear(weights[model.Head].Data)
	m, err := New(config, weights)
	if err != nil {
		t.Fatal(err)
	}
	loss, err := MeasureLoss([]int32{3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7}, config.Positions, 0, m.Logits)
	if err != nil {
		t.Fatal(err)
	}
	if got := loss.Perplexity(); math.Abs(got-float64(config.Vocab)) > 1e-9 || loss.Tokens != 12 {
		t.Errorf("perplexity %g over %d tokens, want %d over 12", got, loss.Tokens, config.Vocab)
	}
}
