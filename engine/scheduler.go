package engine

import (
	"slices"

	"polynode/shard"
)

// scheduler decides what each step computes. It is a pure state machine: jobs, cancellations and outputs go in, steps, news and
// endings come out, in the same order for the same input.
type scheduler struct {
	config  Config
	pool    *pool
	waiting []*job // by age; those that ran before come first, being older
	running []*job // by age
	width   int    // sequences that the running jobs may have

	epoch   shard.Epoch
	depth   int // steps that may be under way at once
	prompts int // prompt tokens that a step may have

	making *flight   // the step in the making, or nil
	plan   []planned // of it
	budget int       // tokens that still fit into it
	rows   int       // of these, single tokens of sequences
	part   int       // of these, tokens of prompts
	steps  uint64    // that were made

	flights []*flight // under way, the oldest first
	idle    []*flight // memory of others
	landed  uint64    // number of the step that is being committed

	news    []news   // since the caller last took them
	endings []ending // likewise
	started []*job   // that left the queue for the first time, likewise
	last    SequenceID
	counts  counts
}

// news is an event for a job's reader.
type news struct {
	job   *job
	event Event
}

// ending is the end of a job; err is nil if all is well.
type ending struct {
	job *job
	err error
}

// counts only grow.
type counts struct {
	preemptions  uint64
	promptTokens uint64 // of jobs that left the queue
	cachedTokens uint64 // positions that the cache had, of prompts and of what was preempted
	outputTokens uint64 // sampled
}

func newScheduler(c Config) *scheduler {
	return &scheduler{config: c, pool: newPool(c.Blocks, !c.CacheOff), prompts: c.StepTokens, depth: 1, epoch: c.Epoch}
}

// submit puts a job at the end of the queue.
func (s *scheduler) submit(j *job) { s.waiting = append(s.waiting, j) }

// cancel ends a job without an error or news: its reader is gone. All of its blocks are free at once, whatever is under way.
func (s *scheduler) cancel(j *job) {
	s.drop(j)
	s.endings = append(s.endings, ending{j, ErrCancelled})
}

// fail ends a job with an error.
func (s *scheduler) fail(j *job, err error) {
	s.drop(j)
	s.endings = append(s.endings, ending{j, err})
}

// failAll ends all jobs.
func (s *scheduler) failAll(err error) {
	for len(s.running) > 0 {
		s.fail(s.running[len(s.running)-1], err)
	}
	for len(s.waiting) > 0 {
		s.fail(s.waiting[0], err)
	}
}

// drop forgets a job wherever it is.
func (s *scheduler) drop(j *job) {
	for _, q := range j.live {
		s.free(q)
	}
	j.live, j.over = j.live[:0], true
	if i := slices.Index(s.running, j); i >= 0 {
		s.running = slices.Delete(s.running, i, i+1)
		s.width -= j.request.width()
		return
	}
	if i := slices.Index(s.waiting, j); i >= 0 {
		s.waiting = slices.Delete(s.waiting, i, i+1)
	}
}

// free gives back a sequence's blocks, the last first. What it has under way is lost.
func (s *scheduler) free(q *sequence) {
	for _, id := range slices.Backward(q.blocks) {
		s.pool.release(id)
	}
	q.blocks, q.computed, q.begun = q.blocks[:0], 0, 0
	q.life++
}

// preempt takes the youngest running job off its blocks and puts it at the head of the queue. It will compute the tokens that it
// has again, and then go on as if nothing had been.
func (s *scheduler) preempt() {
	j := s.running[len(s.running)-1]
	s.running = s.running[:len(s.running)-1]
	s.width -= j.request.width()
	for _, q := range j.live {
		s.free(q)
	}
	s.plan = slices.DeleteFunc(s.plan, func(p planned) bool {
		if p.sequence.job == j {
			s.budget += p.tokens
			return true
		}
		return false
	})
	s.waiting = slices.Insert(s.waiting, 0, j)
	s.counts.preemptions++
}

// recall preempts everything: what is under way is lost.
func (s *scheduler) recall() {
	s.plan = s.plan[:0]
	for len(s.running) > 0 {
		s.preempt()
	}
}

// forget preempts everything and empties the cache: the ranks have lost what the blocks held.
func (s *scheduler) forget() {
	s.recall()
	s.pool.forgetAll()
}

// resize makes do with another number of blocks, when nothing runs. Jobs that could not run even alone are ended.
func (s *scheduler) resize(blocks int) {
	if blocks == len(s.pool.blocks) {
		return
	}
	s.pool = newPool(blocks, !s.config.CacheOff)
	for _, j := range slices.Clone(s.waiting) {
		if err := s.config.checkSize(&j.request, blocks); err != nil {
			s.fail(j, err)
		}
	}
}

// admit lets jobs from the queue run, strictly in order, while sequences, tokens and blocks are to spare.
func (s *scheduler) admit() {
	for len(s.waiting) > 0 && s.budget > 0 {
		j := s.waiting[0]
		width := j.request.width()
		if s.width+width > s.config.SequencesMax {
			return
		}
		if len(s.running) > 0 && !s.fits(j) {
			return
		}
		s.waiting = slices.Delete(s.waiting, 0, 1)
		s.running = append(s.running, j)
		s.width += width
		first := !j.started
		if first {
			s.start(j)
		}
		s.prefill(j)
		if first {
			j.cached = j.live[0].computed
		}
	}
}

// start makes a job's first sequence.
func (s *scheduler) start(j *job) {
	j.started = true
	j.live = append(j.live, j.newSequence(s.nextID(), 0))
	s.started = append(s.started, j)
	s.counts.promptTokens += uint64(len(j.request.Prompt))
}

func (s *scheduler) nextID() SequenceID {
	s.last++
	return s.last
}

// fits tells whether there is room for all tokens that a job has, and for one more block of each sequence that runs: a job that
// had to be preempted at once would only cost.
func (s *scheduler) fits(j *job) bool {
	prompt := &j.request.Prompt
	have, tokens := 0, *prompt
	shared := 0
	if j.forked {
		shared = (len(*prompt) - 1) / BlockTokens
		have = shared
		for _, q := range j.live {
			have += blocksFor(len(q.tokens)+1) - shared
		}
		tokens = j.live[0].tokens
	} else {
		have = blocksFor(len(*prompt)+1) + j.request.width() - 1
	}
	used := 0
	s.walk(j, tokens, func(id BlockID) {
		if s.pool.blocks[id].refs > 0 {
			used++
		}
	})
	return have-used+s.width <= s.pool.free
}

// walk visits the cached blocks that a sequence of a job can begin with. One position is always left: its logits are needed.
func (s *scheduler) walk(j *job, tokens []int32, visit func(BlockID)) {
	parent := uint64(0)
	for most := min(len(tokens)-1, j.known()); most >= BlockTokens; most -= BlockTokens {
		id, ok := s.pool.find(parent, tokens)
		if !ok {
			return
		}
		visit(id)
		parent, tokens = s.pool.blocks[id].serial, tokens[BlockTokens:]
	}
}
