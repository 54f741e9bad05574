package engine

import "polynode/engine/sample"

// planned is one sequence's share of the step in the making.
type planned struct {
	sequence *sequence
	life     uint32 // the sequence's, when this was planned
	tokens   int
	copy     BlockCopy // Target 0 is none
}

// schedule makes the next step. It is empty if there is nothing to do beside what is under way. launch must be called with a step that has
// chunks before anything else, and the step is valid until then or until commit or abort have taken it.
func (s *scheduler) schedule() *Step {
	s.plan = s.plan[:0]
	s.budget = s.config.StepTokens
	s.share()
	for i := 0; i < len(s.running); i++ { // preemption shortens it from its end
		s.decode(s.running[i])
	}
	s.budget = min(s.budget, s.part)
	for i := 0; i < len(s.running); i++ {
		s.prefill(s.running[i])
	}
	s.admit()
	return s.write()
}

// decode plans one token for each sequence that has only one pending, as long as the step has room for them. Beams step all together or not
// at all.
func (s *scheduler) decode(j *job) {
	if j.searches() && j.forked {
		if s.rows > 0 && j.prefilling() == nil && j.live[0].pending() == 1 {
			s.rows -= len(j.live)
			s.place(j, j.live, 1)
		}
		return
	}
	for i, q := range j.live {
		if s.rows > 0 && q.pending() == 1 {
			s.rows--
			s.place(j, j.live[i:i+1], 1)
		}
	}
}

// prefill plans a chunk of the job's sequence whose turn it is: as many tokens as budget and free blocks allow.
func (s *scheduler) prefill(j *job) {
	for s.budget > 0 {
		q := j.prefilling()
		if q == nil {
			break
		}
		if q.begun == 0 && len(q.blocks) == 0 {
			s.reuse(q)
		}
		want := q.pending()
		if j.searches() && j.forked {
			want-- // the last token of all beams comes together
		}
		if want == 0 {
			if q.begun > q.computed {
				return // its end is under way
			}
			continue // the cache had the rest
		}
		room := (len(q.blocks)+s.pool.free)*BlockTokens - q.begun
		s.place(j, []*sequence{q}, min(want, s.budget, max(room, 1)))
		return
	}
	s.decode(j)
}

// reuse begins a sequence with what the cache has of it.
func (s *scheduler) reuse(q *sequence) {
	s.walk(q.job, q.tokens, func(id BlockID) {
		s.pool.retain(id)
		q.blocks = append(q.blocks, id)
	})
	q.computed = len(q.blocks) * BlockTokens
	q.begun = q.computed
	s.counts.cachedTokens += uint64(q.computed)
}

// place plans n tokens for each of some sequences of a job. Blocks that are lacking are taken from younger jobs; if that is not
// enough the sequences wait for the next step, with what they have.
func (s *scheduler) place(j *job, sequences []*sequence, n int) {
	if len(sequences)*n > s.budget {
		return
	}
	for s.need(sequences, n) > s.pool.free {
		if s.running[len(s.running)-1] == j {
			return
		}
		s.preempt()
	}
	for _, q := range sequences {
		s.budget -= n
		s.plan = append(s.plan, planned{q, q.life, n, s.cover(q, q.begun+n)})
		q.begun += n
	}
}

// need counts the blocks that must be taken before each of the sequences can compute n tokens.
func (s *scheduler) need(sequences []*sequence, n int) int {
	count := 0
	for _, q := range sequences {
		count += max(0, blocksFor(q.begun+n)-len(q.blocks))
		if b := s.writes(q); b != nil && b.refs-b.taken > 1 {
			b.taken++
			count++
		}
	}
	for _, q := range sequences {
		if b := s.writes(q); b != nil {
			b.taken = 0
		}
	}
	return count
}

// writes is the block that a sequence has and is going to write to first, or nil.
func (s *scheduler) writes(q *sequence) *block {
	if k := q.begun / BlockTokens; k < len(q.blocks) {
		return &s.pool.blocks[q.blocks[k]]
	}
	return nil
}

// cover gives a sequence blocks of its own for positions begun to end-1. It returns the copy that this takes.
func (s *scheduler) cover(q *sequence, end int) (c BlockCopy) {
	if b := s.writes(q); b != nil {
		k := q.begun / BlockTokens
		if b.refs > 1 {
			c = BlockCopy{Source: q.blocks[k], Target: s.pool.take()}
			s.pool.release(q.blocks[k])
			q.blocks[k] = c.Target
		} else {
			s.pool.forget(q.blocks[k]) // nobody may find it while it is written
		}
	}
	for len(q.blocks) < blocksFor(end) {
		q.blocks = append(q.blocks, s.pool.take())
	}
	return c
}

// greedy is what beams are given: they choose by themselves.
var greedy sample.Params

// write makes the step of the plan.
func (s *scheduler) write() *Step {
	f := s.flightFor()
	step := &f.step
	s.steps++
	step.ID, step.Epoch = s.steps, s.epoch
	f.blocks = f.blocks[:0]
	step.Copies, step.Chunks = step.Copies[:0], step.Chunks[:0]
	for i := range s.plan {
		p := &s.plan[i]
		if p.copy.Target != 0 {
			step.Copies = append(step.Copies, p.copy)
		}
		step.Chunks = append(step.Chunks, f.chunk(p.sequence, p.tokens))
	}
	return step
}

// chunk describes the last n tokens of those that a sequence has begun. Its block table is a copy, because the sequence's own may change while
// the step is under way; tokens and parameters do not.
func (f *flight) chunk(q *sequence, n int) Chunk {
	j, end := q.job, q.begun
	start, r := end-n, &j.request
	c := Chunk{
		Sequence: q.id, Tokens: q.tokens[start:end], Start: start,
		Sample: end == len(q.tokens) && r.MaxTokens > 0,
	}
	from := len(f.blocks)
	f.blocks = append(f.blocks, q.blocks[:blocksFor(end)]...)
	c.Blocks = f.blocks[from:len(f.blocks):len(f.blocks)]
	if start < len(r.Prompt) && j.known() < len(r.Prompt) {
		c.Targets = j.next[start:min(end, len(r.Prompt))]
		c.Top = r.Top
	}
	if !c.Sample {
		return c
	}
	if j.searches() {
		c.Params = &greedy
		c.Top = max(c.Top, j.search.Want())
		return c
	}
	c.Params = &q.params
	if q.output() < r.MinTokens {
		c.Params = &q.early
	}
	c.Logprobs = j.scored()
	if r.Logprobs {
		c.Top = r.Top
	}
	if c.Params.Penalises() {
		c.History, c.Prompt = q.tokens, len(r.Prompt)
	}
	return c
}
