package engine

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"polynode/engine/sample"
)

// fakeModel is an Executor with a made-up model: the logits after some tokens are a hash of all of them. It keeps keys and
// values as a real one would, in blocks, and complains of every rule that a step breaks.
type fakeModel struct {
	vocabulary int
	config     Config
	blocks     map[BlockID]*[BlockTokens]cell
	scratch    sample.Scratch
	row        []float32
	parts      [1]sample.Part
	steps      int
	before     func(ctx context.Context, step *Step) error // may be nil
	depth      int                                         // steps that may be under way; 1 if it is 0
	started    []started
}

// cell is what a position keeps: its token and a hash of all tokens up to it.
type cell struct {
	token int32
	chain uint64
	full  bool
}

// started is a step that waits for its turn.
type started struct {
	step *Step
	out  *Output
}

func newFakeModel(config Config, vocabulary int) *fakeModel {
	return &fakeModel{
		vocabulary: vocabulary, config: config.withDefaults(),
		blocks: map[BlockID]*[BlockTokens]cell{}, row: make([]float32, vocabulary),
	}
}

func scramble(x uint64) uint64 {
	x = (x ^ x>>32) * 0xd6e8feb86659fd93
	x = (x ^ x>>32) * 0xd6e8feb86659fd93
	return x ^ x>>32
}

func chainOf(before uint64, token int32) uint64 { return scramble(before + uint64(token) + 1) }

// logits fills row with the logits after tokens with the given chain.
func logits(row []float32, chain uint64) {
	for v := range row {
		row[v] = float32(scramble(chain+uint64(v)*77)%4096)/512 - 4
	}
}

func (f *fakeModel) Depth() int { return max(f.depth, 1) }

func (f *fakeModel) Start(_ context.Context, step *Step, out *Output) {
	f.started = append(f.started, started{step, out})
}

// Wait runs the oldest step only now, when the engine may have given away or changed what the step was made from.
func (f *fakeModel) Wait(ctx context.Context) error {
	next := f.started[0]
	f.started = f.started[1:]
	return f.Execute(ctx, next.step, next.out)
}

func (f *fakeModel) Execute(ctx context.Context, step *Step, out *Output) error {
	f.steps++
	if f.before != nil {
		if err := f.before(ctx, step); err != nil {
			return err
		}
	}
	if err := f.inspect(step); err != nil {
		return err
	}
	for _, c := range step.Copies {
		*f.block(c.Target) = *f.block(c.Source)
	}
	for len(out.Results) < len(step.Chunks) {
		out.Results = append(out.Results, Result{})
	}
	out.Results = out.Results[:len(step.Chunks)]
	for i := range step.Chunks {
		if err := f.chunk(&step.Chunks[i], &out.Results[i]); err != nil {
			return err
		}
	}
	return nil
}

func (f *fakeModel) block(id BlockID) *[BlockTokens]cell {
	if f.blocks[id] == nil {
		f.blocks[id] = new([BlockTokens]cell)
	}
	return f.blocks[id]
}

// inspect checks the form of a step: its limits, and that no block is written by one chunk and used by another.
func (f *fakeModel) inspect(step *Step) error {
	tokens, sequences := 0, 0
	writers := map[BlockID]int{}
	seen := map[SequenceID]bool{}
	for i, c := range step.Chunks {
		if c.Sequence != 0 {
			tokens += len(c.Tokens)
			sequences++
			if slices.Contains(c.Blocks, 0) {
				return fmt.Errorf("sequence %d uses the reserved block", c.Sequence)
			}
		}
		if seen[c.Sequence] {
			return fmt.Errorf("sequence %d is there twice", c.Sequence)
		}
		seen[c.Sequence] = true
		if want := blocksFor(c.Start + len(c.Tokens)); len(c.Tokens) == 0 || len(c.Blocks) != want {
			return fmt.Errorf("chunk %d has %d tokens from %d and %d blocks", i, len(c.Tokens), c.Start, len(c.Blocks))
		}
		if len(c.Targets) != 0 && len(c.Targets) != len(c.Tokens) {
			return fmt.Errorf("chunk %d has %d tokens and %d targets", i, len(c.Tokens), len(c.Targets))
		}
		if c.Start+len(c.Tokens) > f.config.Positions {
			return fmt.Errorf("chunk %d passes the context", i)
		}
		for _, id := range c.Blocks[c.Start/BlockTokens:] {
			if _, twice := writers[id]; twice {
				return fmt.Errorf("block %d is written twice", id)
			}
			writers[id] = i
		}
	}
	if tokens > f.config.StepTokens || sequences > f.config.SequencesMax {
		return fmt.Errorf("%d tokens of %d sequences", tokens, sequences)
	}
	for i, c := range step.Chunks {
		for _, id := range c.Blocks {
			if w, ok := writers[id]; ok && w != i {
				return fmt.Errorf("block %d is used by chunk %d and written by chunk %d", id, i, w)
			}
		}
	}
	targets := map[BlockID]bool{}
	for _, c := range step.Copies {
		if targets[c.Target] || targets[c.Source] || c.Source == c.Target {
			return fmt.Errorf("copy %v follows a copy onto one of its blocks", c)
		}
		targets[c.Target] = true
	}
	return nil
}

// chunk computes a chunk from the blocks alone.
func (f *fakeModel) chunk(c *Chunk, r *Result) error {
	*r = Result{Token: -1, Top: r.Top[:0], Targets: r.Targets[:0]}
	chain := uint64(0)
	for position := range c.Start {
		k := &f.block(c.Blocks[position/BlockTokens])[position%BlockTokens]
		if chain = chainOf(chain, k.token); !k.full || k.chain != chain {
			return fmt.Errorf("sequence %d: position %d of block %d is not what it was", c.Sequence, position, c.Blocks[position/BlockTokens])
		}
	}
	for i, token := range c.Tokens {
		position := c.Start + i
		chain = chainOf(chain, token)
		f.block(c.Blocks[position/BlockTokens])[position%BlockTokens] = cell{token, chain, true}
		if len(c.Targets) > 0 {
			r.Targets = append(r.Targets, f.target(chain, c.Targets[i], c.Top))
		}
	}
	if !c.Sample {
		return nil
	}
	choice := f.choose(chain, &sample.Ask{
		Sample: true, Params: c.Params, Position: c.Start + len(c.Tokens), History: c.History, Prompt: c.Prompt,
		Logprobs: c.Logprobs, Top: c.Top, Target: -1,
	})
	r.Token, r.Logprob = choice.Token, choice.Logprob
	r.Top = append(r.Top, choice.Top...)
	return nil
}

func (f *fakeModel) choose(chain uint64, ask *sample.Ask) (c sample.Choice) {
	logits(f.row, chain)
	f.scratch.Examine(&f.parts[0], f.row, 0, ask)
	f.scratch.Choose(&c, f.parts[:], ask)
	return c
}

func (f *fakeModel) target(chain uint64, token int32, top int) (t Target) {
	if token < 0 {
		return t
	}
	logits(f.row, chain)
	c := f.choose(chain, &sample.Ask{Target: token, TargetLogit: f.row[token], Top: top})
	return Target{Logprob: c.TargetLogprob, Rank: c.TargetRank, Top: c.Top}
}

// reference is what a request must give, computed token by token, without blocks, steps or company: the events of its prompt
// and of each choice.
func reference(r Request, config Config, vocabulary int) (prompt []Target, choices [][]Event) {
	f := newFakeModel(config, vocabulary)
	r = r.normal(config.Positions)
	chain := func(tokens []int32) (c uint64) {
		for _, t := range tokens {
			c = chainOf(c, t)
		}
		return c
	}
	if r.PromptLogprobs {
		prompt = append(prompt, Target{})
		for i, token := range r.Prompt[1:] {
			prompt = append(prompt, f.target(chain(r.Prompt[:i+1]), token, r.Top))
		}
	}
	choices = make([][]Event, r.Choices)
	switch {
	case r.MaxTokens == 0:
		for i := range choices {
			choices[i] = []Event{{Choice: i, Token: -1, Finish: FinishLength}}
		}
	case r.Beams > 0:
		f.referenceBeams(r, chain, choices)
	default:
		f.referenceChoices(r, chain, choices)
	}
	return prompt, choices
}

func (f *fakeModel) referenceChoices(r Request, chain func([]int32) uint64, choices [][]Event) {
	type line struct {
		events []Event
		mean   float64
	}
	lines := make([]line, r.BestOf)
	for i := range lines {
		tokens := slices.Clone(r.Prompt)
		sum := 0.0
		for len(lines[i].events) < r.MaxTokens {
			p := r.Params
			p.Seed = sample.ChoiceSeed(p.Seed, i)
			if n := len(lines[i].events); n < r.MinTokens {
				p.Banned = slices.Concat(p.Banned, r.StopIDs)
			}
			ask := sample.Ask{
				Sample: true, Params: &p, Position: len(tokens), History: tokens, Prompt: len(r.Prompt),
				Logprobs: true, Top: r.Top, Target: -1,
			}
			c := f.choose(chain(tokens), &ask)
			e := Event{Token: c.Token}
			sum += float64(c.Logprob)
			if r.Logprobs {
				e.Logprob, e.Top = c.Logprob, slices.Clone(c.Top)
			}
			tokens = append(tokens, c.Token)
			if slices.Contains(r.StopIDs, c.Token) {
				e.Finish = FinishStop
			} else if len(lines[i].events)+1 == r.MaxTokens {
				e.Finish = FinishLength
			}
			lines[i].events = append(lines[i].events, e)
			if e.Finish != "" {
				break
			}
		}
		lines[i].mean = sum / float64(len(lines[i].events))
	}
	if r.BestOf > r.Choices {
		slices.SortStableFunc(lines, func(a, b line) int { return cmp.Compare(b.mean, a.mean) })
	}
	for i := range choices {
		choices[i] = lines[i].events
		for k := range choices[i] {
			choices[i][k].Choice = i
		}
	}
}

func (f *fakeModel) referenceBeams(r Request, chain func([]int32) uint64, choices [][]Event) {
	search, err := sample.NewBeams(r.beamOptions())
	if err != nil {
		panic(err)
	}
	for !search.Over() {
		var tops [][]sample.Candidate
		for _, b := range search.Live() {
			c := f.choose(chain(slices.Concat(r.Prompt, b.Tokens)), &sample.Ask{Top: search.Want(), Target: -1})
			tops = append(tops, slices.Clone(c.Top))
		}
		search.Advance(func(i int) []sample.Candidate { return tops[i] })
	}
	for i, b := range search.Final(r.Choices) {
		for k, token := range b.Tokens {
			e := Event{Choice: i, Token: token}
			if r.Logprobs {
				e.Logprob = b.Logprobs[k]
				if r.Top > 0 {
					e.Top = b.Tops[k]
				}
			}
			if k == len(b.Tokens)-1 {
				e.Finish = FinishLength
				if b.Stopped {
					e.Finish = FinishStop
				}
			}
			choices[i] = append(choices[i], e)
		}
	}
}
