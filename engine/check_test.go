package engine

import (
	"errors"
	"math"
	"strings"
	"testing"

	"polynode/engine/sample"
)

func TestCheck(t *testing.T) {
	config := Config{Blocks: 300, Positions: 2048, Vocabulary: 1000, SequencesMax: 4}.withDefaults()
	long := func(n int) []int32 { return make([]int32, n) }
	for _, c := range []struct {
		name   string
		change func(*Request)
		want   error  // nil accepts it
		text   string // in the error
	}{
		{"plain", func(r *Request) {}, nil, ""},
		{"no prompt", func(r *Request) { r.Prompt = nil }, ErrRequest, "prompt is empty"},
		{"longest prompt", func(r *Request) { r.Prompt = long(2048) }, nil, ""},
		{"too long", func(r *Request) { r.Prompt = long(2049) }, ErrTooLong, "2049 tokens, the context 2048"},
		{"prompt id", func(r *Request) { r.Prompt = []int32{1, 1000} }, ErrRequest, "prompt[1] is 1000"},
		{"negative id", func(r *Request) { r.Prompt = []int32{-1} }, ErrRequest, "prompt[0] is -1"},
		{"max", func(r *Request) { r.MaxTokens = -1 }, ErrRequest, "max_tokens"},
		{"huge max", func(r *Request) { r.MaxTokens = math.MaxInt }, nil, ""},
		{"min", func(r *Request) { r.MinTokens = 11 }, ErrRequest, "min_tokens"},
		{"negative min", func(r *Request) { r.MinTokens = -1 }, ErrRequest, "min_tokens"},
		{"stops", func(r *Request) { r.StopIDs = long(StopsMax) }, nil, ""},
		{"too many stops", func(r *Request) { r.StopIDs = long(StopsMax + 1) }, ErrRequest, "stop_token_ids"},
		{"stop id", func(r *Request) { r.StopIDs = []int32{1000} }, ErrRequest, "stop_token_ids[0]"},
		{"n", func(r *Request) { r.Choices = ChoicesMax + 1 }, ErrRequest, "n is 9"},
		{"negative n", func(r *Request) { r.Choices = -1 }, ErrRequest, "n is -1"},
		{"best_of below n", func(r *Request) { r.Choices, r.BestOf = 3, 2 }, ErrRequest, "best_of is 2"},
		{"best_of", func(r *Request) { r.BestOf = ChoicesMax + 1 }, ErrRequest, "best_of is 9"},
		{"top", func(r *Request) { r.Top = TopMax + 1 }, ErrRequest, "top_logprobs"},
		{"temperature", func(r *Request) { r.Params.Temperature = -1 }, ErrRequest, "temperature"},
		{"bias", func(r *Request) { r.Params.Bias = []sample.Bias{{Token: 1000}} }, ErrRequest, "logit_bias"},
		{"id", func(r *Request) { r.ID = strings.Repeat("x", IDBytesMax+1) }, ErrRequest, "id"},
		{"beams", func(r *Request) { r.Beams = ChoicesMax + 1 }, ErrRequest, "num_beams is 9"},
		{"negative beams", func(r *Request) { r.Beams = -1 }, ErrRequest, "num_beams is -1"},
		{"beams below n", func(r *Request) { r.Beams, r.Choices = 2, 3 }, ErrRequest, "less than n"},
		{"one beam", func(r *Request) { r.Beams, r.Choices, r.Params.Temperature = 1, 2, 1 }, nil, ""},
		{"beams and best_of", func(r *Request) { r.Beams, r.BestOf = 4, 2 }, ErrRequest, "best_of"},
		{"hot beams", func(r *Request) { r.Beams, r.Params.Temperature = 4, 1 }, ErrRequest, "temperature"},
		{"beams and penalties", func(r *Request) { r.Beams, r.Params.RepetitionPenalty = 4, 1.1 }, ErrRequest, "penalties"},
		{"length penalty", func(r *Request) { r.Beams, r.LengthPenalty = 4, float32(math.NaN()) }, ErrRequest, "length_penalty"},
		{"large length penalty", func(r *Request) { r.Beams, r.LengthPenalty = 4, LengthPenaltyMax+1 }, ErrRequest, "length_penalty"},
		{"beams as served", func(r *Request) {
			r.Beams, r.Choices, r.BestOf, r.LengthPenalty, r.Params.RepetitionPenalty, r.Params.TopP = 4, 2, 2, 1, 1, 1
		}, nil, ""},
		{"width", func(r *Request) { r.Choices = 5 }, ErrTooLarge, "5 sequences, a step at most 4"},
		{"blocks", func(r *Request) { r.Choices, r.MaxTokens, r.Prompt = 4, 2000, long(48) }, ErrTooLarge, "there are 299"},
		{"as many blocks as there are", func(r *Request) { r.Choices, r.MaxTokens, r.Prompt = 4, 1169, long(16) }, nil, ""},
		{"one more", func(r *Request) { r.Choices, r.MaxTokens, r.Prompt = 4, 1170, long(16) }, ErrTooLarge, "300 blocks"},
	} {
		r := Request{Prompt: []int32{1, 2, 3}, MaxTokens: 10}
		c.change(&r)
		err := config.check(&r)
		if err == nil {
			r = r.normal(config.Positions)
			err = config.checkSize(&r, config.Blocks)
		}
		if !errors.Is(err, c.want) || err == nil && c.want != nil {
			t.Errorf("%s: error is %v, want %v", c.name, err, c.want)
		} else if err != nil && !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: error is %q, want %q in it", c.name, err, c.text)
		}
	}
}

// TestContext checks the last positions: a prompt that fills the context gives one token, one token less gives two.
func TestContext(t *testing.T) {
	for prompt, want := range map[int]int{64: 1, 63: 2, 1: 64} {
		bench := newTable(Config{Blocks: 10, Positions: 64, StepTokens: 64})
		j, err := bench.submitRequest(Request{Prompt: make([]int32, prompt), MaxTokens: 1000})
		if err != nil {
			t.Fatal(err)
		}
		if err := bench.finishAll(100); err != nil {
			t.Fatal(err)
		}
		events := bench.told[j]
		if len(events) != want || events[len(events)-1].Finish != FinishLength {
			t.Errorf("a prompt of %d tokens gave %d events, want %d", prompt, len(events), want)
		}
	}
}

func TestConfigValidate(t *testing.T) {
	good := Config{Blocks: 100, Positions: 2048}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	bad := Config{
		Blocks: 1, Positions: -5, Vocabulary: -1, StepTokens: StepTokensMax + 1, SequencesMax: -1, QueueMax: -1, QueueTokens: -1,
	}
	err := bad.Validate()
	if err == nil {
		t.Fatal("a bad configuration was accepted")
	}
	for _, name := range []string{"blocks", "positions", "vocabulary", "step tokens", "sequences", "queue is", "queue tokens"} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%q does not name %s", err, name)
		}
	}
	for _, c := range []Config{
		{Blocks: 10, Positions: 100, StepTokens: 4, SequencesMax: 5},
		{Blocks: 10, Positions: 100, QueueTokens: 99},
		{Blocks: BlocksMax + 1, Positions: 100},
		{Blocks: 10, Positions: PositionsMax + 1},
		{Blocks: 10, Positions: 100, QueueMax: QueueMaxMax + 1},
	} {
		if _, err := New(c, nil, nil); err == nil {
			t.Errorf("%+v was accepted", c)
		}
	}
}
