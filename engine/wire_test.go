package engine

import (
	"errors"
	"math"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"polynode/engine/sample"
)

func idsFrom(least int32) *rapid.Generator[[]int32] {
	return rapid.SliceOfN(rapid.Int32Range(least, math.MaxInt32-1), 0, 5)
}

var genParams = rapid.Custom(func(t *rapid.T) *sample.Params {
	value := rapid.Float32Range(-200, 200)
	p := &sample.Params{
		Temperature: value.Draw(t, "temperature"), TopK: rapid.IntRange(0, 2000).Draw(t, "top k"), TopP: value.Draw(t, "top p"), MinP: value.Draw(t, "min p"),
		RepetitionPenalty: value.Draw(t, "repetition"), PresencePenalty: value.Draw(t, "presence"), FrequencyPenalty: value.Draw(t, "frequency"),
		Banned: idsFrom(0).Draw(t, "banned"), Seed: rapid.Uint64().Draw(t, "seed"),
	}
	for range rapid.IntRange(0, 3).Draw(t, "biases") {
		p.Bias = append(p.Bias, sample.Bias{Token: rapid.Int32Range(0, math.MaxInt32).Draw(t, "token"), Value: value.Draw(t, "bias")})
	}
	return p
})

var genStep = rapid.Custom(func(t *rapid.T) *Step {
	s := &Step{}
	for range rapid.IntRange(0, 3).Draw(t, "copies") {
		s.Copies = append(s.Copies, BlockCopy{rapid.Int32Range(0, 1000).Draw(t, "source"), rapid.Int32Range(0, 1000).Draw(t, "target")})
	}
	for range rapid.IntRange(0, 4).Draw(t, "chunks") {
		c := Chunk{
			Sequence: SequenceID(rapid.Uint64().Draw(t, "sequence")), Tokens: idsFrom(0).Draw(t, "tokens"), Start: rapid.IntRange(0, 4096).Draw(t, "start"),
			Blocks: idsFrom(0).Draw(t, "blocks"), Sample: rapid.Bool().Draw(t, "sample"), History: idsFrom(0).Draw(t, "history"),
			Prompt: rapid.IntRange(0, 4096).Draw(t, "prompt"), Top: rapid.IntRange(0, 20).Draw(t, "top"), Logprobs: rapid.Bool().Draw(t, "logprobs"),
			Targets: idsFrom(-1).Draw(t, "targets"),
		}
		if rapid.Bool().Draw(t, "has params") {
			c.Params = genParams.Draw(t, "params")
		}
		s.Chunks = append(s.Chunks, c)
	}
	return s
})

// plain makes nil of empty lists, which are the same to a rank.
func plain(s *Step) *Step {
	p := *s
	p.Copies, p.Chunks = empty(s.Copies), empty(append([]Chunk(nil), s.Chunks...))
	for i := range p.Chunks {
		c := &p.Chunks[i]
		c.Tokens, c.Blocks, c.History, c.Targets = empty(c.Tokens), empty(c.Blocks), empty(c.History), empty(c.Targets)
		if c.Params != nil {
			params := *c.Params
			params.Banned, params.Bias = empty(params.Banned), empty(params.Bias)
			c.Params = &params
		}
	}
	return &p
}

func empty[E any](list []E) []E {
	if len(list) == 0 {
		return nil
	}
	return list
}

func TestAStepCrossesTheWire(t *testing.T) {
	var d StepDecoder // the same one, so that what an earlier step left behind would show
	rapid.Check(t, func(t *rapid.T) {
		sent := genStep.Draw(t, "step")
		got, err := d.Decode(AppendStep(nil, sent))
		if err != nil {
			t.Fatal(err)
		}
		if want := plain(sent); !reflect.DeepEqual(plain(got), want) {
			t.Fatalf("sent %+v\ngot  %+v", want, plain(got))
		}
	})
}

func TestAnOutputCrossesTheWire(t *testing.T) {
	candidates := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) sample.Candidate {
		return sample.Candidate{Token: rapid.Int32Range(0, 1<<20).Draw(t, "token"), Score: rapid.Float32().Draw(t, "score")}
	}), 1, 4)
	var got Output
	rapid.Check(t, func(t *rapid.T) {
		var sent Output
		for range rapid.IntRange(0, 4).Draw(t, "results") {
			r := Result{Token: rapid.Int32Range(-1, 1<<20).Draw(t, "token"), Logprob: rapid.Float32().Draw(t, "logprob"), Top: candidates.Draw(t, "top")}
			for range rapid.IntRange(1, 3).Draw(t, "targets") {
				r.Targets = append(r.Targets, Target{rapid.Float32().Draw(t, "logprob"), rapid.IntRange(0, 1<<20).Draw(t, "rank"), candidates.Draw(t, "top")})
			}
			sent.Results = append(sent.Results, r)
		}
		if err := DecodeOutput(AppendOutput(nil, &sent), &got); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(empty(got.Results), empty(sent.Results)) {
			t.Fatalf("sent %+v\ngot  %+v", sent, got)
		}
	})
}

func TestACutStepIsRefused(t *testing.T) {
	whole := AppendStep(nil, &Step{
		Copies: []BlockCopy{{1, 2}},
		Chunks: []Chunk{{Sequence: 7, Tokens: []int32{5, 6}, Blocks: []int32{1}, Sample: true, Targets: []int32{-1, 9}, Params: &sample.Params{Bias: []sample.Bias{{Token: 3, Value: 1}}}}},
	})
	var d StepDecoder
	for n := range whole {
		if _, err := d.Decode(whole[:n]); !errors.Is(err, ErrWire) {
			t.Errorf("%d of %d bytes: %v", n, len(whole), err)
		}
	}
	if _, err := d.Decode(append(whole, 0)); !errors.Is(err, ErrWire) {
		t.Errorf("a byte too many: %v", err)
	}
}

func TestDecodingAllocatesNothingOnceWarm(t *testing.T) {
	data := AppendStep(nil, &Step{Chunks: []Chunk{{Tokens: []int32{5, 6}, Blocks: []int32{1}, Params: &sample.Params{}}, {Tokens: []int32{4}, Blocks: []int32{1, 2}, Params: &sample.Params{}}}})
	answer := AppendOutput(nil, &Output{Results: []Result{{Token: 4, Top: []sample.Candidate{{Token: 1, Score: 2}}}, {Token: 5}}})
	var d StepDecoder
	var out Output
	if n := testing.AllocsPerRun(100, func() {
		if _, err := d.Decode(data); err != nil {
			t.Fatal(err)
		}
		if err := DecodeOutput(answer, &out); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzDecodeStep(f *testing.F) {
	f.Add(AppendStep(nil, &Step{Chunks: []Chunk{{Tokens: []int32{5}, Blocks: []int32{1}, Targets: []int32{-1}, Params: &sample.Params{Temperature: 1}}}}))
	f.Add([]byte{0, 255, 255, 255, 255, 15})
	f.Fuzz(func(t *testing.T, data []byte) {
		var d StepDecoder
		step, err := d.Decode(data)
		if err != nil {
			return
		}
		var again StepDecoder
		round, err := again.Decode(AppendStep(nil, step))
		if err != nil {
			t.Fatalf("encoded again: %v", err)
		}
		if len(round.Chunks) != len(step.Chunks) || len(round.Copies) != len(step.Copies) {
			t.Fatal("another step after encoding it again")
		}
	})
}

func FuzzDecodeOutput(f *testing.F) {
	f.Add(AppendOutput(nil, &Output{Results: []Result{{Token: 4, Top: []sample.Candidate{{Token: 1, Score: 2}}, Targets: []Target{{Rank: 1}}}}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		var out, again Output
		if DecodeOutput(data, &out) != nil {
			return
		}
		if err := DecodeOutput(AppendOutput(nil, &out), &again); err != nil || len(again.Results) != len(out.Results) {
			t.Fatalf("encoded again: %v", err)
		}
	})
}
