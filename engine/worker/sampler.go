package worker

import (
	"encoding/binary"
	"fmt"

	"polynode/engine"
	"polynode/engine/sample"
	"polynode/kernels/pool"
	"polynode/model"
	"polynode/transport/collective"
)

// headRows is how many rows of logits exist at a time: enough to read the head once for a usual batch, and no more than
// 32 MB of a 256,000-piece vocabulary.
const headRows = 32

// sampler turns the last stage's rows into tokens and log-probabilities. Each rank of the group looks at its slice
// of the vocabulary; what they exchange is a few candidates and sums, never logits.
type sampler struct {
	stage *model.Stage
	group *collective.Group
	pool  *pool.Pool
	asks  []ask

	// Of the rows that are being looked at; all have headRows elements at most.
	current []ask
	rows    []int32
	logits  []float32
	width   int
	mine    []sample.Part
	scratch []sample.Scratch // one for each row, because rows are examined side by side
	parts   [][]sample.Part  // (rows, ranks)
	choices []sample.Choice
	above   []uint32

	message, counts []byte
	examineRow      rowTask
	aboveRow        rowTask
}

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
		mine:    make([]sample.Part, headRows),
		scratch: make([]sample.Scratch, headRows),
		parts:   make([][]sample.Part, headRows),
		choices: make([]sample.Choice, headRows),
		above:   make([]uint32, headRows),
	}
	s.examineRow, s.aboveRow = s.examine, s.countAbove
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
	s.width = s.stage.Share().Vocab.Len()
	s.rows = s.rows[:0]
	for i := range s.current {
		s.rows = append(s.rows, s.current[i].row)
	}
	s.logits = grow(s.logits, n*s.width)
	if err := s.stage.Logits(s.logits, hidden, s.rows); err != nil {
		return fmt.Errorf("head: %w", err)
	}
	s.pool.Run(n, s.examineRow)
	if err := s.gatherParts(n); err != nil {
		return err
	}
	targets := false
	for i := range n {
		s.scratch[i].Choose(&s.choices[i], s.parts[i], &s.current[i].Ask)
		targets = targets || s.current[i].Target >= 0
	}
	if targets {
		return s.gatherAbove(n)
	}
	return nil
}

// row is one row of this rank's logits, (width).
func (s *sampler) row(i int) []float32 { return s.logits[i*s.width : (i+1)*s.width] }

func (s *sampler) examine(i int) {
	s.scratch[i].Examine(&s.mine[i], s.row(i), s.stage.Share().Vocab.Lo, &s.current[i].Ask)
}

func (s *sampler) countAbove(i int) {
	if a := &s.current[i]; a.Target >= 0 {
		s.above[i] = uint32(sample.Above(s.row(i), s.stage.Share().Vocab.Lo, a.Target, s.choices[i].TargetLogit))
	}
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

// gatherAbove adds up how many tokens each rank has above the targets.
func (s *sampler) gatherAbove(n int) error {
	clear(s.above)
	s.pool.Run(n, s.aboveRow)
	s.counts = s.counts[:0]
	for i := range n {
		s.counts = binary.LittleEndian.AppendUint32(s.counts, s.above[i])
	}
	messages, err := s.group.AllGather(s.counts)
	if err != nil {
		return err
	}
	clear(s.above)
	for rank, message := range messages {
		if len(message) != 4*n {
			return fmt.Errorf("ranks of targets of rank %d: %w: %d bytes, want %d", rank, collective.ErrMismatch, len(message), 4*n)
		}
		for i := range n {
			s.above[i] += binary.LittleEndian.Uint32(message[4*i:])
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
			Rank:    int(s.above[i]) + 1,
			Top:     append([]sample.Candidate(nil), choice.Top...),
		}
	}
}
