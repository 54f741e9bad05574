package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"polynode/engine/sample"
	"polynode/shard"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs an engine over the fake model until the test ends.
func start(t *testing.T, c Config, before func(context.Context, *Step) error) (*Engine, *fakeModel) {
	t.Helper()
	model := newFakeModel(c, testVocabulary)
	model.before = before
	e, err := New(c, model, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- e.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return e, model
}

var testConfig = Config{Blocks: 100, Positions: 256, Vocabulary: testVocabulary}

func submit(t *testing.T, e *Engine, r Request) *Handle {
	t.Helper()
	h, err := e.Submit(r)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// read reads a handle to its end.
func read(h *Handle) (events []Event, err error) {
	for {
		e, err := h.Next(context.Background())
		if err == io.EOF {
			return events, nil
		}
		if err != nil {
			return events, err
		}
		events = append(events, e)
	}
}

// expect compares events with the reference.
func expect(r Request, c Config, events []Event) error {
	prompt, choices := reference(r, c, testVocabulary)
	next := make([]int, len(choices))
	for _, e := range events {
		if e.Prompt != nil {
			if !sameTargets(e.Prompt, prompt) {
				return fmt.Errorf("%s: prompt %v, want %v", r.ID, e.Prompt, prompt)
			}
			continue
		}
		want := choices[e.Choice]
		if next[e.Choice] >= len(want) || !sameEvent(e, want[next[e.Choice]]) {
			return fmt.Errorf("%s: event %d of choice %d is %+v", r.ID, next[e.Choice], e.Choice, e)
		}
		next[e.Choice]++
	}
	for i := range choices {
		if next[i] != len(choices[i]) {
			return fmt.Errorf("%s: %d events of choice %d, want %d", r.ID, next[i], i, len(choices[i]))
		}
	}
	return nil
}

// TestManyCallers lets many goroutines submit, read at their own pace, cancel and watch, with little memory.
func TestManyCallers(t *testing.T) {
	config := Config{Blocks: 17, Positions: 128, Vocabulary: testVocabulary, StepTokens: 24, SequencesMax: 8}
	var submitted sync.WaitGroup // nothing runs before all is there, so that it is crowded
	submitted.Add(8)
	e, _ := start(t, config, func(context.Context, *Step) error {
		submitted.Wait()
		return nil
	})
	var callers sync.WaitGroup
	for caller := range 8 {
		callers.Go(func() {
			if err := call(e, config, caller, submitted.Done); err != nil {
				t.Error(err)
			}
		})
	}
	callers.Wait()
	if err := e.Drain(context.Background()); err != nil {
		t.Fatal(err)
	}
	s := e.Stats()
	if s.BlocksFree != s.BlocksTotal || s.Running+s.Waiting+s.Preempted != 0 {
		t.Errorf("at the end: %+v", s)
	}
	if s.Submitted != s.Finished+s.Cancelled || s.Failed != 0 || s.Preemptions == 0 || s.Cancelled == 0 {
		t.Errorf("counts: %+v", s)
	}
}

// call submits a dozen requests and reads or cancels one after the other.
func call(e *Engine, config Config, caller int, submitted func()) error {
	random := rand.New(rand.NewPCG(1, uint64(caller)))
	var requests []Request
	var handles []*Handle
	for i := range 12 {
		r := Request{ID: fmt.Sprintf("%d-%d", caller, i), MaxTokens: 20 + random.IntN(40)}
		if i%3 == 0 {
			r.StopIDs = []int32{3}
		}
		for k := range 1 + random.IntN(60) {
			r.Prompt = append(r.Prompt, int32(k*(1+caller%2)%testVocabulary))
		}
		switch random.IntN(4) {
		case 0:
			r.Beams, r.LengthPenalty = 3, 1
		case 1:
			r.Choices, r.Params = 2, sample.Params{Temperature: 1, Seed: random.Uint64()}
		case 2:
			r.PromptLogprobs, r.Logprobs, r.Top = true, true, 2
		}
		h, err := e.Submit(r)
		if err != nil {
			submitted()
			return err
		}
		requests, handles = append(requests, r), append(handles, h)
	}
	submitted()
	for i, h := range handles {
		if random.IntN(4) == 0 {
			for range random.IntN(3) {
				h.Next(context.Background())
			}
			h.Cancel()
			if _, err := h.Next(context.Background()); !errors.Is(err, ErrCancelled) && err != io.EOF {
				return fmt.Errorf("after Cancel: %w", err)
			}
			continue
		}
		e.Stats()
		events, err := read(h)
		if err == nil {
			err = expect(requests[i], config, events)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// TestStepFails checks that a failing step ends its requests and nothing else.
func TestStepFails(t *testing.T) {
	cause := errors.New("the cable is out")
	fail := false
	e, _ := start(t, testConfig, func(_ context.Context, step *Step) error {
		if fail = slices.ContainsFunc(step.Chunks, func(c Chunk) bool { return c.Start == 5 }); fail {
			return cause
		}
		return nil
	})
	h := submit(t, e, Request{Prompt: []int32{1, 2, 3}, MaxTokens: 10})
	events, err := read(h)
	if !errors.Is(err, ErrStep) || !errors.Is(err, cause) || len(events) != 3 {
		t.Errorf("%d events, then %v", len(events), err)
	}
	if _, err := h.Next(context.Background()); !errors.Is(err, ErrStep) {
		t.Errorf("again: %v", err)
	}
	good := Request{Prompt: []int32{1}, MaxTokens: 4}
	events, err = read(submit(t, e, good))
	if err == nil {
		err = expect(good, testConfig, events)
	}
	if err != nil {
		t.Error(err)
	}
	if s := e.Stats(); s.Failed != 1 || s.Finished != 1 || s.StepErrors != 1 || s.BlocksFree != s.BlocksTotal {
		t.Errorf("stats: %+v", s)
	}
}

// TestBadOutput checks executors that give less than they were asked for.
func TestBadOutput(t *testing.T) {
	for name, c := range map[string]struct {
		request Request
		give    func(out *Output)
	}{
		"no results":    {Request{Prompt: []int32{1}, MaxTokens: 1}, func(out *Output) { out.Results = nil }},
		"no token":      {Request{Prompt: []int32{1}, MaxTokens: 1}, func(out *Output) { out.Results = []Result{{Token: -1}} }},
		"no candidates": {Request{Prompt: []int32{1}, MaxTokens: 1, Beams: 2}, func(out *Output) { out.Results = []Result{{}} }},
		"no targets":    {Request{Prompt: []int32{1, 2}, PromptLogprobs: true}, func(out *Output) { out.Results = []Result{{}} }},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := New(testConfig, OneAtATime(func(_ context.Context, _ *Step, out *Output) error { c.give(out); return nil }), nil)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan struct{})
			go func() { e.Run(ctx); close(done) }()
			if _, err := read(submit(t, e, c.request)); !errors.Is(err, ErrStep) {
				t.Errorf("error is %v", err)
			}
			cancel()
			<-done
			if s := e.Stats(); s.BlocksFree != s.BlocksTotal || s.Failed != 1 {
				t.Errorf("stats: %+v", s)
			}
		})
	}
}

// TestRunEnds checks that everything ends with ErrClosed when Run's context does: running, waiting, submitted and probing.
func TestRunEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config := testConfig
		config.SequencesMax = 1
		model := newFakeModel(config, testVocabulary)
		model.before = func(ctx context.Context, _ *Step) error {
			<-ctx.Done()
			return ctx.Err()
		}
		e, _ := New(config, model, nil)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- e.Run(ctx) }()
		var handles []*Handle
		for range 3 {
			handles = append(handles, submit(t, e, Request{Prompt: []int32{1}, MaxTokens: 5}))
		}
		probe := make(chan error, 1)
		go func() { probe <- e.Probe(context.Background()) }()
		synctest.Wait()
		if err := e.Run(ctx); err == nil {
			t.Error("Run was called twice")
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		for _, h := range handles {
			if _, err := read(h); !errors.Is(err, ErrClosed) {
				t.Errorf("request ended with %v", err)
			}
		}
		if err := <-probe; !errors.Is(err, ErrClosed) {
			t.Errorf("probe ended with %v", err)
		}
		if _, err := e.Submit(Request{Prompt: []int32{1}}); !errors.Is(err, ErrClosed) {
			t.Errorf("Submit: %v", err)
		}
		if err := e.Probe(context.Background()); !errors.Is(err, ErrClosed) {
			t.Errorf("Probe: %v", err)
		}
		if err := e.Drain(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

// TestDrain checks that accepted requests end and new ones are refused.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, _ := start(t, testConfig, func(context.Context, *Step) error {
			time.Sleep(time.Second)
			return nil
		})
		h := submit(t, e, Request{Prompt: []int32{1}, MaxTokens: 5})
		soon, cancel := context.WithTimeout(context.Background(), 2500*time.Millisecond)
		defer cancel()
		if err := e.Drain(soon); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Drain: %v", err)
		}
		if _, err := e.Submit(Request{Prompt: []int32{1}, MaxTokens: 1}); !errors.Is(err, ErrClosed) {
			t.Errorf("Submit: %v", err)
		}
		if err := e.Drain(context.Background()); err != nil {
			t.Error(err)
		}
		if events, err := read(h); err != nil || len(events) != 5 {
			t.Errorf("%d events, %v", len(events), err)
		}
	})
}

// TestProbe checks when a probe takes a step of its own and when it shares one.
func TestProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var failing error
		var steps [][]Chunk
		e, _ := start(t, testConfig, func(_ context.Context, step *Step) error {
			steps = append(steps, slices.Clone(step.Chunks))
			time.Sleep(time.Second)
			return failing
		})
		if !e.LastStep().IsZero() {
			t.Error("a last step before the first")
		}
		if err := e.Probe(context.Background()); err != nil {
			t.Error(err)
		}
		if len(steps) != 1 || len(steps[0]) != 1 || steps[0][0].Blocks[0] != 0 || !time.Now().Equal(e.LastStep()) {
			t.Errorf("steps: %+v, last at %v", steps, e.LastStep())
		}
		// Probes that come while one is on its way share the next step.
		steps = nil
		var probes sync.WaitGroup
		for i := range 10 {
			probes.Go(func() {
				time.Sleep(time.Duration(i) * 50 * time.Millisecond)
				if err := e.Probe(context.Background()); err != nil {
					t.Error(err)
				}
			})
		}
		probes.Wait()
		if len(steps) != 2 {
			t.Errorf("%d steps for 10 probes", len(steps))
		}
		// A step that samples anyway is a probe; one that does not takes the probe along.
		steps = nil
		h := submit(t, e, Request{Prompt: []int32{1}, MaxTokens: 2})
		if err := e.Probe(context.Background()); err != nil {
			t.Error(err)
		}
		read(h)
		for _, chunks := range steps {
			if len(chunks) != 1 || chunks[0].Sequence == 0 {
				t.Errorf("chunks: %+v", chunks)
			}
		}
		failing = errors.New("no light")
		if err := e.Probe(context.Background()); !errors.Is(err, ErrStep) || !errors.Is(err, failing) {
			t.Errorf("probe: %v", err)
		}
		failing = nil
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
		defer cancel()
		if err := e.Probe(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("probe: %v", err)
		}
		if err := e.Probe(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

// TestEpoch changes the plan in the middle: what the ranks held is lost, and the step of the old plan fails or comes to its end.
// No request notices.
func TestEpoch(t *testing.T) {
	for _, failing := range []bool{false, true} {
		t.Run(fmt.Sprintf("failing=%v", failing), func(t *testing.T) {
			var e *Engine
			var model *fakeModel
			var epochs []shard.Epoch
			config := testConfig
			config.Epoch = 3
			e, model = start(t, config, func(_ context.Context, step *Step) error {
				if epochs = append(epochs, step.Epoch); len(epochs) == 5 {
					e.SetPlan(4, config.Blocks)
					if failing {
						return errors.New("stale epoch")
					}
				}
				if len(epochs) == 6 {
					clear(model.blocks)
				}
				return nil
			})
			requests := []Request{
				{ID: "a", Prompt: make([]int32, 20), MaxTokens: 30},
				{ID: "b", Prompt: make([]int32, 40), MaxTokens: 12, Beams: 3, LengthPenalty: 1},
			}
			var handles []*Handle
			for _, r := range requests {
				handles = append(handles, submit(t, e, r))
			}
			for i, h := range handles {
				events, err := read(h)
				if err == nil {
					err = expect(requests[i], config, events)
				}
				if err != nil {
					t.Error(err)
				}
			}
			if epochs[4] != 3 || epochs[5] != 4 || !slices.IsSorted(epochs) {
				t.Errorf("epochs: %v", epochs)
			}
		})
	}
}

// TestShellAllocations checks that the loop around the scheduler allocates nothing either while a reader keeps up.
func TestShellAllocations(t *testing.T) {
	config := Config{Blocks: 600, Positions: 2048, SequencesMax: 4}
	give := func(_ context.Context, step *Step, out *Output) error {
		for range step.Chunks {
			out.Results = append(out.Results, Result{Token: 7})
		}
		return nil
	}
	e, err := New(config, OneAtATime(give), nil)
	if err != nil {
		t.Fatal(err)
	}
	var handles []*Handle
	for range 4 {
		handles = append(handles, submit(t, e, Request{Prompt: []int32{1}, MaxTokens: 2000}))
	}
	ctx := context.Background()
	step := func() {
		e.collect()
		for e.begin(ctx) {
		}
		e.deliver()
		e.finish(ctx)
		for _, h := range handles {
			if event, err := h.Next(ctx); err != nil || event.Token != 7 {
				t.Fatalf("%+v, %v", event, err)
			}
		}
	}
	for range 20 {
		step()
	}
	if n := testing.AllocsPerRun(500, step); n > 0 {
		t.Errorf("%v allocations in a step", n)
	}
}

// TestAPlanWithFewerBlocks has sequences go on in what is left, and ends the one that cannot.
func TestAPlanWithFewerBlocks(t *testing.T) {
	var e *Engine
	var model *fakeModel
	steps := 0
	config := testConfig
	e, model = start(t, config, func(_ context.Context, step *Step) error {
		if steps++; steps == 8 {
			clear(model.blocks)
			e.SetPlan(4, 9) // eight that sequences may use
			return errors.New("stale epoch")
		}
		for i := range step.Chunks {
			for _, id := range step.Chunks[i].Blocks {
				if steps > 8 && id >= 9 {
					t.Errorf("step %d uses block %d", steps, id)
				}
			}
		}
		return nil
	})
	fits := Request{ID: "fits", Prompt: make([]int32, 60), MaxTokens: 40}
	large := Request{ID: "large", Prompt: make([]int32, 150), MaxTokens: 40}
	small, big := submit(t, e, fits), submit(t, e, large)
	events, err := read(small)
	if err == nil {
		err = expect(fits, config, events)
	}
	if err != nil {
		t.Error(err)
	}
	if _, err := read(big); !errors.Is(err, ErrTooLarge) {
		t.Errorf("the large one ended with %v", err)
	}
	if _, err := e.Submit(large); !errors.Is(err, ErrTooLarge) {
		t.Errorf("the large one again: %v", err)
	}
	if got := e.Stats().BlocksTotal; got != 8 {
		t.Errorf("%d blocks", got)
	}
}
