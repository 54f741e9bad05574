package sample

import "math"

// Ask is what is wanted of one row of logits: the next token after some sequence, log-probabilities, or both. Every rank of the
// group asks the same of its slice of the vocabulary.
type Ask struct {
	Sample   bool
	Params   *Params // when Sample is set
	Position int     // that the sampled token will have in its sequence: the number of tokens before it
	History  []int32 // prompt and output so far; only read if Params.Penalises
	Prompt   int     // how many of History are prompt

	Logprobs bool // give the log-probability of the sampled token
	Top      int  // give that many of the likeliest tokens, with log-probabilities

	Target int32 // give the log-probability of this token; -1 is none
}

// knows tells whether the model's own probabilities are wanted.
func (a *Ask) knows() bool { return a.Logprobs || a.Top > 0 || a.Target >= 0 }

// Pick is a token that may be sampled.
type Pick struct {
	Token int32
	Score float32 // its logit after penalties
	Raw   float32 // and before
}

// Part is what one slice of the vocabulary has to say about a row. Its slices are reused by Examine and Parse.
type Part struct {
	Picks []Pick      // the best candidates for sampling, best first
	Heat  Mass        // of all penalised logits at the sampling temperature; only where top-p needs it
	Top   []Candidate // the likeliest tokens and their own logits
	Mass  Mass        // of the model's own logits at temperature 1

	Target    float32 // the target's own logit, if it lies in this slice
	HasTarget bool
}

// Choice is what a row gives. Log-probabilities are those of the model itself.
type Choice struct {
	Token   int32 // -1 if none was asked for or every token is banned
	Logprob float32
	Top     []Candidate // log-probabilities, likeliest first; reused by Choose

	TargetLogit   float32 // for Above
	TargetLogprob float32
}

// Examine fills part from the logits of tokens lo, lo+1, …. It changes the logits.
func (s *Scratch) Examine(part *Part, logits []float32, lo int, ask *Ask) {
	part.Picks, part.Top = part.Picks[:0], part.Top[:0]
	part.Heat, part.Mass = Mass{}, Mass{}
	part.Target, part.HasTarget = 0, false
	if ask.knows() {
		part.Mass.Add(logits, 1)
		if ask.Top > 0 {
			part.Top = s.TopM(part.Top, logits, lo, ask.Top)
		}
		if i := int(ask.Target) - lo; ask.Target >= 0 && i >= 0 && i < len(logits) {
			part.Target, part.HasTarget = logits[i], true
		}
	}
	if ask.Sample {
		s.examinePicks(part, logits, lo, ask)
	}
}

// examinePicks finds what may be sampled.
func (s *Scratch) examinePicks(part *Part, logits []float32, lo int, ask *Ask) {
	p := ask.Params
	s.Penalise(logits, lo, p, ask.History, ask.Prompt)
	add := func(token int32) {
		part.Picks = append(part.Picks, Pick{token, logits[int(token)-lo], s.raw(logits, lo, token)})
	}
	if !p.Greedy() && !p.filtered() {
		if best := draw(logits, lo, p.cold(), newNoise(p.Seed, ask.Position)); best.token >= 0 {
			add(best.token)
		}
		return
	}
	if p.picks() == 1 {
		var one [1]Candidate
		for _, c := range appendBest(one[:0], logits, lo) {
			add(c.Token)
		}
		return
	}
	for _, k := range s.selectTop(logits, lo, p.picks()) {
		add(unkey(k).Token)
	}
	if p.nucleus() && p.topK() == 0 {
		part.Heat.Add(logits, p.heat())
	}
}

// Choose joins the parts of all slices of the vocabulary, in any order. It reuses choice.Top.
func (s *Scratch) Choose(choice *Choice, parts []Part, ask *Ask) {
	top := choice.Top[:0]
	*choice = Choice{Token: -1}
	var mass Mass
	for i := range parts {
		mass.Merge(&parts[i].Mass)
	}
	sum := math.Inf(-1)
	if ask.knows() {
		sum = mass.Log()
	}
	choice.Top = s.joinTop(top, parts, ask.Top, sum)
	for i := range parts {
		if parts[i].HasTarget {
			choice.TargetLogit = parts[i].Target
			choice.TargetLogprob = logprob(parts[i].Target, sum)
		}
	}
	if !ask.Sample {
		return
	}
	picks := s.joinPicks(parts, ask.Params)
	if len(picks) == 0 {
		return
	}
	var best Pick
	if ask.Params.Greedy() {
		best = picks[0]
	} else {
		best = s.pick(picks, parts, ask)
	}
	choice.Token = best.Token
	if ask.knows() {
		choice.Logprob = logprob(best.Raw, sum)
	}
}

func logprob(logit float32, sum float64) float32 { return float32(float64(logit) - sum) }

// joinTop merges the likeliest tokens and makes log-probabilities of their logits.
func (s *Scratch) joinTop(dst []Candidate, parts []Part, m int, sum float64) []Candidate {
	if m <= 0 {
		return dst
	}
	keys := s.keys[:0]
	for i := range parts {
		for _, c := range parts[i].Top {
			keys = append(keys, key(c.Token, c.Score))
		}
	}
	s.keys = keys[:cap(keys)]
	descend(keys)
	for _, k := range keys[:min(m, len(keys))] {
		c := unkey(k)
		dst = append(dst, Candidate{c.Token, logprob(c.Score, sum)})
	}
	return dst
}

// joinPicks merges the candidates for sampling, each part's in order already: as many as one slice alone would have named, but
// where each part drew one of the whole vocabulary, all of them.
func (s *Scratch) joinPicks(parts []Part, p *Params) []Pick {
	if len(parts) == 1 {
		return parts[0].Picks
	}
	want := p.picks()
	if !p.Greedy() && !p.filtered() {
		want = len(parts)
	}
	if cap(s.next) < len(parts) {
		s.next = make([]int, len(parts))
	}
	next := s.next[:len(parts)]
	clear(next)
	s.picks = s.picks[:0]
	for len(s.picks) < want {
		best, from := uint64(0), -1
		for i := range parts {
			if next[i] == len(parts[i].Picks) {
				continue
			}
			if c := parts[i].Picks[next[i]]; from < 0 || key(c.Token, c.Score) > best {
				best, from = key(c.Token, c.Score), i
			}
		}
		if from < 0 {
			break
		}
		s.picks = append(s.picks, parts[from].Picks[next[from]])
		next[from]++
	}
	return s.picks
}

// pick filters the candidates, which are sorted, and draws one of what is left.
func (s *Scratch) pick(picks []Pick, parts []Part, ask *Ask) Pick {
	p := ask.Params
	if p.nucleus() {
		picks = nucleus(picks, parts, p)
	}
	cold := p.cold()
	if p.MinP > 0 {
		least := scaled(picks[0].Score, cold) + logarithm(float64(p.MinP))
		for len(picks) > 1 && scaled(picks[len(picks)-1].Score, cold) < least {
			picks = picks[:len(picks)-1]
		}
	}
	n := newNoise(p.Seed, ask.Position)
	best, at := none, 0
	for i, c := range picks {
		if d := (noisy{c.Token, scaled(c.Score, cold) + gumbel(n.hash(c.Token))}); d.better(best) {
			best, at = d, i
		}
	}
	return picks[at]
}

// nucleus keeps the likeliest candidates until their probability reaches top-p, the one that reaches it included. The whole is
// what top-k left, or the vocabulary if there is no top-k.
func nucleus(picks []Pick, parts []Part, p *Params) []Pick {
	var whole Mass
	if p.topK() > 0 {
		for _, c := range picks {
			whole.addOne(c.Score, p.heat())
		}
	} else {
		for i := range parts {
			whole.Merge(&parts[i].Heat)
		}
	}
	limit := float64(float64(p.TopP) * float64(whole.total()))
	var before uint64
	for i, c := range picks {
		if i > 0 && float64(before) >= limit {
			return picks[:i]
		}
		before += whole.share(c.Score, p.heat())
	}
	return picks
}

// Above counts the tokens of a slice that are likelier than the given one: of equal ones the smaller is. One more than the sum
// over all slices is the token's rank.
func Above(logits []float32, lo int, token int32, logit float32) int {
	count, at := 0, int(token)-lo
	for i, l := range logits {
		if l > logit || l == logit && i < at {
			count++
		}
	}
	return count
}
