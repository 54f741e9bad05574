package engine

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

// startDeep runs an engine over the fake model, with several steps under way, until the test ends.
func startDeep(t *testing.T, c Config, depth int, before func(context.Context, *Step) error) (*Engine, *fakeModel) {
	t.Helper()
	model := newFakeModel(c, testVocabulary)
	model.before, model.depth = before, depth
	e, err := New(c, model, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	go func() { done <- e.Run(ctx) }()
	return e, model
}

// TestPlansChangeUnderWay changes the plan while several steps are under way, which fail or come to their end. No request notices, and nothing of
// the new plan begins before all of the old one is over.
func TestPlansChangeUnderWay(t *testing.T) {
	for _, failing := range []bool{false, true} {
		t.Run(fmt.Sprintf("failing=%v", failing), func(t *testing.T) {
			var e *Engine
			var model *fakeModel
			steps := 0
			config := testConfig
			config.Epoch = 3
			e, model = startDeep(t, config, 3, func(_ context.Context, step *Step) error {
				if steps++; steps == 12 {
					e.SetPlan(4, config.Blocks)
				}
				switch {
				case steps < 12 || step.Epoch == 4:
				case failing:
					return errors.New("stale epoch")
				}
				if step.Epoch == 4 && len(model.started) > 0 && model.started[0].step.Epoch == 3 {
					t.Error("a step of the new plan runs before one of the old")
				}
				return nil
			})
			var requests []Request
			var handles []*Handle
			for i := range 6 {
				r := Request{ID: fmt.Sprint(i), Prompt: make([]int32, 10+20*i), MaxTokens: 30}
				if i == 2 {
					r.Beams, r.LengthPenalty = 3, 1
				}
				requests = append(requests, r)
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
			if s := e.Stats(); s.BlocksFree != s.BlocksTotal || s.Failed != 0 || failing != (s.StepErrors > 0) {
				t.Errorf("stats: %+v", s)
			}
		})
	}
}

// TestOneStepOfSeveralFails checks that only the requests of the step that failed end, though those behind it could not be run either.
func TestOneStepOfSeveralFails(t *testing.T) {
	broken := 0
	e, _ := startDeep(t, testConfig, 2, func(_ context.Context, step *Step) error {
		for i := range step.Chunks {
			if c := &step.Chunks[i]; broken == 0 && c.Start == 20 && c.Tokens[0] >= 0 && len(c.Tokens) == 1 {
				broken = 2 // this one, and the one behind it
			}
		}
		if broken > 0 {
			if broken--; broken == 0 {
				broken = -1
			}
			return errCable
		}
		return nil
	})
	var requests []Request
	var handles []*Handle
	for i := range 4 {
		r := Request{ID: fmt.Sprint(i), Prompt: []int32{int32(i), 1, 2}, MaxTokens: 40}
		requests = append(requests, r)
		handles = append(handles, submit(t, e, r))
	}
	failed := 0
	for i, h := range handles {
		events, err := read(h)
		if errors.Is(err, errCable) && errors.Is(err, ErrStep) {
			failed++
			continue
		}
		if err == nil {
			err = expect(requests[i], testConfig, events)
		}
		if err != nil {
			t.Error(err)
		}
	}
	if failed == 0 || failed == len(handles) {
		t.Errorf("%d of %d requests failed", failed, len(handles))
	}
	if s := e.Stats(); s.BlocksFree != s.BlocksTotal || s.Failed != uint64(failed) {
		t.Errorf("stats: %+v", s)
	}
}
