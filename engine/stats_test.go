package engine

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestQueue fills the queue, by requests and by tokens, and asks when to come again.
func TestQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config := testConfig
		config.SequencesMax, config.QueueMax, config.QueueTokens = 1, 4, 600
		e, _ := start(t, config, func(context.Context, *Step) error {
			time.Sleep(time.Second)
			return nil
		})
		if r := e.RetryAfter(); r != RetryMin {
			t.Errorf("retry after %v before anything is known", r)
		}
		small := Request{Prompt: []int32{1}, MaxTokens: 2}
		var handles []*Handle
		for i := range 8 {
			handles = append(handles, submit(t, e, small))
			time.Sleep(time.Second - time.Second/2*time.Duration(1-min(i, 1))) // never when a step ends
		}
		// Each takes two seconds: three have ended, one runs, four wait.
		if _, err := e.Submit(small); !errors.Is(err, ErrQueueFull) {
			t.Errorf("Submit: %v, with %+v", err, e.Stats())
		}
		if r := e.RetryAfter(); r < 3500*time.Millisecond || r > 4500*time.Millisecond {
			t.Errorf("retry after %v", r)
		}
		for _, h := range handles {
			read(h)
		}
		for range 2 {
			submit(t, e, Request{Prompt: make([]int32, 256), MaxTokens: 1})
			time.Sleep(time.Millisecond)
		}
		submit(t, e, Request{Prompt: make([]int32, 256), MaxTokens: 1})
		if _, err := e.Submit(Request{Prompt: make([]int32, 200), MaxTokens: 1}); !errors.Is(err, ErrQueueFull) {
			t.Errorf("Submit: %v, with %+v", err, e.Stats())
		}
		if s := e.Stats(); s.Waiting != 2 || s.WaitingTokens != 512 || s.Refused != 2 {
			t.Errorf("stats: %+v", s)
		}
	})
}

func TestRetryAfterIsBounded(t *testing.T) {
	for q, want := range map[queue]time.Duration{
		{}:                                       RetryMin,
		{requests: 10, pace: time.Millisecond}:   RetryMin,
		{requests: 10, pace: time.Second}:        5 * time.Second,
		{requests: QueueMaxMax, pace: time.Hour}: RetryMax,
	} {
		if got := q.retryAfter(); got != want {
			t.Errorf("%d requests, one in %v: %v, want %v", q.requests, q.pace, got, want)
		}
	}
}

// TestStats checks the counts and rates of one request.
func TestStats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, _ := start(t, testConfig, func(context.Context, *Step) error {
			time.Sleep(100 * time.Millisecond)
			return nil
		})
		h := submit(t, e, Request{Prompt: make([]int32, 20), MaxTokens: 200})
		events, err := read(h)
		if err != nil || len(events) != 200 {
			t.Fatalf("%d events, %v", len(events), err)
		}
		s := e.Stats()
		if s.Steps != 200 || s.StepTokens != 219 || s.PromptTokens != 20 || s.OutputTokens != 200 || s.Finished != 1 ||
			s.StepDuration != 100*time.Millisecond || !s.LastStep.Equal(time.Now()) || !s.LastToken.Equal(s.LastStep) {
			t.Errorf("stats: %+v", s)
		}
		if s.TokensPerSecond < 9.5 || s.TokensPerSecond > 10.5 || s.ComputePerSecond < 9.5 || s.ComputePerSecond > 10.5 {
			t.Errorf("rates: %v, %v", s.TokensPerSecond, s.ComputePerSecond)
		}
		time.Sleep(time.Minute)
		if s := e.Stats(); s.TokensPerSecond > 0.01 {
			t.Errorf("rate after a minute: %v", s.TokensPerSecond)
		}
	})
}
