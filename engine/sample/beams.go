package sample

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// BeamsMax is the largest number of beams.
const BeamsMax = 16

// BeamOptions says how a beam search goes. The rules are those of BeamSearchScorer in transformers 4.31, the version that PolyLM's
// authors name.
type BeamOptions struct {
	Beams         int     // hypotheses that are followed side by side
	LengthPenalty float32 // a hypothesis scores its sum of log-probabilities over length^penalty; prompt included, stop id not
	EarlyStopping bool    // end as soon as Beams hypotheses are finished, instead of when none of the open ones looks better
	Stop          []int32 // ids that finish a hypothesis
	Prompt        int     // tokens of the prompt
	MinTokens     int     // no stop id before that many tokens of output
	MaxTokens     int     // of output, at least 1
	Top           int     // remember that many of the likeliest tokens of each step
}

// Beam is a hypothesis, open or finished.
type Beam struct {
	Parent   int           // which beam of the step before it continues
	Tokens   []int32       // output so far; of a finished one with its stop id
	Logprobs []float32     // of each token
	Tops     [][]Candidate // of each token, when asked for; shared between beams and never changed
	Sum      float32       // of the log-probabilities, added in order
	Score    float64       // of a finished one: what it is ranked by
	Stopped  bool          // a stop id finished it, not the length
}

// Beams is a beam search: it sees only tokens and log-probabilities.
type Beams struct {
	options BeamOptions
	live    []Beam // open, best first
	spare   []Beam // the memory of the step before
	done    []Beam // finished, in the order of their coming
	worst   float64
	length  int // tokens of output of each open beam
	over    bool
	moves   []move
}

// move is a possible step: a beam and its next token.
type move struct {
	beam    int
	token   int32
	logprob float32
	sum     float32
}

// NewBeams begins a search with one empty beam.
func NewBeams(options BeamOptions) (*Beams, error) {
	o := options
	switch {
	case o.Beams < 1 || o.Beams > BeamsMax:
		return nil, fmt.Errorf("%w: beams is %d, want 1 to %d", ErrParams, o.Beams, BeamsMax)
	case o.MaxTokens < 1:
		return nil, fmt.Errorf("%w: max_tokens is %d, want at least 1", ErrParams, o.MaxTokens)
	case math.IsNaN(float64(o.LengthPenalty)) || math.IsInf(float64(o.LengthPenalty), 0):
		return nil, fmt.Errorf("%w: length_penalty is %v", ErrParams, o.LengthPenalty)
	}
	o.Stop = slices.Clone(o.Stop)
	return &Beams{options: o, live: []Beam{{}}, worst: math.Inf(1)}, nil
}

// Want is how many of the likeliest tokens Advance needs of each beam. With one stop id that is twice the number of beams;
// later versions of transformers take more for several ids, and so does this.
func (b *Beams) Want() int {
	want := b.keep()
	if b.options.MinTokens > 0 {
		want += len(b.options.Stop) // they may have to be passed over
	}
	return max(want, b.options.Top)
}

// keep is the number of moves that are looked at in a step.
func (b *Beams) keep() int { return max(2, 1+len(b.options.Stop)) * b.options.Beams }

// Live returns the open beams, best first. They are valid until the next Advance.
func (b *Beams) Live() []Beam { return b.live }

// Over tells whether the search has ended.
func (b *Beams) Over() bool { return b.over }

// Advance takes a step: top(i) are the likeliest tokens after Live()[i] with their log-probabilities, likeliest first, Want of them
// unless the vocabulary has less. Afterwards Live returns the new open beams, unless the search is Over.
func (b *Beams) Advance(top func(beam int) []Candidate) {
	if b.over {
		return
	}
	b.collect(top)
	next := b.spare[:0]
	for rank := range b.moves {
		m := &b.moves[rank]
		if !slices.Contains(b.options.Stop, m.token) {
			next = b.extend(next, m, top)
		} else if rank < b.options.Beams {
			b.finish(b.stopped(m, top), b.options.Prompt+b.length)
		}
		if len(next) == b.options.Beams {
			break
		}
	}
	b.length++
	b.live, b.spare = next, b.live
	switch {
	case b.enough():
		b.over = true
	case len(b.live) == 0 || b.length >= b.options.MaxTokens:
		b.over = true
		for i := range b.live {
			b.finish(b.live[i], b.options.Prompt+b.length)
		}
	}
}

// collect finds the best moves of all beams: by sum, then by beam and token.
func (b *Beams) collect(top func(beam int) []Candidate) {
	b.moves = b.moves[:0]
	early := b.length < b.options.MinTokens
	for i := range b.live {
		for _, c := range top(i) {
			if early && slices.Contains(b.options.Stop, c.Token) {
				continue
			}
			b.moves = append(b.moves, move{i, c.Token, c.Score, b.live[i].Sum + c.Score})
		}
	}
	slices.SortFunc(b.moves, func(x, y move) int {
		return cmp.Or(cmp.Compare(y.sum, x.sum), cmp.Compare(x.beam, y.beam), cmp.Compare(x.token, y.token))
	})
	b.moves = b.moves[:min(len(b.moves), b.keep())]
}

// extend appends the beam that a move leads to, in the memory of an older one.
func (b *Beams) extend(next []Beam, m *move, top func(int) []Candidate) []Beam {
	var old Beam
	if len(next) < cap(next) {
		old = next[:len(next)+1][len(next)]
	}
	return append(next, b.moved(old, m, top))
}

// stopped is the finished beam that a move to a stop id leads to.
func (b *Beams) stopped(m *move, top func(int) []Candidate) Beam {
	beam := b.moved(Beam{}, m, top)
	beam.Stopped = true
	return beam
}

func (b *Beams) moved(old Beam, m *move, top func(int) []Candidate) Beam {
	from := &b.live[m.beam]
	beam := Beam{
		Parent:   m.beam,
		Tokens:   append(append(old.Tokens[:0], from.Tokens...), m.token),
		Logprobs: append(append(old.Logprobs[:0], from.Logprobs...), m.logprob),
		Sum:      m.sum,
	}
	if n := b.options.Top; n > 0 {
		list := top(m.beam)
		beam.Tops = append(append(old.Tops[:0], from.Tops...), slices.Clone(list[:min(n, len(list))]))
	}
	return beam
}

// finish adds a hypothesis of some length (prompt included, stop id not) if it is among the best Beams so far.
func (b *Beams) finish(beam Beam, length int) {
	beam.Score = float64(beam.Sum) / raise(float64(length), float64(b.options.LengthPenalty))
	if len(b.done) >= b.options.Beams && !(beam.Score > b.worst) {
		return
	}
	if !beam.Stopped { // its memory is that of an open beam
		beam.Tokens, beam.Logprobs = slices.Clone(beam.Tokens), slices.Clone(beam.Logprobs)
		beam.Tops = slices.Clone(beam.Tops)
	}
	b.done = append(b.done, beam)
	if len(b.done) <= b.options.Beams {
		b.worst = min(b.worst, beam.Score)
		return
	}
	byScore := func(x, y Beam) int { return cmp.Compare(x.Score, y.Score) }
	lowest := slices.MinFunc(b.done, byScore) // the first of equals
	at := slices.IndexFunc(b.done, func(x Beam) bool { return x.Score == lowest.Score })
	b.done = slices.Delete(b.done, at, at+1)
	b.worst = slices.MinFunc(b.done, byScore).Score
}

// enough tells whether the finished hypotheses cannot be beaten: there are Beams of them, and unless the first ones will do,
// the best move, were it to end here, would not score more than the worst of them. With a positive penalty a longer one might.
func (b *Beams) enough() bool {
	if len(b.done) < b.options.Beams {
		return false
	}
	if b.options.EarlyStopping || len(b.moves) == 0 {
		return true
	}
	length := float64(b.options.Prompt + b.length)
	best := float64(b.moves[0].sum) / raise(length, float64(b.options.LengthPenalty))
	return b.worst >= best
}

// Final returns the n best hypotheses of a search that is over, best first; there may be fewer.
func (b *Beams) Final(n int) []Beam {
	final := slices.Clone(b.done)
	slices.Reverse(final) // of equal scores the later one comes first, as in transformers
	slices.SortStableFunc(final, func(x, y Beam) int { return cmp.Compare(y.Score, x.Score) })
	return final[:min(n, len(final))]
}
