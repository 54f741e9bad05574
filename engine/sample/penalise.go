package sample

import (
	"cmp"
	"math"
	"slices"
	"sort"
)

// changes is what the parameters of a row do to the logits of some tokens.
type changes struct {
	list   []change // by token
	biases []Bias   // by token, those of equal tokens in their order
	table  table
}

// change is what happens to one token's logit.
type change struct {
	token  int32
	count  int32   // in the output
	seen   bool    // in prompt or output
	banned bool    // whatever its logit
	biases int32   // how many of changes.biases are its,
	first  int32   // from which on
	raw    float32 // the logit before it was changed; set by apply
}

// prepare lists the changes that p asks for. history is prompt and output so far, the first prompt tokens of it the prompt.
func (c *changes) prepare(p *Params, history []int32, prompt int) {
	c.list, c.biases = c.list[:0], c.biases[:0]
	if p.Plain() {
		return
	}
	if !p.Penalises() {
		history, prompt = nil, 0
	}
	c.table.reset(len(history) + len(p.Bias) + len(p.Banned))
	for i, token := range history {
		e := c.touch(token)
		e.seen = true
		if i >= prompt {
			e.count++
		}
	}
	for _, token := range p.Banned {
		c.touch(token).banned = true
	}
	for _, b := range p.Bias {
		c.touch(b.Token).biases++
	}
	c.biases = append(c.biases, p.Bias...)
	slices.SortStableFunc(c.biases, func(a, b Bias) int { return cmp.Compare(a.Token, b.Token) })
	slices.SortFunc(c.list, func(a, b change) int { return cmp.Compare(a.token, b.token) })
	first := int32(0)
	for i := range c.list {
		c.list[i].first = first
		first += c.list[i].biases
	}
}

// touch is the change of a token, an empty one at first.
func (c *changes) touch(token int32) *change {
	at := c.table.find(token, int32(len(c.list)))
	if int(at) == len(c.list) {
		c.list = append(c.list, change{token: token})
	}
	return &c.list[at]
}

// at is where the changes of tokens from token on begin. It looks at nothing but tokens, because apply may be writing to changes elsewhere in the
// list at the same time.
func (c *changes) at(token int32) int {
	return sort.Search(len(c.list), func(i int) bool { return c.list[i].token >= token })
}

// apply changes logits in place; logits[i] is that of token lo+i. Different pieces of the vocabulary may be changed at once. In this
// order, which is vLLM's:
//
//   - bias is added;
//   - repetition: the logit of a token of the history is divided by the penalty if it is positive, otherwise multiplied;
//   - frequency: the penalty is taken off for each time the token is in the output;
//   - presence: the penalty is taken off once if the token is in the output;
//   - banned tokens get -Inf.
func (c *changes) apply(logits []float32, lo int, p *Params) {
	if len(c.list) == 0 {
		return
	}
	for i := c.at(int32(lo)); i < len(c.list) && int(c.list[i].token) < lo+len(logits); i++ {
		e := &c.list[i]
		l := logits[int(e.token)-lo]
		e.raw = l
		for _, b := range c.biases[e.first : e.first+e.biases] {
			l += b.Value
		}
		l = p.penalised(l, e)
		if e.banned {
			l = float32(math.Inf(-1))
		}
		logits[int(e.token)-lo] = l
	}
}

// penalised is a logit after the three penalties.
func (p *Params) penalised(l float32, e *change) float32 {
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

// raw is the logit of a token before apply made score of it.
func (c *changes) raw(token int32, score float32) float32 {
	if i := c.at(token); i < len(c.list) && c.list[i].token == token {
		return c.list[i].raw
	}
	return score
}

// table is a hash table from tokens to places in a list.
type table struct {
	slots []slot // the length is a power of two
}

type slot struct {
	token int32
	place int32 // plus 1; 0 is empty
}

// reset empties the table and makes room for n tokens.
func (t *table) reset(n int) {
	size := 16
	for size < 2*n {
		size *= 2
	}
	if len(t.slots) < size {
		t.slots = make([]slot, size)
		return
	}
	clear(t.slots)
}

// find returns the place of a token, which becomes next if it has none.
func (t *table) find(token, next int32) int32 {
	mask := uint32(len(t.slots) - 1)
	for at := uint32(token) * 0x9e3779b1 >> 8 & mask; ; at = (at + 1) & mask {
		s := &t.slots[at]
		if s.place == 0 {
			*s = slot{token, next + 1}
			return next
		}
		if s.token == token {
			return s.place - 1
		}
	}
}
