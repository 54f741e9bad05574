package engine

import (
	"context"
	"errors"
	"fmt"
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
	output    Output        // likewise
	pace      pace          // likewise
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

// errRunning says that Run was called twice.
var errRunning = errors.New("engine runs already")

// Run schedules, executes and commits steps until ctx ends; then all requests that are left end with ErrClosed and Run returns
// nil. It can be called once.
func (e *Engine) Run(ctx context.Context) error {
	e.mu.Lock()
	again := e.running
	e.running = true
	e.mu.Unlock()
	if again {
		return errRunning
	}
	for ctx.Err() == nil {
		e.collect()
		e.scheduler.prompts = e.pace.tokens
		step := e.scheduler.schedule()
		probes := e.addProbe(step)
		e.deliver()
		if len(step.Chunks) == 0 {
			select {
			case <-e.wake:
			case <-ctx.Done():
			}
			continue
		}
		e.execute(ctx, step, probes)
	}
	e.stop()
	return nil
}

// collect brings what callers want to the scheduler.
func (e *Engine) collect() {
	e.mu.Lock()
	inbox, commands, epoch, blocks := e.inbox, e.commands, e.epoch, e.blocks
	e.inbox, e.commands = nil, nil
	e.mu.Unlock()
	s := e.scheduler
	for _, j := range inbox {
		s.submit(j)
	}
	for _, c := range commands {
		switch {
		case c.job.over:
		case c.choice == cancelAll:
			s.cancel(c.job)
		default:
			s.dropChoice(c.job, c.choice)
		}
	}
	if epoch != s.step.Epoch {
		e.logger.Info("epoch changed", "epoch", epoch, "replayed", len(s.running))
		s.step.Epoch = epoch
		s.forget()
		s.resize(blocks)
	}
}

// probeTokens is what a probe computes: any vocabulary has a token 0.
var (
	probeTokens = []int32{0}
	probeBlocks = []BlockID{0}
)

// addProbe returns those who wait for a probe, and sees to it that the step samples.
func (e *Engine) addProbe(step *Step) []chan error {
	e.mu.Lock()
	probes := e.probes
	e.probes = nil
	e.mu.Unlock()
	if len(probes) == 0 {
		return nil
	}
	for i := range step.Chunks {
		if step.Chunks[i].Sample {
			return probes
		}
	}
	step.Chunks = append(step.Chunks, Chunk{Tokens: probeTokens, Blocks: probeBlocks, Sample: true, Params: &greedy})
	return probes
}

// execute runs a step and commits what it gives.
func (e *Engine) execute(ctx context.Context, step *Step, probes []chan error) {
	tokens := 0
	for i := range step.Chunks {
		tokens += len(step.Chunks[i].Tokens)
	}
	if e.logger.Enabled(ctx, slog.LevelDebug) {
		e.logger.Debug("step", "step", step.ID, "chunks", len(step.Chunks), "tokens", tokens, "copies", len(step.Copies))
	}
	begun := time.Now()
	e.output.Results = e.output.Results[:0]
	err := e.executor.Execute(ctx, step, &e.output)
	if err == nil {
		err = complete(step, e.output.Results)
	}
	switch {
	case err == nil:
		e.scheduler.commit(e.output.Results)
	case ctx.Err() != nil:
		err = ErrClosed
	default:
		err = fmt.Errorf("%w %d: %w", ErrStep, step.ID, err)
		e.failed(step, err)
	}
	for _, done := range probes {
		done <- err
	}
	took := time.Since(begun)
	e.pace.note(tokens, took)
	e.measure(begun, took, tokens, err)
	e.deliver()
}

// complete checks that there is a result for each chunk, and a token for the engine's own probe.
func complete(step *Step, results []Result) error {
	last := len(step.Chunks) - 1
	if len(results) != last+1 {
		return fmt.Errorf("%d results of %d chunks", len(results), last+1)
	}
	if step.Chunks[last].Sequence == 0 && results[last].Token < 0 {
		return errors.New("the probe gave no token")
	}
	return nil
}

// failed ends the requests of a step that could not be run, unless it was for a plan that has been replaced.
func (e *Engine) failed(step *Step, err error) {
	e.mu.Lock()
	stale := e.epoch != step.Epoch
	e.mu.Unlock()
	if stale {
		e.logger.Warn("step of an old plan failed", "step", step.ID, "epoch", step.Epoch, "error", err)
		e.scheduler.forget() // all of it is computed again
		return
	}
	e.logger.Error("step failed", "step", step.ID, "epoch", step.Epoch, "chunks", len(step.Chunks), "error", err)
	e.scheduler.abort(err)
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
