package engine

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"polynode/shard"
)

// Engine takes requests and makes an Executor work on them. Create it with New, then let one goroutine call Run.
type Engine struct {
	config    Config
	executor  Executor
	logger    *slog.Logger
	scheduler *scheduler    // of Run's goroutine
	pace      pace          // likewise
	under     []*slot       // steps under way, the oldest first; likewise
	spare     []*slot       // memory for others; likewise
	landed    time.Time     // when the last step ended; likewise
	held      bool          // nothing new may begin while something is under way; likewise
	wake      chan struct{} // holds one if there is something to do

	mu       sync.Mutex
	inbox    []*job    // submitted, not yet with the scheduler
	commands []command // given, not yet carried out
	probes   []chan error
	epoch    shard.Epoch
	blocks   int
	queue    queue
	accepted int           // jobs that have not ended
	running  bool          // Run was called
	closed   bool          // nothing is accepted any more
	idle     chan struct{} // closed when closed and nothing is accepted; made by Drain
	stats    Stats
	rates    rates
}

// command is a caller's wish about a job: to end one of its choices, or all.
type command struct {
	job    *job
	choice int
}

const cancelAll = -1

// New makes an engine. The executor must be able to hold config.Blocks blocks. A nil logger logs nothing.
func New(config Config, executor Executor, logger *slog.Logger) (*Engine, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	config = config.withDefaults()
	e := &Engine{
		config: config, executor: executor, logger: logger, scheduler: newScheduler(config), wake: make(chan struct{}, 1),
		pace: newPace(config), epoch: config.Epoch, blocks: config.Blocks,
	}
	e.observe()
	return e, nil
}

// Config is the engine's configuration with its defaults filled in.
func (e *Engine) Config() Config { return e.config }

// Submit accepts a request or refuses it: ErrRequest, ErrTooLong and ErrTooLarge for good, ErrQueueFull for now, ErrClosed when
// the engine drains or has stopped. It never waits. The request's slices are copied.
func (e *Engine) Submit(r Request) (*Handle, error) {
	if err := e.config.check(&r); err != nil {
		return nil, e.refused(err)
	}
	r = r.normal(e.config.Positions)
	h := newHandle(e, &r)
	j, err := newJob(r, h)
	if err != nil {
		return nil, e.refused(err)
	}
	h.job = j
	if err := e.enqueue(j); err != nil {
		return nil, e.refused(err)
	}
	e.signal()
	return h, nil
}

func (e *Engine) enqueue(j *job) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return ErrClosed
	}
	if err := e.config.checkSize(&j.request, e.blocks); err != nil {
		return err
	}
	if err := e.queue.add(&e.config, len(j.request.Prompt)); err != nil {
		return err
	}
	e.inbox = append(e.inbox, j)
	e.accepted++
	e.stats.Submitted++
	return nil
}

func (e *Engine) refused(err error) error {
	e.mu.Lock()
	e.stats.Refused++
	e.mu.Unlock()
	return err
}

// order hands a command to the loop.
func (e *Engine) order(c command) {
	e.mu.Lock()
	e.commands = append(e.commands, c)
	e.mu.Unlock()
	e.signal()
}

func (e *Engine) signal() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// SetPlan says that steps run under a new plan, whose ranks hold so many blocks. Nothing of the old one's keys and values is left: running
// sequences are computed again from their tokens, and requests that need more blocks than there are now end with ErrTooLarge. A step that
// fails because its plan has gone costs no request, if the new epoch is set before it fails.
func (e *Engine) SetPlan(epoch shard.Epoch, blocks int) {
	e.mu.Lock()
	e.epoch, e.blocks = epoch, blocks
	e.mu.Unlock()
	e.signal()
}

// Probe sends a real token through the plan and returns when it has come back: nil, an error that wraps ErrStep, ErrClosed, or that
// of ctx. A step of some request that samples will do; if there is none, the token goes into the reserved block. Probes that come
// while one is on its way share the next.
func (e *Engine) Probe(ctx context.Context) error {
	done := make(chan error, 1)
	e.mu.Lock()
	if e.closed && e.accepted == 0 {
		e.mu.Unlock()
		return ErrClosed
	}
	e.probes = append(e.probes, done)
	e.mu.Unlock()
	e.signal()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		e.mu.Lock()
		if i := slices.Index(e.probes, done); i >= 0 {
			e.probes = slices.Delete(e.probes, i, i+1)
		}
		e.mu.Unlock()
		return ctx.Err()
	}
}

// Drain refuses new requests from now on and waits until the accepted ones have ended or ctx does. Run goes on; its owner ends it
// afterwards.
func (e *Engine) Drain(ctx context.Context) error {
	e.mu.Lock()
	e.closed = true
	if e.idle == nil {
		e.idle = make(chan struct{})
		if e.accepted == 0 {
			close(e.idle)
		}
	}
	idle := e.idle
	e.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// deliver hands news and endings to the handles. Whoever has read the end of a request finds it in the statistics.
func (e *Engine) deliver() {
	e.observe()
	s := e.scheduler
	for _, j := range s.started {
		j.handle.begin(j.cached)
	}
	for i := range s.news {
		s.news[i].job.handle.push(s.news[i].event)
	}
	for i := range s.endings {
		s.endings[i].job.handle.close(s.endings[i].err)
	}
	clear(s.started)
	clear(s.news)
	clear(s.endings)
	s.started, s.news, s.endings = s.started[:0], s.news[:0], s.endings[:0]
}

// stop ends everything that is left.
func (e *Engine) stop() {
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	e.collect()
	e.scheduler.failAll(ErrClosed)
	e.deliver()
	e.mu.Lock()
	probes := e.probes
	e.probes = nil
	e.mu.Unlock()
	for _, done := range probes {
		done <- ErrClosed
	}
}
