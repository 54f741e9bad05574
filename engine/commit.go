package engine

import (
	"cmp"
	"fmt"
	"slices"

	"polynode/engine/sample"
)

// commit takes what the oldest step under way has given: a result for each of its chunks, in their order.
func (s *scheduler) commit(results []Result) {
	plan := s.land().plan
	for i := range plan {
		if p := &plan[i]; p.wanted() {
			s.advance(p.sequence, p.tokens)
		}
	}
	for i := 0; i < len(plan); {
		p, n := &plan[i], 1
		if p.wanted() { // otherwise an earlier chunk ended it, or it has lost its blocks since
			q := p.sequence
			if j := q.job; j.searches() && j.forked && q.left() == 0 {
				n = len(j.live)
			}
			s.take(q, p.tokens, results[i:i+n])
		}
		i += n
	}
}

// wanted tells whether the sequence still has the blocks that this is about.
func (p *planned) wanted() bool { return p.life == p.sequence.life }

// abort ends the jobs of the oldest step under way: it could not be run. Those of younger ones, which could not be run without it, are
// computed again from their tokens: not even blocks that they were to copy can be trusted.
func (s *scheduler) abort(err error) {
	plan := s.land().plan
	for i := range plan {
		if p := &plan[i]; p.wanted() {
			s.fail(p.sequence.job, err)
		}
	}
	if len(s.flights) > 0 {
		s.recall()
	}
}

// advance counts n more positions of a sequence as computed and makes the blocks that are full now known to the cache.
func (s *scheduler) advance(q *sequence, n int) {
	old := q.computed / BlockTokens
	q.computed += n
	for k := old; k < q.computed/BlockTokens; k++ {
		parent := uint64(0)
		if k > 0 {
			parent = s.pool.blocks[q.blocks[k-1]].serial
		}
		q.blocks[k] = s.pool.register(q.blocks[k], parent, q.tokens[k*BlockTokens:])
	}
}

// take takes the result of a sequence's chunk of n tokens, or those of all beams.
func (s *scheduler) take(q *sequence, n int, results []Result) {
	j := q.job
	if !s.takeTargets(q, n, results[0].Targets) {
		return
	}
	switch {
	case q.left() > 0: // more of the prompt is to come
	case j.request.MaxTokens == 0:
		for choice := range j.request.Choices {
			if j.dropped>>choice&1 == 0 {
				s.tell(j, Event{Choice: choice, Token: -1, Finish: FinishLength})
			}
		}
		s.end(j)
	case j.searches():
		s.takeBeams(j, results)
	default:
		s.takeToken(q, &results[0])
	}
}

// takeTargets remembers what the chunk says of the prompt's tokens, and tells it when it is complete. It returns false if the job
// failed.
func (s *scheduler) takeTargets(q *sequence, n int, targets []Target) bool {
	j := q.job
	if j.next == nil || j.told {
		return true
	}
	prompt, start := len(j.request.Prompt), q.computed-n
	if want := min(q.computed, prompt-1) - start; len(targets) < want {
		s.fail(j, fmt.Errorf("%w %d: %d targets of %d", ErrStep, s.landed, len(targets), want))
		return false
	}
	for position := len(j.targets) - 1; position < min(q.computed, prompt-1); position++ {
		t := targets[position-start]
		t.Top = slices.Clone(t.Top[:min(len(t.Top), j.request.Top)])
		j.targets = append(j.targets, t)
	}
	if len(j.targets) == prompt {
		s.tell(j, Event{Token: -1, Prompt: j.targets})
		j.told = true
	}
	return true
}

// takeToken appends a sampled token.
func (s *scheduler) takeToken(q *sequence, r *Result) {
	j := q.job
	if r.Token < 0 {
		s.fail(j, fmt.Errorf("%w %d: no token could be sampled", ErrStep, s.landed))
		return
	}
	if !j.forked {
		s.fork(j)
	}
	if !slices.Contains(j.live, q) {
		return // its choice was ended before its first token
	}
	q.tokens = append(q.tokens, r.Token)
	s.counts.outputTokens++
	e := Event{Choice: q.choice, Token: r.Token, Finish: q.finish(r.Token)}
	if j.scored() {
		q.logsum += float64(r.Logprob)
	}
	if j.request.Logprobs {
		e.Logprob = r.Logprob
		e.Top = slices.Clone(r.Top[:min(len(r.Top), j.request.Top)])
	}
	if j.holds() {
		q.held = append(q.held, e)
	} else {
		s.tell(j, e)
	}
	if e.Finish != "" {
		s.finish(q)
	}
}

// finish is why a sequence ends with the token that it just got, or nothing.
func (q *sequence) finish(token int32) FinishReason {
	r := &q.job.request
	switch {
	case q.output() > r.MinTokens && slices.Contains(r.StopIDs, token):
		return FinishStop
	case q.output() >= r.MaxTokens:
		return FinishLength
	}
	return ""
}

// fork makes a sequence for each choice when the prompt is done. They share its blocks, and compute only its last position
// again, to sample for themselves.
func (s *scheduler) fork(j *job) {
	j.forked = true
	first := j.live[0]
	shared := len(j.request.Prompt) - 1
	for choice := 1; choice < j.request.BestOf; choice++ {
		if j.dropped>>choice&1 != 0 {
			continue
		}
		q := j.newSequence(s.nextID(), choice)
		q.computed, q.begun = shared, shared
		q.blocks = append(q.blocks, first.blocks[:blocksFor(shared)]...)
		for _, id := range q.blocks {
			s.pool.retain(id)
		}
		j.live = append(j.live, q)
	}
	if j.dropped&1 != 0 {
		s.finish(first)
	}
}

// finish ends a sequence, and its job if it was the last.
func (s *scheduler) finish(q *sequence) {
	j := q.job
	s.free(q)
	j.live = slices.Delete(j.live, slices.Index(j.live, q), slices.Index(j.live, q)+1)
	if j.holds() {
		j.ended = append(j.ended, q)
	}
	if len(j.live) > 0 {
		return
	}
	if j.holds() {
		s.tellBest(j)
	}
	s.end(j)
}

// tellBest tells the choices that are likeliest per token, the likeliest first, as OpenAI ranks best_of.
func (s *scheduler) tellBest(j *job) {
	mean := func(q *sequence) float64 { return q.logsum / float64(q.output()) }
	slices.SortFunc(j.ended, func(a, b *sequence) int {
		return cmp.Or(cmp.Compare(mean(b), mean(a)), cmp.Compare(a.choice, b.choice))
	})
	for choice, q := range j.ended[:j.request.Choices] {
		for _, e := range q.held {
			e.Choice = choice
			s.tell(j, e)
		}
	}
}

// dropChoice ends a choice whose reader has seen enough. Choices that are shown only at the end are not affected.
func (s *scheduler) dropChoice(j *job, choice int) {
	if j.holds() || j.searches() || choice < 0 || choice >= j.request.Choices {
		return
	}
	j.dropped |= 1 << choice
	if j.dropped == 1<<j.request.Choices-1 {
		s.drop(j)
		s.end(j)
		return
	}
	if !j.forked && j.request.Choices > 1 {
		return // fork will know
	}
	for _, q := range j.live {
		if q.choice == choice {
			s.finish(q)
			return
		}
	}
}

// takeBeams takes a step of a beam search.
func (s *scheduler) takeBeams(j *job, results []Result) {
	for i := range results {
		if len(results[i].Top) == 0 {
			s.fail(j, fmt.Errorf("%w %d: no candidates for a beam", ErrStep, s.landed))
			return
		}
	}
	j.search.Advance(func(i int) []sample.Candidate { return results[i].Top })
	s.counts.outputTokens += uint64(len(results))
	j.forked = true
	if j.search.Over() {
		s.tellBeams(j)
		s.end(j)
		return
	}
	s.followBeams(j)
}

// followBeams makes the sequences of the beams that are open now. Each begins with the blocks of the one it continues; what it
// writes later, it writes to copies.
func (s *scheduler) followBeams(j *job) {
	old := j.live
	var next []*sequence
	for i, beam := range j.search.Live() {
		from := old[beam.Parent]
		var q *sequence
		if n := len(j.spare); n > 0 {
			q, j.spare = j.spare[n-1], j.spare[:n-1]
			q.choice = i
		} else {
			q = j.newSequence(s.nextID(), i)
		}
		q.tokens = append(append(q.tokens[:0], from.tokens...), beam.Tokens[len(beam.Tokens)-1])
		q.blocks = append(q.blocks[:0], from.blocks...)
		for _, id := range q.blocks {
			s.pool.retain(id)
		}
		q.computed, q.begun = from.computed, from.computed
		next = append(next, q)
	}
	for _, q := range old {
		s.free(q)
	}
	j.spare = append(j.spare, old...)
	j.live = next
}

// tellBeams tells the best hypotheses.
func (s *scheduler) tellBeams(j *job) {
	r := &j.request
	final := j.search.Final(r.Choices)
	for choice := range r.Choices {
		if choice >= len(final) { // the vocabulary had not enough tokens
			s.tell(j, Event{Choice: choice, Token: -1, Finish: FinishLength})
			continue
		}
		beam := &final[choice]
		for i, token := range beam.Tokens {
			e := Event{Choice: choice, Token: token}
			if r.Logprobs {
				e.Logprob = beam.Logprobs[i]
				if r.Top > 0 {
					e.Top = slices.Clone(beam.Tops[i])
				}
			}
			if i == len(beam.Tokens)-1 {
				e.Finish = FinishLength
				if beam.Stopped {
					e.Finish = FinishStop
				}
			}
			s.tell(j, e)
		}
	}
}

func (s *scheduler) tell(j *job, e Event) { s.news = append(s.news, news{j, e}) }

// end ends a job well.
func (s *scheduler) end(j *job) {
	s.drop(j)
	s.endings = append(s.endings, ending{job: j})
}
