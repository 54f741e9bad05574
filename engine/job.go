package engine

import (
	"fmt"
	"slices"

	"polynode/engine/sample"
)

// job is a request on its way: waiting, running, or over.
type job struct {
	request Request // normal
	handle  *Handle // passed on with the news; nothing here looks into it

	live    []*sequence // that go on, by choice; of a beam search its open beams
	spare   []*sequence // former beams, to be used again
	started bool        // it has left the queue before
	cached  int         // positions that it found computed then
	forked  bool        // the prompt is done and there is a sequence for each choice or beam
	dropped uint32      // choices that the caller ended, one bit each
	ended   []*sequence // choices that ended and are held back until the last one does

	search  *sample.Beams // nil if this is no beam search
	next    []int32       // the token after each position of the prompt, -1 after the last, if its log-probabilities are asked for
	targets []Target      // of the prompt, as far as known; the first token has none
	told    bool          // they were told
	over    bool          // it has ended
}

// sequence is one line of tokens and the blocks that hold their keys and values.
type sequence struct {
	id       SequenceID
	job      *job
	choice   int
	tokens   []int32 // prompt and output
	blocks   []BlockID
	computed int           // positions whose keys and values the blocks hold
	begun    int           // and those that they will hold after the steps under way
	life     uint32        // counts how often it has lost its blocks
	params   sample.Params // with the choice's own seed
	early    sample.Params // the same with the stop ids banned
	logsum   float64       // of the output's log-probabilities
	held     []Event       // not to be shown before the end
}

// pending is the number of tokens that no step has begun to compute; the last of them gives the next token.
func (q *sequence) pending() int { return len(q.tokens) - q.begun }

// left is the number of tokens whose keys and values are not there yet.
func (q *sequence) left() int { return len(q.tokens) - q.computed }

// output is the number of tokens after the prompt.
func (q *sequence) output() int { return len(q.tokens) - len(q.job.request.Prompt) }

// newJob makes a job of a normal request.
func newJob(r Request, h *Handle) (*job, error) {
	j := &job{request: r, handle: h}
	if r.PromptLogprobs {
		j.next = append(slices.Clone(r.Prompt[1:]), -1)
		j.targets = make([]Target, 1, len(r.Prompt))
	}
	if r.Beams > 0 && r.MaxTokens > 0 {
		search, err := sample.NewBeams(r.beamOptions())
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrRequest, err)
		}
		j.search = search
	}
	return j, nil
}

// newSequence makes a choice's sequence, with nothing but the prompt and room for what may come.
func (j *job) newSequence(id SequenceID, choice int) *sequence {
	r := &j.request
	q := &sequence{id: id, job: j, choice: choice}
	most := len(r.Prompt) + r.MaxTokens
	q.tokens = append(make([]int32, 0, most), r.Prompt...)
	q.blocks = make([]BlockID, 0, blocksFor(most))
	q.params = r.Params
	q.params.Seed = sample.ChoiceSeed(r.Params.Seed, choice)
	q.early = q.params
	if r.MinTokens > 0 {
		q.early.Banned = slices.Concat(r.Params.Banned, r.StopIDs)
	}
	return q
}

// holds tells whether nothing is shown before all sequences have ended, because only then it is known which are the best.
func (j *job) holds() bool { return j.request.BestOf > j.request.Choices }

// searches tells whether this is a beam search, whose beams step together.
func (j *job) searches() bool { return j.search != nil }

// scored tells whether the log-probability of each token is needed.
func (j *job) scored() bool { return j.request.Logprobs || j.holds() }

// prefilling is the sequence whose turn it is to compute more than one token, or nil. The next one waits for its end, because then
// it finds what they share in the cache.
func (j *job) prefilling() *sequence {
	for _, q := range j.live {
		if q.left() > 1 {
			return q
		}
	}
	return nil
}

// known is the number of positions of the prompt whose targets are known, or all of them if none are asked for.
func (j *job) known() int {
	if j.next == nil || len(j.targets) == len(j.request.Prompt) {
		return len(j.request.Prompt) + j.request.MaxTokens
	}
	return len(j.targets) - 1
}
