package worker

import (
	"fmt"

	"polynode/engine"
	"polynode/engine/sample"
	"polynode/kernels/pool"
	"polynode/model"
	"polynode/transport/collective"
)

// headRows is how many rows meet the head together: the head is read once for a usual batch.
const headRows = 32

// sampler turns the last stage's rows into tokens and log-probabilities. Each rank of the group looks at its slice
// of the vocabulary, piece by piece while the logits are made; what the ranks exchange is a few candidates and sums, never logits.
type sampler struct {
	stage *model.Stage
	group *collective.Group
	pool  *pool.Pool
	asks  []ask

	// Of the rows that are being looked at; all have headRows elements at most.
	current []ask
	rows    []int32
	targets []int32
	logits  []float32 // of the targets
	asked   []sample.Row
	mine    []sample.Part
	parts   [][]sample.Part // (rows, ranks)
	choices []sample.Choice
	scratch sample.Scratch

	// Logits are shown on several threads; each takes the tallies of all rows, one set for each worker of the pool.
	tallies []*tallies
	free    chan *tallies

	message    []byte
	prepareRow rowTask
	joinRow    rowTask
}

// tallies is what one thread has seen of each row.
type tallies [headRows]sample.Tally

// ask is a question about one row of the step.
type ask struct {
	sample.Ask
	row    int32 // of the batch
	chunk  int
	offset int // of the target in its chunk
}

type rowTask func(part int)

// Do runs the part.
func (f rowTask) Do(part int) { f(part) }

func newSampler(stage *model.Stage, group *collective.Group, workers *pool.Pool) *sampler {
	s := &sampler{
		stage: stage, group: group, pool: workers,
		asked:   make([]sample.Row, headRows),
		mine:    make([]sample.Part, headRows),
		parts:   make([][]sample.Part, headRows),
		choices: make([]sample.Choice, headRows),
		free:    make(chan *tallies, workers.Workers()),
	}
	for range workers.Workers() {
		t := new(tallies)
		s.tallies = append(s.tallies, t)
		s.free <- t
	}
	s.prepareRow, s.joinRow = s.prepareAsk, s.joinTallies
	return s
}

// run answers what the step's chunks ask. hidden is (T, Embed). Only rank 0 fills out.
func (s *sampler) run(step *engine.Step, hidden []float32, out *engine.Output) error {
	s.collect(step)
	if s.group.Rank() == 0 {
		prepare(step, out)
	}
	for at := 0; at < len(s.asks); at += headRows {
		s.current = s.asks[at:min(at+headRows, len(s.asks))]
		if err := s.answer(hidden); err != nil {
			return err
		}
		if s.group.Rank() == 0 {
			s.report(step, out)
		}
	}
	return nil
}

// collect lists the questions of a step, chunk by chunk.
func (s *sampler) collect(step *engine.Step) {
	s.asks = s.asks[:0]
	row := int32(0)
	for i := range step.Chunks {
		c := &step.Chunks[i]
		for offset, target := range c.Targets {
			if target >= 0 {
				s.asks = append(s.asks, ask{
					Ask: sample.Ask{Target: target, Top: c.Top},
					row: row + int32(offset), chunk: i, offset: offset,
				})
			}
		}
		last := len(c.Tokens) - 1
		if c.Sample {
			s.asks = append(s.asks, ask{
				Ask: sample.Ask{
					Sample: true, Params: c.Params, Position: c.Start + last + 1,
					History: c.History, Prompt: c.Prompt, Logprobs: c.Logprobs, Top: c.Top, Target: -1,
				},
				row: row + int32(last), chunk: i, offset: -1,
			})
		}
		row += int32(len(c.Tokens))
	}
}

// prepare makes an empty result for each chunk, in the memory of earlier steps.
func prepare(step *engine.Step, out *engine.Output) {
	out.Results = grow(out.Results, len(step.Chunks))
	for i := range out.Results {
		r := &out.Results[i]
		*r = engine.Result{Token: -1, Top: r.Top[:0], Targets: r.Targets[:0]}
		for range step.Chunks[i].Targets {
			r.Targets = append(r.Targets, engine.Target{})
		}
	}
}

// answer makes the choices of the current asks, on every rank the same.
func (s *sampler) answer(hidden []float32) error {
	n := len(s.current)
	s.rows, s.targets = s.rows[:0], s.targets[:0]
	targets := false
	for i := range s.current {
		s.rows = append(s.rows, s.current[i].row)
		s.targets = append(s.targets, s.current[i].Target)
		targets = targets || s.current[i].Target >= 0
	}
	if targets {
		if err := s.findTargets(hidden); err != nil {
			return err
		}
	}
	s.pool.Run(n, s.prepareRow)
	if err := s.stage.Head(hidden, s.rows, s); err != nil {
		return fmt.Errorf("head: %w", err)
	}
	s.pool.Run(n, s.joinRow)
	if err := s.gatherParts(n); err != nil {
		return err
	}
	for i := range n {
		s.scratch.Choose(&s.choices[i], s.parts[i], &s.current[i].Ask)
	}
	return nil
}

// findTargets gets the logits of the targets before all others, because the tokens above them are counted in passing.
func (s *sampler) findTargets(hidden []float32) error {
	s.logits = grow(s.logits, len(s.targets))
	if err := s.stage.TargetLogits(s.logits, hidden, s.rows, s.targets); err != nil {
		return fmt.Errorf("targets: %w", err)
	}
	for i := range s.current {
		s.current[i].TargetLogit = s.logits[i]
	}
	return nil
}

func (s *sampler) prepareAsk(i int) {
	s.asked[i].Prepare(&s.current[i].Ask)
	for _, t := range s.tallies {
		t[i].Reset(&s.asked[i])
	}
}

// Look is model.Looker.
func (s *sampler) Look(logits []float32, stride, lo, n int) {
	t := <-s.free
	for i := range s.current {
		t[i].Add(logits[i*stride:i*stride+n], lo)
	}
	s.free <- t
}

func (s *sampler) joinTallies(i int) {
	all := &s.tallies[0][i]
	for _, t := range s.tallies[1:] {
		all.Merge(&t[i])
	}
	all.Fill(&s.mine[i])
}

// gatherParts exchanges what each rank found in its slice.
func (s *sampler) gatherParts(n int) error {
	s.message = s.message[:0]
	for i := range n {
		s.message = s.mine[i].Append(s.message)
	}
	messages, err := s.group.AllGather(s.message)
	if err != nil {
		return err
	}
	for i := range n {
		s.parts[i] = grow(s.parts[i], len(messages))
	}
	for rank, message := range messages {
		for i := range n {
			if message, err = s.parts[i][rank].Parse(message); err != nil {
				return fmt.Errorf("candidates of rank %d: %w", rank, err)
			}
		}
	}
	return nil
}

// report writes the current choices to their chunks' results.
func (s *sampler) report(step *engine.Step, out *engine.Output) {
	for i := range s.current {
		a, choice := &s.current[i], &s.choices[i]
		r := &out.Results[a.chunk]
		if a.Sample {
			r.Token, r.Logprob = choice.Token, choice.Logprob
			r.Top = append(r.Top, choice.Top...)
			continue
		}
		r.Targets[a.offset] = engine.Target{
			Logprob: choice.TargetLogprob,
			Rank:    choice.TargetRank,
			Top:     append([]sample.Candidate(nil), choice.Top...),
		}
	}
}
