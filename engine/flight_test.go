package engine

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// errCable is why steps fail here.
var errCable = errors.New("the cable is out")

// lose has the oldest step fail, and those behind it.
func (t *table) lose(cause error) {
	for range t.steps {
		t.abort(cause)
	}
	t.steps = nil
}

// TestCrowds lets requests of several sequences fight for hardly more blocks than the largest of them needs.
func TestCrowds(t *testing.T) {
	preempted := 0
	rapid.Check(t, func(t *rapid.T) {
		config := Config{
			Positions: 160, Vocabulary: testVocabulary,
			StepTokens: rapid.IntRange(8, 40).Draw(t, "step"), SequencesMax: 8,
		}
		var requests []Request
		for i := range rapid.IntRange(2, 6).Draw(t, "requests") {
			r := Request{ID: fmt.Sprintf("r%d", i), MaxTokens: rapid.IntRange(1, 70).Draw(t, "max")}
			stream := rapid.Int32Range(0, 5).Draw(t, "stream")
			for k := range int32(rapid.IntRange(1, 90).Draw(t, "prompt")) {
				r.Prompt = append(r.Prompt, (k*7+stream*11)%testVocabulary)
			}
			if n := rapid.IntRange(1, 4).Draw(t, "n"); rapid.IntRange(0, 2).Draw(t, "kind") == 0 {
				r.Beams, r.LengthPenalty = n, 1
			} else {
				r.Choices, r.Params.Temperature = n, 1
			}
			requests = append(requests, r)
			normal := r.normal(config.Positions)
			config.Blocks = max(config.Blocks, normal.worst()+1)
		}
		config.Blocks += rapid.IntRange(0, 6).Draw(t, "more blocks")
		bench := newTable(config)
		bench.depth = rapid.IntRange(1, 3).Draw(t, "depth")
		for _, r := range requests {
			if _, err := bench.submitRequest(r); err != nil {
				t.Fatal(err)
			}
			for range rapid.IntRange(0, 20).Draw(t, "steps") {
				if _, err := bench.work(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := bench.finishAll(3000); err != nil {
			t.Fatal(err)
		}
		for _, j := range bench.jobs {
			if err := bench.verify(j); err != nil {
				t.Fatal(err)
			}
		}
		preempted += int(bench.counts.preemptions)
	})
	if !t.Failed() && preempted == 0 {
		t.Error("nothing was preempted: the crowds show too little")
	}
}

// TestShares checks that several steps under way have equal parts of the work, and one all of it.
func TestShares(t *testing.T) {
	for _, c := range []struct {
		depth, sequences int
		prompt           int
		prefill, decode  []int // tokens of the steps under way
	}{
		{1, 8, 20, []int{160}, []int{8}},
		{2, 8, 20, []int{80, 80}, []int{4, 4}},
		{2, 7, 20, []int{70, 70}, []int{4, 3}},
		{3, 8, 20, []int{64, 64, 32}, []int{3, 3, 2}},
		{3, 2, 20, []int{40}, []int{1, 1}},
		{2, 1, 40, []int{40}, []int{1}},
		{2, 1, 400, []int{200, 200}, []int{1}},
		{4, 1, 1000, []int{250, 250, 250, 250}, []int{1}},
		{2, 1, 1000, []int{256, 256}, []int{1}},
	} {
		bench := newTable(Config{Blocks: 200, Positions: 1024, Vocabulary: testVocabulary})
		bench.depth = c.depth
		for i := range c.sequences {
			prompt := make([]int32, c.prompt)
			prompt[0] = int32(i)
			if _, err := bench.submitRequest(Request{ID: fmt.Sprint(i), Prompt: prompt, MaxTokens: 20}); err != nil {
				t.Fatal(err)
			}
		}
		fill := func() (sizes []int) {
			for len(bench.steps) < bench.depth {
				step, err := bench.begin()
				if err != nil {
					t.Fatal(err)
				}
				if len(step.Chunks) == 0 {
					break
				}
			}
			for _, step := range bench.steps {
				n := 0
				for i := range step.Chunks {
					n += len(step.Chunks[i].Tokens)
				}
				sizes = append(sizes, n)
			}
			slices.SortFunc(sizes, func(a, b int) int { return b - a })
			return sizes
		}
		if got := fill(); fmt.Sprint(got) != fmt.Sprint(c.prefill) {
			t.Errorf("%d sequences of %d tokens, %d steps: prompts are cut into %v, want %v", c.sequences, c.prompt, c.depth, got, c.prefill)
		}
		for range 20 { // more than the prompts take
			if _, err := bench.work(); err != nil {
				t.Fatal(err)
			}
		}
		if got := fill(); fmt.Sprint(got) != fmt.Sprint(c.decode) {
			t.Errorf("%d sequences, %d steps: they step in %v, want %v", c.sequences, c.depth, got, c.decode)
		}
		if err := bench.finishAll(3000); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFlightsAllocateNothing checks that several steps of plain decoding under way allocate nothing either.
func TestFlightsAllocateNothing(t *testing.T) {
	bench := newTable(Config{Blocks: 600, Positions: 2048, SequencesMax: 8})
	bench.depth = 3
	for i := range 8 {
		if _, err := bench.submitRequest(Request{Prompt: []int32{int32(i), 5, 6}, MaxTokens: 900}); err != nil {
			t.Fatal(err)
		}
	}
	out := make([]Result, 8)
	next := func() {
		for len(bench.flights) < bench.depth && len(bench.schedule().Chunks) > 0 {
			bench.launch()
		}
		bench.commit(out[:len(bench.flights[0].step.Chunks)])
		bench.news, bench.started = bench.news[:0], bench.started[:0]
	}
	for range 60 {
		next()
	}
	if n := testing.AllocsPerRun(500, next); n > 0 {
		t.Errorf("%v allocations in a step", n)
	}
}
