package engine

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"polynode/engine/sample"

	"pgregory.net/rapid"
)

// table drives a scheduler with the fake model, without any goroutine.
type table struct {
	*scheduler
	model  *fakeModel
	output Output
	steps  []*Step // under way
	jobs   []*job
	told   map[*job][]Event
	over   map[*job]error
	marked map[*job]bool // cancelled
}

const testVocabulary = 40

func newTable(c Config) *table {
	c = c.withDefaults()
	return &table{
		scheduler: newScheduler(c), model: newFakeModel(c, testVocabulary),
		told: map[*job][]Event{}, over: map[*job]error{}, marked: map[*job]bool{},
	}
}

// submitRequest is Submit without its shell.
func (t *table) submitRequest(r Request) (*job, error) {
	if err := t.config.check(&r); err != nil {
		return nil, err
	}
	r = r.normal(t.config.Positions)
	if err := t.config.checkSize(&r, t.config.Blocks); err != nil {
		return nil, err
	}
	j, err := newJob(r, nil)
	if err != nil {
		return nil, err
	}
	t.jobs = append(t.jobs, j)
	t.submit(j)
	return j, nil
}

// run does one step and returns it; it has no chunks if there was nothing to do.
func (t *table) run() (*Step, error) {
	step, err := t.begin()
	if err == nil {
		err = t.finish()
	}
	return step, err
}

// begin schedules a step, which is under way then if it has chunks.
func (t *table) begin() (*Step, error) {
	step := t.schedule()
	left := t.config.StepTokens - t.budget
	for _, c := range step.Chunks {
		left -= len(c.Tokens)
	}
	if left < 0 || left != 0 && t.part >= t.config.StepTokens { // a part of the work lowers the budget
		return nil, fmt.Errorf("step %d: the budget is off by %d tokens", step.ID, left)
	}
	if len(step.Chunks) > 0 {
		t.launch()
		t.steps = append(t.steps, step)
	}
	return step, t.collect()
}

// finish runs the oldest step under way, if there is one, and commits it.
func (t *table) finish() error {
	if len(t.steps) == 0 {
		return nil
	}
	step := t.steps[0]
	t.steps = t.steps[1:]
	if err := t.model.Execute(context.Background(), step, &t.output); err != nil {
		return fmt.Errorf("step %d: %w", step.ID, err)
	}
	t.commit(t.output.Results)
	return t.collect()
}

// work begins a step if one more may be under way and there is something to do, and otherwise finishes the oldest. It returns false if there
// is nothing to do at all.
func (t *table) work() (bool, error) {
	if len(t.steps) < t.depth {
		step, err := t.begin()
		if err != nil || len(step.Chunks) > 0 {
			return true, err
		}
	}
	return len(t.steps) > 0, t.finish()
}

// collect takes news and endings and checks what must always hold.
func (t *table) collect() error {
	for _, n := range t.news {
		if _, over := t.over[n.job]; over && !t.marked[n.job] {
			return fmt.Errorf("%s has news after its end", n.job.request.ID)
		}
		if n.job.dropped>>n.event.Choice&1 != 0 && n.event.Prompt == nil {
			return fmt.Errorf("%s has news of choice %d, which was ended", n.job.request.ID, n.event.Choice)
		}
		t.told[n.job] = append(t.told[n.job], n.event)
	}
	for _, e := range t.endings {
		if _, twice := t.over[e.job]; twice {
			return fmt.Errorf("%s ended twice", e.job.request.ID)
		}
		t.over[e.job] = e.err
	}
	t.news, t.endings, t.started = t.news[:0], t.endings[:0], t.started[:0]
	return t.check()
}

// check verifies the counts of the blocks against the sequences.
func (t *table) check() error {
	refs := map[BlockID]int32{}
	width, last := 0, -1
	for _, j := range t.running {
		width += j.request.width()
		if at := slices.Index(t.jobs, j); at < last {
			return fmt.Errorf("%s runs behind a younger one", j.request.ID)
		} else {
			last = at
		}
		for _, q := range j.live {
			for _, id := range q.blocks {
				refs[id]++
			}
			if q.begun > len(q.blocks)*BlockTokens || q.computed >= len(q.tokens) || q.begun < q.computed || q.begun > len(q.tokens) {
				return fmt.Errorf("%s: %d of %d tokens computed and %d begun in %d blocks",
					j.request.ID, q.computed, len(q.tokens), q.begun, len(q.blocks))
			}
			if len(t.flights) == 0 && q.begun != q.computed {
				return fmt.Errorf("%s: %d tokens begun and %d computed with nothing under way", j.request.ID, q.begun, q.computed)
			}
		}
		distinct := map[BlockID]bool{}
		for _, q := range j.live {
			for _, id := range q.blocks {
				distinct[id] = true
			}
		}
		if worst := j.request.worst(); len(distinct) > worst {
			return fmt.Errorf("%s holds %d blocks, and was to hold %d at most", j.request.ID, len(distinct), worst)
		}
	}
	if width != t.width || width > t.config.SequencesMax {
		return fmt.Errorf("width is %d, counted %d", t.width, width)
	}
	for _, j := range t.waiting {
		for _, q := range j.live {
			if len(q.blocks) > 0 || q.computed > 0 || q.begun > 0 {
				return fmt.Errorf("%s waits with blocks", j.request.ID)
			}
		}
	}
	return t.checkPool(refs)
}

func (t *table) checkPool(refs map[BlockID]int32) error {
	p := t.pool
	free, cached := 0, 0
	inList := map[BlockID]bool{}
	for id := p.blocks[0].next; id != 0; id = p.blocks[id].next {
		if p.blocks[p.blocks[id].next].prev != id || inList[id] {
			return fmt.Errorf("the list of free blocks is broken at %d", id)
		}
		inList[id] = true
		free++
		if p.blocks[id].serial != 0 {
			cached++
		}
	}
	if free != p.free || cached != p.cached {
		return fmt.Errorf("%d free and %d cached, counted %d and %d", p.free, p.cached, free, cached)
	}
	content := map[string]BlockID{}
	for i := 1; i < len(p.blocks); i++ {
		id, b := BlockID(i), &p.blocks[i]
		if b.refs != refs[id] || (b.refs == 0) != inList[id] || b.taken != 0 {
			return fmt.Errorf("block %d has %d users, counted %d, free is %v", id, b.refs, refs[id], inList[id])
		}
		if b.serial == 0 {
			continue
		}
		key := fmt.Sprint(b.parent, b.tokens)
		if other, twice := content[key]; twice {
			return fmt.Errorf("blocks %d and %d hold the same", id, other)
		}
		content[key] = id
		if found, ok := p.find(b.parent, b.tokens[:]); !ok || found != id {
			return fmt.Errorf("block %d is not found", id)
		}
	}
	return nil
}

// finishAll steps until nothing is left.
func (t *table) finishAll(most int) error {
	for range 2 * most { // each step begins and ends
		busy, err := t.work()
		if err != nil {
			return err
		}
		if !busy {
			if len(t.running)+len(t.waiting) > 0 {
				return fmt.Errorf("nothing to do with %d running and %d waiting", len(t.running), len(t.waiting))
			}
			if t.pool.free != t.config.Blocks-1 {
				return fmt.Errorf("%d blocks of %d are free at the end", t.pool.free, t.config.Blocks-1)
			}
			return nil
		}
	}
	return fmt.Errorf("not done after %d steps", most)
}

// verify compares what a job told with the reference.
func (t *table) verify(j *job) error {
	err, over := t.over[j]
	if !over {
		return fmt.Errorf("%s did not end", j.request.ID)
	}
	if err != nil && !(t.marked[j] && errors.Is(err, ErrCancelled)) {
		return fmt.Errorf("%s ended with %w", j.request.ID, err)
	}
	prompt, choices := reference(j.request, t.config, testVocabulary)
	got := make([][]Event, len(choices))
	var gotPrompt []Target
	for _, e := range t.told[j] {
		if e.Prompt != nil {
			gotPrompt = e.Prompt
			continue
		}
		got[e.Choice] = append(got[e.Choice], e)
	}
	partial := err != nil || j.dropped == 1<<j.request.Choices-1
	if !(partial && gotPrompt == nil) && !sameTargets(gotPrompt, prompt) {
		return fmt.Errorf("%s: prompt %v, want %v", j.request.ID, gotPrompt, prompt)
	}
	for i := range choices {
		want := choices[i]
		if partial || j.dropped>>i&1 != 0 {
			want = want[:min(len(want), len(got[i]))]
		}
		if len(got[i]) != len(want) {
			return fmt.Errorf("%s, choice %d: %d events, want %d", j.request.ID, i, len(got[i]), len(want))
		}
		for k := range want {
			if !sameEvent(got[i][k], want[k]) {
				return fmt.Errorf("%s, choice %d, event %d: %+v, want %+v", j.request.ID, i, k, got[i][k], want[k])
			}
		}
	}
	return nil
}

func sameEvent(a, b Event) bool {
	if len(a.Top) == 0 {
		a.Top = nil
	}
	if len(b.Top) == 0 {
		b.Top = nil
	}
	return reflect.DeepEqual(a, b)
}

func sameTargets(a, b []Target) bool {
	return slices.EqualFunc(a, b, func(x, y Target) bool {
		return x.Logprob == y.Logprob && x.Rank == y.Rank && slices.Equal(x.Top, y.Top)
	})
}

// drawRequest draws requests whose prompts often share a beginning.
func drawRequest(t *rapid.T, config Config, id string) Request {
	stream := rapid.IntRange(0, 2).Draw(t, "stream")
	length := rapid.IntRange(1, min(config.Positions, 70)).Draw(t, "prompt")
	r := Request{ID: id, MaxTokens: rapid.IntRange(0, 40).Draw(t, "max")}
	for i := range length {
		r.Prompt = append(r.Prompt, int32((i*7+stream*11)%testVocabulary))
	}
	if rapid.Bool().Draw(t, "own end") {
		r.Prompt[length-1] = rapid.Int32Range(0, testVocabulary-1).Draw(t, "end")
	}
	r.MinTokens = rapid.IntRange(0, min(r.MaxTokens, 5)).Draw(t, "min")
	r.StopIDs = rapid.SliceOfN(rapid.Int32Range(0, testVocabulary-1), 0, 3).Draw(t, "stop")
	r.Logprobs = rapid.Bool().Draw(t, "logprobs")
	r.PromptLogprobs = rapid.IntRange(0, 3).Draw(t, "prompt logprobs") == 0
	if r.Logprobs || r.PromptLogprobs {
		r.Top = rapid.IntRange(0, 3).Draw(t, "top")
	}
	switch rapid.IntRange(0, 5).Draw(t, "kind") {
	case 0:
		r.Beams = rapid.IntRange(2, 4).Draw(t, "beams")
		r.Choices = rapid.IntRange(1, r.Beams).Draw(t, "n")
		r.LengthPenalty = rapid.Float32Range(-1, 2).Draw(t, "penalty")
		r.EarlyStopping = rapid.Bool().Draw(t, "early")
		return r
	case 1:
		r.Choices = rapid.IntRange(1, 4).Draw(t, "n")
	case 2:
		r.Choices = rapid.IntRange(1, 3).Draw(t, "n")
		r.BestOf = rapid.IntRange(r.Choices, 4).Draw(t, "best_of")
	}
	r.Params.Seed = rapid.Uint64().Draw(t, "seed")
	if rapid.Bool().Draw(t, "hot") {
		r.Params.Temperature = 1
	}
	if rapid.IntRange(0, 3).Draw(t, "penalties") == 0 {
		r.Params.RepetitionPenalty, r.Params.FrequencyPenalty = 1.3, 0.5
	}
	return r
}

func drawConfig(t *rapid.T) Config {
	return Config{
		Blocks:       rapid.IntRange(4, 40).Draw(t, "blocks"),
		Positions:    rapid.IntRange(20, 100).Draw(t, "positions"),
		Vocabulary:   testVocabulary,
		StepTokens:   rapid.IntRange(8, 64).Draw(t, "step"),
		SequencesMax: rapid.IntRange(1, 8).Draw(t, "sequences"),
		CacheOff:     rapid.IntRange(0, 3).Draw(t, "cache off") == 0,
	}
}

// TestWorkloads is the promise of the package: whatever comes together, in however little memory, every request ends once,
// with exactly what it gives when it runs alone; nothing waits for ever; all blocks come back.
func TestWorkloads(t *testing.T) {
	preempted, copied, reused, searched, deepest, lost := 0, 0, 0, 0, 0, 0
	rapid.Check(t, func(t *rapid.T) {
		bench := newTable(drawConfig(t))
		bench.depth = rapid.IntRange(1, 4).Draw(t, "depth")
		for range rapid.IntRange(1, 60).Draw(t, "actions") {
			switch rapid.IntRange(0, 9).Draw(t, "action") {
			case 0, 1, 2:
				r := drawRequest(t, bench.config, fmt.Sprintf("r%d", len(bench.jobs)))
				if j, err := bench.submitRequest(r); err != nil && !errors.Is(err, ErrTooLarge) && !errors.Is(err, ErrTooLong) {
					t.Fatalf("%+v: %v", r, err)
				} else if err == nil && j.searches() {
					searched++
				}
			case 3:
				if j := drawJob(t, bench); j != nil && rapid.IntRange(0, 2).Draw(t, "cancel") == 0 {
					bench.marked[j] = true
					bench.cancel(j)
				}
			case 4:
				if j := drawJob(t, bench); j != nil {
					bench.dropChoice(j, rapid.IntRange(0, 3).Draw(t, "choice"))
				}
			case 5:
				switch rapid.IntRange(0, 19).Draw(t, "forget") {
				case 0, 1: // what is under way ends before
					for len(bench.steps) > 0 {
						if err := bench.finish(); err != nil {
							t.Fatal(err)
						}
					}
					bench.forget()
					clear(bench.model.blocks)
				case 2: // the oldest step fails, and the others with it
					bench.lose(errCable)
				}
			case 6:
				if err := bench.finish(); err != nil {
					t.Fatal(err)
				}
			default:
				if _, err := bench.work(); err != nil {
					t.Fatal(err)
				}
				for _, step := range bench.steps {
					copied += len(step.Copies)
				}
				deepest = max(deepest, len(bench.steps))
			}
			if err := bench.collect(); err != nil {
				t.Fatal(err)
			}
		}
		if err := bench.finishAll(3000); err != nil {
			t.Fatal(err)
		}
		for _, j := range bench.jobs {
			if errors.Is(bench.over[j], errCable) {
				lost++
				continue
			}
			if err := bench.verify(j); err != nil {
				t.Fatal(err)
			}
		}
		preempted += int(bench.counts.preemptions)
		reused += int(bench.counts.cachedTokens)
	})
	if !t.Failed() && !testing.Short() && (preempted == 0 || copied == 0 || reused == 0 || searched == 0 || deepest < 2 || lost == 0) {
		t.Errorf("%d preemptions, %d copies, %d tokens from the cache, %d searches, %d steps under way, %d lost: the workloads show too little",
			preempted, copied, reused, searched, deepest, lost)
	}
}

// TestWrittenBlocksAreNotFound runs the one case in which a sequence writes to a full block again: the second choice computes the
// last position of the prompt when the first has ended already. Nobody may begin with that block in that step.
func TestWrittenBlocksAreNotFound(t *testing.T) {
	bench := newTable(Config{Blocks: 20, Positions: 64})
	prompt := make([]int32, 2*BlockTokens)
	bench.submitRequest(Request{ID: "a", Prompt: prompt, MaxTokens: 1, Choices: 2, Params: sample.Params{Temperature: 1}})
	if _, err := bench.run(); err != nil {
		t.Fatal(err)
	}
	bench.submitRequest(Request{ID: "b", Prompt: append(slices.Clone(prompt), 1, 2), MaxTokens: 3})
	step, err := bench.run()
	if err != nil {
		t.Fatal(err)
	}
	if len(step.Chunks) != 2 || step.Chunks[0].Start != 2*BlockTokens-1 || step.Chunks[1].Start != BlockTokens {
		t.Errorf("chunks are %+v", step.Chunks)
	}
	if err := bench.finishAll(10); err != nil {
		t.Fatal(err)
	}
	for _, j := range bench.jobs {
		if err := bench.verify(j); err != nil {
			t.Error(err)
		}
	}
}

// drawJob draws a job that is not over.
func drawJob(t *rapid.T, bench *table) *job {
	var open []*job
	for _, j := range bench.jobs {
		if !j.over {
			open = append(open, j)
		}
	}
	if len(open) == 0 {
		return nil
	}
	return open[rapid.IntRange(0, len(open)-1).Draw(t, "job")]
}

// TestFirstComeFirstServed checks that in a stream of small requests a large one gets its turn.
func TestFirstComeFirstServed(t *testing.T) {
	bench := newTable(Config{Blocks: 9, Positions: 128, StepTokens: 16, SequencesMax: 4})
	small := func(i int) Request {
		return Request{ID: fmt.Sprintf("small%d", i), Prompt: []int32{int32(i % testVocabulary), 2, 3}, MaxTokens: 12}
	}
	for i := range 4 {
		bench.submitRequest(small(i))
	}
	large, err := bench.submitRequest(Request{ID: "large", Prompt: make([]int32, 100), MaxTokens: 29})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 300 {
		bench.submitRequest(small(i))
		if _, err := bench.run(); err != nil {
			t.Fatal(err)
		}
		if _, over := bench.over[large]; over {
			if err := bench.verify(large); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Error("the large request is not done after 300 steps")
}

// TestAllocations checks that steps of plain decoding allocate nothing.
func TestAllocations(t *testing.T) {
	bench := newTable(Config{Blocks: 600, Positions: 2048, SequencesMax: 8})
	for i := range 8 {
		r := Request{Prompt: []int32{int32(i), 5, 6}, MaxTokens: 900}
		if i%2 == 0 {
			r.Params.Temperature = 1
			r.Params.RepetitionPenalty = 1.1
		}
		if _, err := bench.submitRequest(r); err != nil {
			t.Fatal(err)
		}
	}
	var out Output
	next := func() {
		step := bench.schedule()
		if len(step.Chunks) != 8 {
			t.Fatalf("%d chunks", len(step.Chunks))
		}
		bench.launch()
		for len(out.Results) < 8 {
			out.Results = append(out.Results, Result{})
		}
		for i := range step.Chunks {
			c := &step.Chunks[i]
			out.Results[i] = Result{Token: int32((c.Start*7 + int(c.Tokens[0])) % testVocabulary)}
		}
		bench.commit(out.Results)
		bench.news, bench.started = bench.news[:0], bench.started[:0]
	}
	for range 20 {
		next()
	}
	if n := testing.AllocsPerRun(500, next); n > 0 {
		t.Errorf("%v allocations in a step", n)
	}
}

func BenchmarkStep(b *testing.B) {
	for _, sequences := range []int{1, 32} {
		b.Run(fmt.Sprintf("sequences=%d", sequences), func(b *testing.B) {
			bench := newTable(Config{Blocks: 8192, Positions: 2048, SequencesMax: 32})
			out := make([]Result, 32)
			b.ReportAllocs()
			for b.Loop() {
				if len(bench.running) == 0 {
					for i := range sequences {
						bench.submitRequest(Request{Prompt: []int32{int32(i)}, MaxTokens: 2000})
					}
				}
				step := bench.schedule()
				bench.launch()
				for i := range step.Chunks {
					out[i] = Result{Token: int32(step.Chunks[i].Start % 1000)}
				}
				bench.commit(out[:len(step.Chunks)])
				bench.news, bench.endings, bench.started = bench.news[:0], bench.endings[:0], bench.started[:0]
			}
		})
	}
}
