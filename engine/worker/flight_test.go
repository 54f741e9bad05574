package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"

	"polynode/engine"
	"polynode/engine/sample"
	"polynode/shard"
)

// mixed is requests of every kind, some with prompts of several chunks and some with a common beginning.
func mixed() []engine.Request {
	var requests []engine.Request
	for i := range 8 {
		r := engine.Request{ID: fmt.Sprintf("batch%d", i), MaxTokens: 30 + 2*i}
		for k := range 3 + 6*i {
			r.Prompt = append(r.Prompt, int32((k*(3+i%2)+5)%170))
		}
		requests = append(requests, r)
	}
	requests[1].Params = sample.Params{Temperature: 6, TopP: 0.99, Seed: 7}
	requests[2].Params = sample.Params{Temperature: 5, TopK: 20, Seed: 8, FrequencyPenalty: 1}
	requests[3].Choices, requests[3].Params = 3, sample.Params{Temperature: 6, Seed: 9}
	requests[4].Beams, requests[4].LengthPenalty = 3, 1
	requests[5].Logprobs, requests[5].PromptLogprobs, requests[5].Top = true, true, 2
	requests[6].BestOf, requests[6].Params = 2, sample.Params{Temperature: 6, Seed: 10}
	return requests
}

// answers has an engine work on all requests at once and returns what they give.
func answers(t *testing.T, x engine.Executor, epoch shard.Epoch, blocks int) ([][]engine.Event, engine.Stats) {
	t.Helper()
	e, err := engine.New(engine.Config{Blocks: blocks, Positions: 128, Vocabulary: 179, StepTokens: 24, SequencesMax: 16, Epoch: epoch}, x, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	var handles []*engine.Handle
	for _, r := range mixed() {
		h, err := e.Submit(r)
		if err != nil {
			t.Fatal(err)
		}
		handles = append(handles, h)
	}
	events := make([][]engine.Event, len(handles))
	for i, h := range handles {
		for {
			event, err := h.Next(ctx)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("request %d: %v", i, err)
			}
			if len(event.Top) == 0 {
				event.Top = nil
			}
			events[i] = append(events[i], event)
		}
	}
	for i := range events { // choices come in any order beside each other
		slices.SortStableFunc(events[i], func(a, b engine.Event) int { return cmp.Compare(a.Choice, b.Choice) })
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	return events, e.Stats()
}

// deepest counts the steps that were under way at once.
type deepest struct {
	engine.Executor
	under, most int
}

func (d *deepest) Start(ctx context.Context, step *engine.Step, out *engine.Output) {
	d.under++
	d.most = max(d.most, d.under)
	d.Executor.Start(ctx, step, out)
}

func (d *deepest) Wait(ctx context.Context) error {
	d.under--
	return d.Executor.Wait(ctx)
}

// Whatever stages a plan has and however many steps are under way, requests give what they give with one rank; also where there are hardly
// enough blocks, so that sequences lose theirs while steps are under way.
func TestStagesGiveTheSameTokens(t *testing.T) {
	for _, blocks := range []int{24, 12} {
		synctest.Test(t, func(t *testing.T) {
			l := lend(t, "a", "b", "c", "d")
			alone, err := l.use(t, "a", 1, []shard.NodeID{"a"})
			if err != nil {
				t.Fatal(err)
			}
			want, _ := answers(t, alone, 1, blocks)
			alone.Close()
			for i, stages := range [][][]shard.NodeID{
				{{"a"}, {"b"}}, {{"b"}, {"a"}}, {{"b"}, {"c"}, {"a"}}, {{"a", "b"}, {"c", "d"}}, {{"d"}, {"c"}, {"b"}}, {{"a"}, {"b"}, {"c"}, {"d"}},
			} {
				epoch := shard.Epoch(i + 2)
				p, err := l.use(t, "a", epoch, stages...)
				if err != nil {
					t.Fatal(err)
				}
				watched := &deepest{Executor: p}
				got, stats := answers(t, watched, epoch, blocks)
				for r := range want {
					if !reflect.DeepEqual(got[r], want[r]) {
						t.Errorf("%v, %d blocks, request %d: got %+v\nwant %+v", stages, blocks, r, got[r], want[r])
					}
				}
				if watched.most != len(stages) {
					t.Errorf("%v: %d steps were under way at once", stages, watched.most)
				}
				if stats.BlocksFree != stats.BlocksTotal || stats.Failed != 0 || blocks == 12 && stats.Preemptions == 0 {
					t.Errorf("%v, %d blocks: at the end %+v", stages, blocks, stats)
				}
				if err := p.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// A rank that is cut off with several steps under way ends them all when the coordinator gives it up, and each is told so.
func TestALostRankEndsAllSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lend(t, "a", "b")
		p, err := l.use(t, "a", 1, []shard.NodeID{"a"}, []shard.NodeID{"b"})
		if err != nil {
			t.Fatal(err)
		}
		l.hub.Cut("b", "a")
		steps := make([]engine.Step, 2)
		outputs := make([]engine.Output, 2)
		for i := range steps {
			steps[i] = engine.Step{ID: uint64(i + 1), Epoch: 1, Chunks: []engine.Chunk{{
				Sequence: engine.SequenceID(i + 1), Tokens: []int32{5}, Blocks: []engine.BlockID{int32(i + 1)}, Sample: true, Params: &sample.Params{},
			}}}
			p.Start(t.Context(), &steps[i], &outputs[i])
		}
		failed := make(chan error)
		go func() {
			for range steps {
				failed <- p.Wait(t.Context())
			}
		}()
		synctest.Wait()
		p.GiveUp()
		for i := range steps {
			if err := <-failed; err == nil {
				t.Errorf("step %d succeeded without one of its ranks", i+1)
			}
		}
		p.Close()
		l.hub.Heal("b", "a")
		next, err := l.use(t, "a", 2, []shard.NodeID{"a"}, []shard.NodeID{"b"})
		if err != nil {
			t.Fatal(err)
		}
		generate(t, next, 2)
		next.Close()
	})
}
