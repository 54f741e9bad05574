package sample

import (
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// answer examines a row in the given slices, sends the parts through their wire form and chooses.
func answer(t rapid.TB, logits []float32, ask *Ask, cuts []int, order []int) Choice {
	var s Scratch
	parts := make([]Part, len(cuts)-1)
	for at, i := range order {
		var part, got Part
		s.Examine(&part, slices.Clone(logits[cuts[i]:cuts[i+1]]), cuts[i], ask)
		rest, err := got.Parse(append(part.Append(nil), 7))
		if err != nil || len(rest) != 1 {
			t.Fatalf("parse: %v, %d bytes left", err, len(rest))
		}
		parts[at] = got
	}
	var c Choice
	s.Choose(&c, parts, ask)
	return c
}

// inPieces shows the pieces of a row to two tallies in turn.
func inPieces(t rapid.TB, logits []float32, ask *Ask, cuts []int, order []int) Choice {
	var row Row
	var tallies [2]Tally
	row.Prepare(ask)
	for i := range tallies {
		tallies[i].Reset(&row)
	}
	for at, i := range order {
		tallies[at%2].Add(slices.Clone(logits[cuts[i]:cuts[i+1]]), cuts[i])
	}
	parts := make([]Part, 1)
	tallies[1].Merge(&tallies[0])
	tallies[1].Fill(&parts[0])
	var c Choice
	new(Scratch).Choose(&c, parts, ask)
	return c
}

// TestSlicesAgree is the contract: any cut of the vocabulary, gathered in any order, gives the same bits.
func TestSlicesAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		logits := rows(t, 1, 80)
		for i, l := range logits { // infinities and huge numbers do not occur, and would make NaN of a penalty
			if l != l || l > 1e30 || l < -1e30 {
				logits[i] = negInf
			}
		}
		p, history, prompt := drawParams(t, len(logits))
		ask := Ask{
			Sample: true, Params: &p, Position: rapid.IntRange(0, 2047).Draw(t, "position"), History: history, Prompt: prompt,
			Logprobs: rapid.Bool().Draw(t, "logprobs"), Top: rapid.IntRange(0, 5).Draw(t, "top"),
			Target: int32(rapid.IntRange(-1, len(logits)-1).Draw(t, "target")),
		}
		if ask.Target >= 0 {
			ask.TargetLogit = logits[ask.Target]
		}
		whole := answer(t, logits, &ask, []int{0, len(logits)}, []int{0})
		cuts := cut(t, len(logits))
		order := rapid.Permutation(indices(len(cuts)-1)).Draw(t, "order")
		got := answer(t, logits, &ask, cuts, order)
		if len(got.Top) == 0 {
			got.Top, whole.Top = nil, nil
		}
		if pieces := inPieces(t, logits, &ask, cuts, order); !reflect.DeepEqual(pieces, got) && !(math.IsNaN(float64(pieces.TargetLogprob)) && math.IsNaN(float64(got.TargetLogprob))) {
			t.Fatalf("cut at %v: %+v, in pieces %+v", cuts, got, pieces)
		}
		if math.IsNaN(float64(whole.TargetLogprob)) && math.IsNaN(float64(got.TargetLogprob)) {
			got.TargetLogprob, whole.TargetLogprob = 0, 0 // of an impossible token among impossible ones
		}
		if !reflect.DeepEqual(got, whole) {
			t.Fatalf("cut at %v: %+v, whole %+v", cuts, got, whole)
		}
	})
}

// probabilities is the distribution that the filters leave, in plain float64: temperature, top-k, top-p, min-p.
func probabilities(logits []float32, p *Params) []float64 {
	type item struct {
		token int
		prob  float64
	}
	items := make([]item, len(logits))
	for i, l := range logits {
		items[i] = item{i, math.Exp(float64(l) / float64(p.Temperature))}
	}
	slices.SortStableFunc(items, func(a, b item) int {
		if a.prob > b.prob {
			return -1
		} else if a.prob < b.prob {
			return 1
		}
		return 0
	})
	total := func() (sum float64) {
		for _, it := range items {
			sum += it.prob
		}
		return sum
	}
	if p.TopK > 0 {
		items = items[:min(p.TopK, len(items))]
	}
	if p.TopP > 0 && p.TopP < 1 {
		before, whole := 0.0, total()
		for i, it := range items {
			if i > 0 && before >= float64(p.TopP)*whole {
				items = items[:i]
				break
			}
			before += it.prob
		}
	}
	for p.MinP > 0 && items[len(items)-1].prob < float64(p.MinP)*items[0].prob {
		items = items[:len(items)-1]
	}
	whole := total()
	list := make([]float64, len(logits))
	for _, it := range items {
		list[it.token] = it.prob / whole
	}
	return list
}

// TestDistribution draws often and compares the counts with the exact probabilities by a chi-square test. Seeds are fixed, so
// the outcome is too.
func TestDistribution(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	logits := make([]float32, 40)
	for i := range logits {
		logits[i] = float32(r.NormFloat64() * 2)
	}
	for name, p := range map[string]Params{
		"plain": {Temperature: 1}, "hot": {Temperature: 1.7}, "cold": {Temperature: 0.4},
		"top-k": {Temperature: 1, TopK: 6}, "top-p": {Temperature: 1.3, TopP: 0.8}, "min-p": {Temperature: 1.2, MinP: 0.1},
		"top-k and top-p": {Temperature: 2, TopK: 10, TopP: 0.7},
		"all":             {Temperature: 1.5, TopK: 20, TopP: 0.9, MinP: 0.15},
		"tiny top-p":      {Temperature: 1, TopP: 1e-9},
		"one":             {Temperature: 1, TopK: 1},
	} {
		t.Run(name, func(t *testing.T) {
			const draws = 20000
			want := probabilities(logits, &p)
			counts := make([]int, len(logits))
			var s Scratch
			parts := make([]Part, 1)
			var c Choice
			row := make([]float32, len(logits))
			for i := range draws {
				p.Seed = uint64(i / 100)
				copy(row, logits)
				ask := Ask{Sample: true, Params: &p, Position: i % 100, Target: -1}
				s.Examine(&parts[0], row, 0, &ask)
				s.Choose(&c, parts, &ask)
				counts[c.Token]++
			}
			chi, free := 0.0, -1
			for token, prob := range want {
				expect := prob * draws
				if prob == 0 && counts[token] > 0 {
					t.Errorf("token %d was drawn %d times and cannot occur", token, counts[token])
				}
				if expect > 0 {
					d := float64(counts[token]) - expect
					chi += d * d / expect
					free++
				}
			}
			// Wilson and Hilferty: the cube root of chi²/free is nearly normal. 3.5 standard deviations is one in 4,300.
			if free > 0 {
				v := 2.0 / (9 * float64(free))
				if z := (math.Cbrt(chi/float64(free)) - (1 - v)) / math.Sqrt(v); z > 3.5 {
					t.Errorf("chi-square is %.1f with %d degrees of freedom, z = %.1f", chi, free, z)
				}
			}
		})
	}
}

// TestPositionsAreIndependent draws at neighbouring positions and seeds: pairs must be as frequent as their product says.
func TestPositionsAreIndependent(t *testing.T) {
	const n, draws = 4, 16000
	logits := make([]float32, n)
	counts := [n][n]int{}
	one := func(seed uint64, position int) int32 { return draw(none, logits, 0, 1, newNoise(seed, position)).token }
	for i := range draws {
		counts[one(uint64(i), i%50)][one(uint64(i), i%50+1)]++
	}
	chi := 0.0
	for _, row := range counts {
		for _, c := range row {
			d := float64(c) - draws/(n*n)
			chi += d * d / (draws / (n * n))
		}
	}
	if chi > 37.7 { // 15 degrees of freedom, one in a thousand
		t.Errorf("chi-square is %.1f", chi)
	}
}

// TestNucleusMax reaches the limit: top-p of a level distribution is cut at NucleusMax tokens.
func TestNucleusMax(t *testing.T) {
	logits := make([]float32, 3000)
	seen := map[int32]bool{}
	var s Scratch
	parts := make([]Part, 1)
	var c Choice
	p := Params{Temperature: 1, TopP: 0.9}
	for i := range 200 {
		ask := Ask{Sample: true, Params: &p, Position: i, Target: -1}
		s.Examine(&parts[0], slices.Clone(logits), 0, &ask)
		s.Choose(&c, parts, &ask)
		if c.Token >= NucleusMax {
			t.Fatalf("token %d was drawn, of %d candidates", c.Token, NucleusMax)
		}
		seen[c.Token] = true
	}
	if len(parts[0].Picks) != NucleusMax || len(seen) < 100 {
		t.Errorf("%d candidates, %d different tokens in 200 draws", len(parts[0].Picks), len(seen))
	}
	// A larger top-k is no top-k, so that all tokens may come.
	p = Params{Temperature: 1, TopK: NucleusMax + 1}
	for i := range 200 {
		ask := Ask{Sample: true, Params: &p, Position: i, Target: -1}
		s.Examine(&parts[0], slices.Clone(logits), 0, &ask)
		s.Choose(&c, parts, &ask)
		if c.Token >= NucleusMax {
			return
		}
	}
	t.Error("no token beyond the limit in 200 draws")
}

func TestGreedyTies(t *testing.T) {
	c := answer(t, []float32{1, 5, 5, 5}, &Ask{Sample: true, Params: &Params{}, Target: -1}, []int{0, 2, 3, 4}, []int{2, 1, 0})
	if c.Token != 1 {
		t.Errorf("token %d, want 1", c.Token)
	}
}

// TestLogprobs checks that log-probabilities are those of the untouched logits.
func TestLogprobs(t *testing.T) {
	logits := []float32{1, 3, 2, -1}
	p := Params{Banned: []int32{1}, Temperature: 0.5, TopK: 1, RepetitionPenalty: 2}
	ask := Ask{Sample: true, Params: &p, History: []int32{2}, Logprobs: true, Top: 2, Target: 3, TargetLogit: -1}
	c := answer(t, logits, &ask, []int{0, 1, 4}, []int{0, 1})
	sum := 0.0
	for _, l := range logits {
		sum += math.Exp(float64(l))
	}
	near := func(got float32, logit float64) bool { return math.Abs(float64(got)-(logit-math.Log(sum))) < 1e-6 }
	if c.Token != 0 || !near(c.Logprob, 1) { // 2 is halved by the penalty and loses the tie
		t.Errorf("token %d with %v", c.Token, c.Logprob)
	}
	if len(c.Top) != 2 || c.Top[0].Token != 1 || !near(c.Top[0].Score, 3) || c.Top[1].Token != 2 || !near(c.Top[1].Score, 2) {
		t.Errorf("top is %v", c.Top)
	}
	if !near(c.TargetLogprob, -1) || c.TargetRank != 4 {
		t.Errorf("target has %v, rank %d", c.TargetLogprob, c.TargetRank)
	}
}

func TestEverythingBanned(t *testing.T) {
	p := Params{Banned: []int32{0, 1}, Temperature: 1}
	if c := answer(t, []float32{1, 2}, &Ask{Sample: true, Params: &p, Target: -1}, []int{0, 2}, []int{0}); c.Token != -1 {
		t.Errorf("token %d, want none", c.Token)
	}
}

func TestAbove(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		logits := rows(t, 1, 50)
		for i, c := range sortedTop(logits, 0, len(logits)) {
			count := 0
			cuts := cut(t, len(logits))
			for i := range cuts[1:] {
				count += int(above(logits[cuts[i]:cuts[i+1]], cuts[i], c.Token, c.Score))
			}
			if count != i {
				t.Fatalf("%d tokens above token %d, want %d", count, c.Token, i)
			}
		}
	})
}

// TestRowAllocates checks that a warm scratch does not.
func TestRowAllocates(t *testing.T) {
	logits := logits256k()[:20000]
	row := make([]float32, len(logits))
	for name, p := range map[string]Params{
		"greedy": {}, "plain": {Temperature: 1}, "top-k": {Temperature: 1, TopK: 50}, "top-p": {Temperature: 1, TopP: 0.9},
		"penalties": {RepetitionPenalty: 1.1, FrequencyPenalty: 1, Temperature: 0.8, TopP: 0.95},
	} {
		var s Scratch
		parts := make([]Part, 1)
		var c Choice
		history := []int32{5, 6, 7, 5, 9000}
		position := 0
		var ask Ask
		n := testing.AllocsPerRun(20, func() {
			copy(row, logits)
			ask = Ask{Sample: true, Params: &p, Position: position, History: history, Prompt: 2, Logprobs: true, Top: 5, Target: -1}
			s.Examine(&parts[0], row, 0, &ask)
			s.Choose(&c, parts, &ask)
			position++
		})
		if n > 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func FuzzParse(f *testing.F) {
	var s Scratch
	var p Part
	f.Add(p.Append(nil))
	ask := Ask{Sample: true, Params: &Params{Temperature: 1, TopP: 0.5}, Top: 3}
	s.Examine(&p, []float32{1, 2, 3, -40}, 0, &ask)
	f.Add(p.Append(nil))
	f.Add([]byte{255, 255, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		var part Part
		rest, err := part.Parse(data)
		if err != nil {
			return
		}
		if again := part.Append(nil); len(again)+len(rest) > len(data) {
			t.Fatalf("%d bytes became %d", len(data)-len(rest), len(again))
		}
		var c Choice
		var s Scratch
		s.Choose(&c, []Part{part, part}, &ask) // must not panic whatever the numbers are
	})
}

func BenchmarkRow(b *testing.B) {
	logits := logits256k()
	row := make([]float32, len(logits))
	for _, c := range []struct {
		name string
		ask  Ask
	}{
		{"ask=greedy", Ask{Sample: true, Params: &Params{}, Target: -1}},
		{"ask=plain", Ask{Sample: true, Params: &Params{Temperature: 1}, Target: -1}},
		{"ask=top-k", Ask{Sample: true, Params: &Params{Temperature: 0.8, TopK: 50, TopP: 0.95}, Target: -1}},
		{"ask=top-p", Ask{Sample: true, Params: &Params{Temperature: 0.7, TopP: 0.8}, Target: -1}},
		{"ask=greedy-logprobs", Ask{Sample: true, Params: &Params{}, Logprobs: true, Top: 5, Target: -1}},
		{"ask=beam", Ask{Sample: true, Params: &Params{}, Top: 8, Target: -1}},
	} {
		b.Run(c.name, func(b *testing.B) {
			var s Scratch
			parts := make([]Part, 1)
			var choice Choice
			b.ReportAllocs()
			for b.Loop() {
				copy(row, logits)
				c.ask.Position++
				s.Examine(&parts[0], row, 0, &c.ask)
				s.Choose(&choice, parts, &c.ask)
			}
		})
	}
}
