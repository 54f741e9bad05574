package engine

import (
	"context"
	"errors"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"polynode/engine/sample"
)

// TestCancel checks that the blocks are free before another step is scheduled, and that the others go on.
func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var e *Engine
		var chunks []int
		e, _ = start(t, testConfig, func(_ context.Context, step *Step) error {
			chunks = append(chunks, len(step.Chunks))
			time.Sleep(time.Second)
			return nil
		})
		gone := submit(t, e, Request{Prompt: make([]int32, 40), MaxTokens: 100})
		stays := Request{Prompt: []int32{1, 2}, MaxTokens: 4}
		h := submit(t, e, stays)
		time.Sleep(1500 * time.Millisecond) // in the second step
		gone.Cancel()
		gone.Cancel()
		if _, err := gone.Next(context.Background()); !errors.Is(err, ErrCancelled) {
			t.Errorf("after Cancel: %v", err)
		}
		time.Sleep(time.Second) // in the third
		if s := e.Stats(); s.Running != 1 || s.Cancelled != 1 || s.BlocksTotal-s.BlocksFree != 1 {
			t.Errorf("stats: %+v", s)
		}
		events, err := read(h)
		if err == nil {
			err = expect(stays, testConfig, events)
		}
		if err != nil {
			t.Error(err)
		}
		if !slices.Equal(chunks, []int{2, 2, 1, 1}) {
			t.Errorf("chunks of the steps: %v", chunks)
		}
		h.Cancel() // nothing happens
		if _, err := h.Next(context.Background()); err != io.EOF {
			t.Errorf("Cancel after the end: %v", err)
		}
	})
}

// TestFinish checks that a choice can be ended by its reader.
func TestFinish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, _ := start(t, testConfig, func(context.Context, *Step) error {
			time.Sleep(time.Second)
			return nil
		})
		h := submit(t, e, Request{Prompt: []int32{1}, MaxTokens: 50, Choices: 2, Params: sample.Params{Temperature: 1}})
		count := [2]int{}
		for {
			event, err := h.Next(context.Background())
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if count[event.Choice]++; count[event.Choice] == 2+3*event.Choice {
				h.Finish(event.Choice)
				h.Finish(event.Choice)
				h.Finish(77)
			}
		}
		if count != [2]int{2, 5} {
			t.Errorf("events by choice: %v", count)
		}
		time.Sleep(time.Second)
		if s := e.Stats(); s.BlocksFree != s.BlocksTotal || s.Finished != 1 {
			t.Errorf("stats: %+v", s)
		}
	})
}

// TestSlowReader checks that nobody waits for a reader.
func TestSlowReader(t *testing.T) {
	e, _ := start(t, testConfig, nil)
	slow := Request{ID: "slow", Prompt: []int32{1}, MaxTokens: 200}
	h := submit(t, e, slow)
	fast := Request{ID: "fast", Prompt: []int32{2}, MaxTokens: 200}
	for range 3 {
		if _, err := read(submit(t, e, fast)); err != nil {
			t.Fatal(err)
		}
	}
	events, err := read(h)
	if err == nil {
		err = expect(slow, testConfig, events)
	}
	if err != nil {
		t.Error(err)
	}
	if u := h.Usage(); u.Prompt != 1 || u.Output != 200 || u.Cached != 0 {
		t.Errorf("usage: %+v", u)
	}
}

// TestNextWaits checks that a caller who gives up waiting can come back.
func TestNextWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, _ := start(t, testConfig, func(context.Context, *Step) error {
			time.Sleep(time.Minute)
			return nil
		})
		h := submit(t, e, Request{ID: "me", Prompt: make([]int32, 33), MaxTokens: 1})
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if _, err := h.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Next: %v", err)
		}
		if event, err := h.Next(context.Background()); err != nil || event.Finish != FinishLength || h.ID() != "me" {
			t.Errorf("Next: %+v, %v", event, err)
		}
		again := submit(t, e, Request{Prompt: make([]int32, 33), MaxTokens: 1})
		read(again)
		if u := again.Usage(); u.Cached != 32 {
			t.Errorf("usage: %+v", u)
		}
	})
}

// TestSubmitCopies checks that the caller may use its slices again.
func TestSubmitCopies(t *testing.T) {
	e, err := New(testConfig, newFakeModel(testConfig, testVocabulary), nil)
	if err != nil {
		t.Fatal(err)
	}
	r := Request{
		Prompt: []int32{1, 2, 3}, MaxTokens: 5, StopIDs: []int32{9},
		Params: sample.Params{Banned: []int32{4}, Bias: []sample.Bias{{Token: 5, Value: 3}}},
	}
	want := r.normal(256)
	h := submit(t, e, r)
	r.Prompt[0], r.StopIDs[0], r.Params.Banned[0], r.Params.Bias[0].Value = 7, 7, 7, 7
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { e.Run(ctx); close(done) }()
	events, err := read(h)
	if err == nil {
		err = expect(want, testConfig, events)
	}
	if err != nil {
		t.Error(err)
	}
	cancel()
	<-done
}

// TestHandleMemory checks that a reader who lags a little does not make the queue of events grow.
func TestHandleMemory(t *testing.T) {
	h := newHandle(nil, &Request{Prompt: []int32{1}})
	h.push(Event{Token: 0})
	h.push(Event{Token: 1})
	for i := range int32(1000) {
		h.push(Event{Token: i + 2})
		if e, ok, err := h.poll(); !ok || err != nil || e.Token != i {
			t.Fatalf("event %d is %+v, %v, %v", i, e, ok, err)
		}
	}
	if c := cap(h.events); c > 8 {
		t.Errorf("room for %d events, of which two are used", c)
	}
}
