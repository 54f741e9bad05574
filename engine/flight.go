package engine

// flight is a step that is under way, with all memory that it points to and the scheduler might change meanwhile.
//
// Several may be under way at once, and they are committed in the order in which they were scheduled. What a sequence has under way
// is counted by begun; what is committed, by computed. A sequence that loses its blocks in between begins a new life, and what the
// flights of the old one give is of no use to anybody: commit passes over it.
//
// Blocks that become free meanwhile may be given away at once. Every rank runs the steps one after the other in the order of their numbers,
// so what an older step still writes to a block is there before the step of the block's new owner, which writes each position, or the copy
// of a whole block, before it reads it. Blocks of the prefix cache hold what committed steps have written, and none under way writes to
// them: who does so is their only user and has made the cache forget them.
type flight struct {
	step   Step
	plan   []planned
	blocks []BlockID // what the chunks' block tables are cut from
}

// launch says that the step which schedule made is under way.
func (s *scheduler) launch() {
	f := s.making
	s.making = nil
	f.plan, s.plan = s.plan, f.plan[:0]
	s.flights = append(s.flights, f)
}

// land takes the oldest flight. Its memory is used again for the next step, so it is valid until schedule is called.
func (s *scheduler) land() *flight {
	f := s.flights[0]
	n := copy(s.flights, s.flights[1:])
	s.flights[n] = nil
	s.flights = s.flights[:n]
	s.idle = append(s.idle, f)
	s.landed = f.step.ID
	return f
}

// flightFor is memory for the next step.
func (s *scheduler) flightFor() *flight {
	if s.making != nil {
		return s.making // the last one had nothing to do
	}
	if n := len(s.idle); n > 0 {
		s.making = s.idle[n-1]
		s.idle = s.idle[:n-1]
	} else {
		s.making = new(flight)
	}
	return s.making
}

// promptShareLeast is how many prompt tokens a step gets at least before the rest of a prompt is left to the next one: fewer rows take hardly
// less time, because the weights have to be read all the same.
const promptShareLeast = 64

// share says what part of the work the next step takes. With several steps under way each has an equal part of the sequences, so that the
// stages are all busy and none waits for a long step of another; and prompts are cut so that their parts follow each other through the stages.
func (s *scheduler) share() {
	s.rows, s.part = s.config.StepTokens, s.prompts
	if s.depth <= 1 {
		return
	}
	sequences, tokens := 0, 0
	for _, j := range s.running {
		sequences += len(j.live)
		for _, q := range j.live {
			if left := len(q.tokens) - q.computed; left > 1 {
				tokens += left
			}
		}
	}
	for _, j := range s.waiting {
		if tokens >= s.depth*s.prompts {
			break
		}
		tokens += len(j.request.Prompt)
	}
	s.rows = max((sequences+s.depth-1)/s.depth, 1)
	s.part = min(s.prompts, max((tokens+s.depth-1)/s.depth, promptShareLeast))
}
