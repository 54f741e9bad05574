package sample

import (
	"compress/gzip"
	"encoding/json"
	"math"
	"os"
	"slices"
	"testing"
)

// beamFixture is testdata/beams.json.gz: searches over made-up models whose log-probabilities depend on the length modulo 3 and
// the last token, and what the rules of transformers 4.31, run in PyTorch, make of them.
type beamFixture struct {
	Stop   int32 `json:"eos"`
	Tables [][][][]float32
	Cases  []struct {
		Table, Beams, Max, Min int
		Penalty                float32
		Early, Stop            bool
		Prompt                 []int32
		Want                   []struct {
			Score  float64
			Tokens []int32
		}
	}
}

func readBeamFixture(t testing.TB) *beamFixture {
	f, err := os.Open("testdata/beams.json.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	fixture := new(beamFixture)
	if err := json.NewDecoder(z).Decode(fixture); err != nil {
		t.Fatal(err)
	}
	return fixture
}

// run searches in a table of log-probabilities.
func run(t testing.TB, options BeamOptions, prompt []int32, row func(tokens []int32) []float32) *Beams {
	t.Helper()
	b, err := NewBeams(options)
	if err != nil {
		t.Fatal(err)
	}
	var s selection
	for steps := 0; !b.Over(); steps++ {
		if steps > options.MaxTokens {
			t.Fatalf("not over after %d steps", steps)
		}
		tops := make([][]Candidate, len(b.Live()))
		for i, beam := range b.Live() {
			if len(beam.Tokens) != steps {
				t.Fatalf("beam %d has %d tokens after %d steps", i, len(beam.Tokens), steps)
			}
			tops[i] = topM(&s, row(append(slices.Clone(prompt), beam.Tokens...)), 0, b.Want())
		}
		b.Advance(func(i int) []Candidate { return tops[i] })
	}
	return b
}

func TestBeamsAgreeWithTransformers(t *testing.T) {
	fixture := readBeamFixture(t)
	for at, c := range fixture.Cases {
		o := BeamOptions{
			Beams: c.Beams, LengthPenalty: c.Penalty, EarlyStopping: c.Early,
			Prompt: len(c.Prompt), MinTokens: c.Min, MaxTokens: c.Max,
		}
		if c.Stop {
			o.Stop = []int32{fixture.Stop}
		}
		b := run(t, o, c.Prompt, func(tokens []int32) []float32 {
			return fixture.Tables[c.Table][len(tokens)%3][tokens[len(tokens)-1]]
		})
		final := b.Final(len(c.Want))
		if len(final) != len(c.Want) {
			t.Errorf("case %d: %d hypotheses, want %d", at, len(final), len(c.Want))
			continue
		}
		for i, w := range c.Want {
			tokens := final[i].Tokens
			if final[i].Stopped {
				tokens = tokens[:len(tokens)-1]
			}
			if !slices.Equal(tokens, w.Tokens) || math.Abs(final[i].Score-w.Score) > 1e-9*math.Abs(w.Score) {
				t.Errorf("case %d, hypothesis %d: %v %v, want %v %v", at, i, final[i].Score, tokens, w.Score, w.Tokens)
			}
		}
	}
}

// TestBeamsLogprobs checks what is remembered of each token.
func TestBeamsLogprobs(t *testing.T) {
	fixture := readBeamFixture(t)
	prompt := []int32{5, 2}
	row := func(tokens []int32) []float32 { return fixture.Tables[2][len(tokens)%3][tokens[len(tokens)-1]] }
	o := BeamOptions{Beams: 4, LengthPenalty: 1, Stop: []int32{fixture.Stop}, Prompt: 2, MaxTokens: 9, Top: 3}
	b := run(t, o, prompt, row)
	stopped := 0
	for _, beam := range b.Final(4) {
		if len(beam.Logprobs) != len(beam.Tokens) || len(beam.Tops) != len(beam.Tokens) {
			t.Fatalf("%d tokens, %d log-probabilities, %d tops", len(beam.Tokens), len(beam.Logprobs), len(beam.Tops))
		}
		if beam.Stopped != slices.Contains(beam.Tokens, fixture.Stop) {
			t.Errorf("stopped is %v of %v", beam.Stopped, beam.Tokens)
		}
		if beam.Stopped {
			stopped++
		}
		var sum float32
		for i, token := range beam.Tokens {
			logits := row(append(slices.Clone(prompt), beam.Tokens[:i]...))
			if beam.Logprobs[i] != logits[token] {
				t.Errorf("token %d of %v has log-probability %v, want %v", i, beam.Tokens, beam.Logprobs[i], logits[token])
			}
			if want := sortedTop(logits, 0, 3); !slices.Equal(beam.Tops[i], want) {
				t.Errorf("top of token %d is %v, want %v", i, beam.Tops[i], want)
			}
			sum += beam.Logprobs[i]
		}
		if sum != beam.Sum {
			t.Errorf("sum is %v, want %v", beam.Sum, sum)
		}
	}
	if stopped == 0 {
		t.Error("no hypothesis met the stop id: the test shows too little")
	}
}

// TestBeamsExhaustive searches so widely that nothing is cut off, and compares with all sequences.
func TestBeamsExhaustive(t *testing.T) {
	table := [][]float32{{-1.2, -0.7, -1.9, -3}, {-0.3, -2, -3.5, -2.5}, {-2, -1.1, -0.9, -2.2}, {-1, -1.3, -1.4, -2}}
	row := func(tokens []int32) []float32 { return table[tokens[len(tokens)-1]] }
	b := run(t, BeamOptions{Beams: 16, Prompt: 1, MaxTokens: 3}, []int32{2}, row)
	best, bestSum := []int32(nil), math.Inf(-1)
	for i := range int32(4 * 4 * 4) {
		s := []int32{i / 16, i / 4 % 4, i % 4}
		if sum := float64(table[2][s[0]] + table[s[0]][s[1]] + table[s[1]][s[2]]); sum > bestSum {
			best, bestSum = s, sum
		}
	}
	if got := b.Final(1)[0]; !slices.Equal(got.Tokens, best) || got.Stopped {
		t.Errorf("best is %v, want %v", got.Tokens, best)
	}
}

// TestBeamsSmallVocabulary checks searches that run out of tokens.
func TestBeamsSmallVocabulary(t *testing.T) {
	row := func([]int32) []float32 { return []float32{-1, -0.5} }
	b := run(t, BeamOptions{Beams: 8, LengthPenalty: 1, Stop: []int32{0, 1}, Prompt: 1, MaxTokens: 5}, []int32{1}, row)
	final := b.Final(8)
	if len(final) != 2 || !slices.Equal(final[0].Tokens, []int32{1}) || !slices.Equal(final[1].Tokens, []int32{0}) {
		t.Errorf("final is %v", final)
	}
	none := func([]int32) []float32 { return nil }
	if b := run(t, BeamOptions{Beams: 2, Prompt: 1, MaxTokens: 5}, []int32{1}, none); len(b.Final(2)) != 0 {
		t.Errorf("something from nothing: %v", b.Final(2))
	}
}

func TestNewBeamsRefuses(t *testing.T) {
	for _, o := range []BeamOptions{
		{Beams: 0, MaxTokens: 1}, {Beams: BeamsMax + 1, MaxTokens: 1}, {Beams: 2}, {Beams: 2, MaxTokens: 1, LengthPenalty: float32(math.NaN())},
	} {
		if _, err := NewBeams(o); err == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
}

func TestRaise(t *testing.T) {
	for _, x := range []float64{1, 2, 7, 2048} {
		for _, y := range []float64{0, 1, 2, 3, -1, -2, 0.5, -0.25, 1.3, 9.99, -9.99} {
			want := math.Pow(x, y)
			if got := raise(x, y); math.Abs(got-want) > 1e-10*want {
				t.Errorf("%v^%v is %v, want %v", x, y, got, want)
			}
		}
	}
}
