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

	Target      int32   // give the log-probability and the rank of this token; -1 is none
	TargetLogit float32 // its logit, which has to be known before the others are looked at
}

// knows tells whether the model's own probabilities are wanted.
func (a *Ask) knows() bool { return a.Logprobs || a.Top > 0 || a.Target >= 0 }

// Pick is a token that may be sampled.
type Pick struct {
	Token int32
	Score float32 // its logit after penalties
	Raw   float32 // and before
}

// Part is what one slice of the vocabulary has to say about a row. Its slices are reused by Fill and Parse.
type Part struct {
	Picks []Pick      // the best candidates for sampling, best first
	Heat  Mass        // of all penalised logits at the sampling temperature; only where top-p needs it
	Top   []Candidate // the likeliest tokens and their own logits
	Mass  Mass        // of the model's own logits at temperature 1
	Above uint32      // how many tokens are likelier than the target: of equal ones the smaller is
}

// Choice is what a row gives. Log-probabilities are those of the model itself.
type Choice struct {
	Token   int32 // -1 if none was asked for or every token is banned
	Logprob float32
	Top     []Candidate // log-probabilities, likeliest first; reused by Choose

	TargetLogprob float32
	TargetRank    int // 1 for the likeliest token of all
}

// Row is a question that is being answered: what has to be known before the first logit comes. It is read by the tallies of the
// row. The zero value is ready for Prepare; a warm one allocates nothing.
type Row struct {
	ask     *Ask
	noise   noise
	changes changes
}

// Prepare takes a question, which must stay as it is until the answer is there.
func (r *Row) Prepare(ask *Ask) {
	r.ask = ask
	if ask.Sample {
		r.noise = newNoise(ask.Params.Seed, ask.Position)
		r.changes.prepare(ask.Params, ask.History, ask.Prompt)
	}
}

// Tally is what one goroutine has seen of a row. The logits come to it piece by piece, in any order, as they are made, and are
// looked at once; several tallies of a row may be filled at the same time. The zero value is ready for Reset.
type Tally struct {
	row   *Row
	part  Part      // only Heat, Mass and Above
	best  noisy     // of a draw from the whole vocabulary
	picks selection // or of a choice among few
	top   selection
}

// Reset begins a row.
func (t *Tally) Reset(row *Row) {
	ask := row.ask
	t.row, t.best = row, none
	t.part.Heat, t.part.Mass, t.part.Above = Mass{}, Mass{}, 0
	t.top.reset(ask.Top)
	t.picks.reset(0)
	if ask.Sample && !ask.Params.draws() {
		t.picks.reset(ask.Params.picks())
	}
}

// Add looks at the logits of tokens lo, lo+1, … and changes them.
func (t *Tally) Add(logits []float32, lo int) {
	ask := t.row.ask
	if ask.knows() {
		t.part.Mass.Add(logits, 1)
		t.top.add(logits, lo)
	}
	if ask.Target >= 0 {
		t.part.Above += above(logits, lo, ask.Target, ask.TargetLogit)
	}
	if !ask.Sample {
		return
	}
	p := ask.Params
	t.row.changes.apply(logits, lo, p)
	if p.draws() {
		t.best = draw(t.best, logits, lo, p.cold(), t.row.noise)
		return
	}
	t.picks.add(logits, lo)
	if p.hot() {
		t.part.Heat.Add(logits, p.heat())
	}
}

// Merge takes what another tally of the row has seen.
func (t *Tally) Merge(o *Tally) {
	t.part.Heat.Merge(&o.part.Heat)
	t.part.Mass.Merge(&o.part.Mass)
	t.part.Above += o.part.Above
	t.top.merge(&o.top)
	t.picks.merge(&o.picks)
	if o.best.better(t.best) {
		t.best = o.best
	}
}

// Fill makes a part of what the tally has seen.
func (t *Tally) Fill(part *Part) {
	ask := t.row.ask
	part.Picks, part.Top = part.Picks[:0], part.Top[:0]
	part.Heat, part.Mass, part.Above = t.part.Heat, t.part.Mass, t.part.Above
	for _, k := range t.top.sorted() {
		part.Top = append(part.Top, unkey(k))
	}
	switch {
	case !ask.Sample:
	case ask.Params.draws():
		if t.best.token >= 0 {
			part.add(t.row, Candidate{t.best.token, t.best.logit})
		}
	default:
		for _, k := range t.picks.sorted() {
			part.add(t.row, unkey(k))
		}
	}
}

// add appends a pick.
func (part *Part) add(row *Row, c Candidate) {
	part.Picks = append(part.Picks, Pick{c.Token, c.Score, row.changes.raw(c.Token, c.Score)})
}

// Scratch is the working memory of one goroutine. The zero value is ready; buffers only grow.
type Scratch struct {
	row   Row
	tally Tally
	keys  []uint64
	picks []Pick
	next  []int
}

// Examine fills part from the logits of tokens lo, lo+1, … that lie there in one piece. It changes the logits.
func (s *Scratch) Examine(part *Part, logits []float32, lo int, ask *Ask) {
	s.row.Prepare(ask)
	s.tally.Reset(&s.row)
	s.tally.Add(logits, lo)
	s.tally.Fill(part)
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
	if ask.Target >= 0 {
		choice.TargetLogprob, choice.TargetRank = logprob(ask.TargetLogit, sum), 1
		for i := range parts {
			choice.TargetRank += int(parts[i].Above)
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
	if p.draws() {
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
		if d := (noisy{c.Token, c.Score, scaled(c.Score, cold) + gumbel(n.hash(c.Token))}); d.better(best) {
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

// above counts the tokens of a slice that are likelier than the given one: of equal ones the smaller is.
func above(logits []float32, lo int, token int32, logit float32) (count uint32) {
	at := int(token) - lo
	for i, l := range logits {
		if l > logit || l == logit && i < at {
			count++
		}
	}
	return count
}
