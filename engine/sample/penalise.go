package sample

import "math"

// touched is the set of tokens whose logits Penalise has to look at: a hash table of the scratch.
type touched struct {
	slots   []int32 // index into entries plus 1; 0 is empty; the length is a power of two
	entries []entry
}

type entry struct {
	token int32
	count int32   // in the output
	seen  bool    // in prompt or output
	raw   float32 // the logit before it was changed
}

// reset empties the table and makes room for n tokens.
func (t *touched) reset(n int) {
	size := 16
	for size < 2*n {
		size *= 2
	}
	if len(t.slots) < size {
		t.slots = make([]int32, size)
		t.entries = make([]entry, 0, size/2)
		return
	}
	clear(t.slots)
	t.entries = t.entries[:0]
}

// find returns the entry of a token, or nil; with add, an absent one is added.
func (t *touched) find(token int32, add bool) *entry {
	if len(t.slots) == 0 {
		return nil
	}
	mask := uint32(len(t.slots) - 1)
	for at := uint32(token) * 0x9e3779b1 >> 8 & mask; ; at = (at + 1) & mask {
		i := t.slots[at]
		if i == 0 {
			if !add {
				return nil
			}
			t.entries = append(t.entries, entry{token: token})
			t.slots[at] = int32(len(t.entries))
			return &t.entries[len(t.entries)-1]
		}
		if t.entries[i-1].token == token {
			return &t.entries[i-1]
		}
	}
}

// Penalise changes logits in place as the parameters say; logits[i] is that of token lo+i. history is prompt and output so far,
// the first prompt tokens of it the prompt. In this order, which is vLLM's:
//
//   - bias is added;
//   - repetition: the logit of a token of the history is divided by the penalty if it is positive, otherwise multiplied;
//   - frequency: the penalty is taken off for each time the token is in the output;
//   - presence: the penalty is taken off once if the token is in the output;
//   - banned tokens get -Inf.
func (s *Scratch) Penalise(logits []float32, lo int, p *Params, history []int32, prompt int) {
	s.touched.reset(0)
	if p.Plain() {
		return
	}
	if !p.Penalises() {
		history, prompt = nil, 0
	}
	t := &s.touched
	t.reset(len(history) + len(p.Bias) + len(p.Banned))
	inside := func(token int32) bool { return int(token) >= lo && int(token) < lo+len(logits) }
	touch := func(token int32) *entry {
		n := len(t.entries)
		e := t.find(token, true)
		if len(t.entries) > n {
			e.raw = logits[int(token)-lo]
		}
		return e
	}
	for i, token := range history {
		if inside(token) {
			e := touch(token)
			e.seen = true
			if i >= prompt {
				e.count++
			}
		}
	}
	for _, b := range p.Bias {
		if inside(b.Token) {
			touch(b.Token)
			logits[int(b.Token)-lo] += b.Value
		}
	}
	for i := range t.entries {
		e := &t.entries[i]
		l := &logits[int(e.token)-lo]
		*l = p.penalised(*l, e)
	}
	for _, token := range p.Banned {
		if inside(token) {
			touch(token)
			logits[int(token)-lo] = float32(math.Inf(-1))
		}
	}
}

// penalised is a logit after the three penalties.
func (p *Params) penalised(l float32, e *entry) float32 {
	if e.seen && p.repeats() {
		if l > 0 {
			l /= p.RepetitionPenalty
		} else {
			l *= p.RepetitionPenalty
		}
	}
	if e.count > 0 {
		l -= float32(p.FrequencyPenalty * float32(e.count))
		l -= p.PresencePenalty
	}
	return l
}

// raw is the logit of a token before Penalise changed it.
func (s *Scratch) raw(logits []float32, lo int, token int32) float32 {
	if e := s.touched.find(token, false); e != nil {
		return e.raw
	}
	return logits[int(token)-lo]
}
