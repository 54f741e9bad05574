package sample

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestPenalise(t *testing.T) {
	history := []int32{0, 1, 1, 2, 3, 3, 3} // the last four are output
	for _, c := range []struct {
		name string
		p    Params
		want []float32
	}{
		{"nothing", Params{RepetitionPenalty: 1}, []float32{2, -2, 4, -4, 8}},
		{"repetition", Params{RepetitionPenalty: 2}, []float32{1, -4, 2, -8, 8}},
		{"presence", Params{PresencePenalty: 0.5}, []float32{2, -2, 3.5, -4.5, 8}},
		{"frequency", Params{FrequencyPenalty: 0.5}, []float32{2, -2, 3.5, -5.5, 8}},
		{"bias", Params{Bias: []Bias{{1, 1}, {4, -3}, {1, 1}}}, []float32{2, 0, 4, -4, 5}},
		{"banned", Params{Banned: []int32{4, 0}}, []float32{negInf, -2, 4, -4, negInf}},
		{
			"all", Params{
				RepetitionPenalty: 2, PresencePenalty: 0.25, FrequencyPenalty: 1, Bias: []Bias{{3, 5}, {1, 1}}, Banned: []int32{4},
			},
			[]float32{1, -2, 0.75, 0.5 - 3 - 0.25, negInf},
		},
	} {
		var changes changes
		logits := []float32{2, -2, 4, -4, 8}
		changes.prepare(&c.p, history, 3)
		changes.apply(logits, 0, &c.p)
		if !slices.Equal(logits, c.want) {
			t.Errorf("%s: %v, want %v", c.name, logits, c.want)
		}
		for token, want := range []float32{2, -2, 4, -4, 8} {
			if got := changes.raw(int32(token), logits[token]); got != want {
				t.Errorf("%s: raw logit of %d is %v, want %v", c.name, token, got, want)
			}
		}
	}
}

// TestPenaliseForgets checks that nothing of one row reaches the next.
func TestPenaliseForgets(t *testing.T) {
	var c changes
	p := Params{Bias: []Bias{{1, 5}}}
	c.prepare(&p, nil, 0)
	c.apply([]float32{1, 2, 3}, 0, &p)
	p = Params{}
	c.prepare(&p, nil, 0)
	logits := []float32{4, 5, 6}
	c.apply(logits, 0, &p)
	if logits[1] != 5 || c.raw(1, 5) != 5 {
		t.Error("a raw logit of the row before")
	}
}

// plainPenalise is the straightforward apply, over the whole vocabulary.
func plainPenalise(logits []float32, p *Params, history []int32, prompt int) {
	for _, b := range p.Bias {
		logits[b.Token] += b.Value
	}
	for token := range logits {
		count := 0
		for _, h := range history[prompt:] {
			if h == int32(token) {
				count++
			}
		}
		if slices.Contains(history, int32(token)) && p.RepetitionPenalty > 0 {
			if logits[token] > 0 {
				logits[token] /= p.RepetitionPenalty
			} else {
				logits[token] *= p.RepetitionPenalty
			}
		}
		logits[token] -= float32(p.FrequencyPenalty * float32(count))
		if count > 0 {
			logits[token] -= p.PresencePenalty
		}
	}
	for _, b := range p.Banned {
		logits[b] = negInf
	}
}

func TestPenaliseAgreesWithPlain(t *testing.T) {
	var c changes
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 60).Draw(t, "vocabulary")
		logits := rapid.SliceOfN(rapid.Float32Range(-20, 20), n, n).Draw(t, "logits")
		p, history, prompt := drawParams(t, n)
		want := slices.Clone(logits)
		plainPenalise(want, &p, history, prompt)
		got := slices.Clone(logits)
		cuts := cut(t, n)
		c.prepare(&p, history, prompt)
		for i := range cuts[1:] {
			c.apply(got[cuts[i]:cuts[i+1]], cuts[i], &p)
		}
		for i := range want {
			if math.Float32bits(got[i]+0) != math.Float32bits(want[i]+0) {
				t.Fatalf("token %d has logit %v, want %v", i, got[i], want[i])
			}
			if raw := c.raw(int32(i), got[i]); raw != logits[i] {
				t.Fatalf("token %d had logit %v, want %v", i, raw, logits[i])
			}
		}
	})
}

// drawParams draws parameters for a vocabulary, and a history.
func drawParams(t *rapid.T, vocabulary int) (p Params, history []int32, prompt int) {
	token := rapid.Int32Range(0, int32(vocabulary-1))
	maybe := func(name string, off float32, g *rapid.Generator[float32]) float32 {
		if rapid.Bool().Draw(t, "use "+name) {
			return g.Draw(t, name)
		}
		return off
	}
	p = Params{
		Temperature:       maybe("temperature", 0, rapid.Float32Range(0, 3)),
		TopP:              maybe("top_p", 1, rapid.Float32Range(0, 1)),
		MinP:              maybe("min_p", 0, rapid.Float32Range(0, 1)),
		RepetitionPenalty: maybe("repetition", 1, rapid.Float32Range(0.5, 3)),
		PresencePenalty:   maybe("presence", 0, rapid.Float32Range(-2, 2)),
		FrequencyPenalty:  maybe("frequency", 0, rapid.Float32Range(-2, 2)),
		Seed:              rapid.Uint64().Draw(t, "seed"),
	}
	if rapid.Bool().Draw(t, "use top_k") {
		p.TopK = rapid.IntRange(1, vocabulary+3).Draw(t, "top_k")
	}
	if rapid.Bool().Draw(t, "use bias") {
		for range rapid.IntRange(1, 5).Draw(t, "biases") {
			p.Bias = append(p.Bias, Bias{token.Draw(t, "biased"), rapid.Float32Range(-10, 10).Draw(t, "bias")})
		}
	}
	if rapid.Bool().Draw(t, "use bans") {
		p.Banned = rapid.SliceOfN(token, 1, 5).Draw(t, "banned")
	}
	history = rapid.SliceOfN(token, 0, 40).Draw(t, "history")
	return p, history, rapid.IntRange(0, len(history)).Draw(t, "prompt")
}

func TestValidate(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, p := range []Params{
		{Temperature: -0.1}, {Temperature: nan}, {Temperature: inf}, {TopP: 1.5}, {TopP: nan}, {MinP: -1}, {TopK: -1},
		{RepetitionPenalty: -1}, {RepetitionPenalty: inf}, {PresencePenalty: 2.5}, {FrequencyPenalty: -3},
		{Bias: []Bias{{100, 0}}}, {Bias: []Bias{{-1, 0}}}, {Bias: []Bias{{1, nan}}}, {Banned: []int32{100}}, {Banned: []int32{-1}},
		{Bias: make([]Bias, BiasMax+1)}, {Banned: make([]int32, BannedMax+1)},
		{Temperature: TemperatureMax + 1}, {RepetitionPenalty: RepetitionMax + 1}, {Bias: []Bias{{1, BiasValueMax + 1}}},
		{PresencePenalty: -PenaltyMax - 0.1}, {FrequencyPenalty: PenaltyMax + 0.1},
	} {
		if err := p.Validate(100); err == nil {
			t.Errorf("%+v was accepted", p)
		}
	}
	good := Params{
		Temperature: 0.7, TopK: 1 << 40, TopP: 0.8, MinP: 1, RepetitionPenalty: 1.02, PresencePenalty: -2, FrequencyPenalty: 2,
		Bias: make([]Bias, BiasMax), Banned: make([]int32, BannedMax),
	}
	if err := good.Validate(100); err != nil {
		t.Error(err)
	}
	if err := (&Params{Banned: []int32{300000}}).Validate(0); err != nil {
		t.Error(err)
	}
}
