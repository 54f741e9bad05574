package engine

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// Stats is what an engine has done and is doing. Counters only grow.
type Stats struct {
	Waiting       int // requests in the queue
	WaitingTokens int // of their prompts
	Running       int // requests with blocks
	Preempted     int // requests that had blocks and wait for them again
	Sequences     int // of the running requests

	BlocksTotal  int // that sequences can use
	BlocksFree   int // that none uses
	BlocksCached int // of the free ones, those with tokens that may come again

	Submitted, Refused, Finished, Cancelled, Failed uint64 // requests

	Steps        uint64 // that were executed
	StepErrors   uint64 // that failed
	StepTokens   uint64 // computed, prompts and replays included
	PromptTokens uint64 // of requests that have begun
	CachedTokens uint64 // positions that the prefix cache saved
	OutputTokens uint64 // sampled
	Preemptions  uint64

	StepDuration     time.Duration // of the last step
	LastStep         time.Time     // when the last good step ended; zero before the first
	LastToken        time.Time     // when the last token was sampled; zero before the first
	ComputePerSecond float64       // tokens computed lately, prompts included
	TokensPerSecond  float64       // tokens sampled lately
}

// Stats is a picture of the engine between two steps.
func (e *Engine) Stats() Stats {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.stats
	s.Waiting, s.WaitingTokens = e.queue.requests, e.queue.tokens
	s.ComputePerSecond, s.TokensPerSecond = e.rates.now(time.Now())
	return s
}

// LastStep is when the last good step ended; zero before the first.
func (e *Engine) LastStep() time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.stats.LastStep
}

// RetryAfter is when to come again after ErrQueueFull: when at the present rate half of the queue will have left it, between
// RetryMin and RetryMax.
func (e *Engine) RetryAfter() time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.queue.retryAfter()
}

// Bounds of RetryAfter.
const (
	RetryMin = 100 * time.Millisecond
	RetryMax = 2 * time.Minute
)

// measure notes a step.
func (e *Engine) measure(begun time.Time, took time.Duration, tokens int, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := &e.stats
	if err != nil {
		if !errors.Is(err, ErrClosed) {
			s.StepErrors++
		}
		return
	}
	end := begun.Add(took)
	s.Steps++
	s.StepTokens += uint64(tokens)
	s.StepDuration = took
	s.LastStep = end
	sampled := e.scheduler.counts.outputTokens - s.OutputTokens
	if sampled > 0 {
		s.LastToken = end
	}
	e.rates.add(end, float64(tokens), float64(sampled))
}

// observe notes the state of the scheduler, whose goroutine calls it, and what it has started and ended.
func (e *Engine) observe() {
	sch := e.scheduler
	now := time.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	s := &e.stats
	s.Running, s.Sequences = len(sch.running), 0
	for _, j := range sch.running {
		s.Sequences += len(j.live)
	}
	s.Preempted = 0
	for _, j := range sch.waiting {
		if !j.started {
			break
		}
		s.Preempted++
	}
	s.BlocksTotal = len(sch.pool.blocks) - 1
	s.BlocksFree, s.BlocksCached = sch.pool.free, sch.pool.cached
	s.PromptTokens, s.CachedTokens = sch.counts.promptTokens, sch.counts.cachedTokens
	s.OutputTokens, s.Preemptions = sch.counts.outputTokens, sch.counts.preemptions
	for _, j := range sch.started {
		e.queue.leave(len(j.request.Prompt), now)
	}
	for _, end := range sch.endings {
		e.ended(end)
	}
}

// ended notes the end of a job.
func (e *Engine) ended(end ending) {
	j := end.job
	if !j.started {
		e.queue.drop(len(j.request.Prompt))
	}
	switch {
	case end.err == nil:
		e.stats.Finished++
	case errors.Is(end.err, ErrCancelled):
		e.stats.Cancelled++
	default:
		e.stats.Failed++
	}
	e.accepted--
	if e.accepted == 0 && e.idle != nil {
		close(e.idle)
	}
}

// queue counts the requests that wait for the first time, and how fast they leave.
type queue struct {
	requests, tokens int
	since            time.Time     // the last leaving, if others have waited ever since; otherwise zero
	pace             time.Duration // between two leavings while others wait, smoothed; 0 is unknown
}

// add counts a request in if there is room.
func (q *queue) add(c *Config, tokens int) error {
	if q.requests >= c.QueueMax {
		return fmt.Errorf("%w: %d requests wait", ErrQueueFull, q.requests)
	}
	if q.tokens+tokens > c.QueueTokens {
		return fmt.Errorf("%w: %d requests with %d prompt tokens wait, %d more would be over %d",
			ErrQueueFull, q.requests, q.tokens, tokens, c.QueueTokens)
	}
	q.requests++
	q.tokens += tokens
	return nil
}

// drop counts a request out that left without having run.
func (q *queue) drop(tokens int) {
	q.requests--
	q.tokens -= tokens
	if q.requests == 0 {
		q.since = time.Time{}
	}
}

// leave counts a request out that begins to run.
func (q *queue) leave(tokens int, now time.Time) {
	if !q.since.IsZero() {
		gap := now.Sub(q.since)
		if q.pace == 0 {
			q.pace = gap
		}
		q.pace += (gap - q.pace) / 8
	}
	q.since = now
	q.drop(tokens)
}

func (q *queue) retryAfter() time.Duration {
	return min(max(time.Duration(q.requests)*q.pace/2, RetryMin), RetryMax)
}

// rates are two smoothed rates per second.
type rates struct {
	at      time.Time
	tokens  float64
	sampled float64
}

// ratesSpan is the time after which an old figure counts 1/e.
const ratesSpan = 5 * time.Second

// add counts what came since the last call, or for the first one, what began just now.
func (r *rates) add(at time.Time, tokens, sampled float64) {
	if r.at.IsZero() {
		r.at = at
		return
	}
	keep := math.Exp(-at.Sub(r.at).Seconds() / ratesSpan.Seconds())
	r.tokens = r.tokens*keep + tokens/ratesSpan.Seconds()
	r.sampled = r.sampled*keep + sampled/ratesSpan.Seconds()
	r.at = at
}

// now is the rates at a time.
func (r *rates) now(at time.Time) (tokens, sampled float64) {
	if r.at.IsZero() {
		return 0, 0
	}
	keep := math.Exp(-at.Sub(r.at).Seconds() / ratesSpan.Seconds())
	return r.tokens * keep, r.sampled * keep
}
