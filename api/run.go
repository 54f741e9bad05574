package api

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"polynode/engine"
	"polynode/engine/sample"
	"polynode/tokenizer"
)

// windowMax is how many prompts of one HTTP request are with the engine at a time, so that one client's long list leaves room
// for others.
const windowMax = 8

// prompt is one text to continue.
type prompt struct {
	tokens    []int32
	echo      string // the text an echo shows
	maxTokens int    // of output, within the context; 0 when only the prompt is of interest
}

// job is what one HTTP request asks for: its prompts in order, each with the same generation.
type job struct {
	id      string
	param   string // "prompt" or "messages": to blame for a prompt that is too long
	prompts []prompt
	generation
	formatStops []string
	logprobs    bool // show log-probabilities of the output's tokens
	top         int  // and this many alternatives
	echo        bool
}

// token is a token with what is known of it. Slices are never changed.
type token struct {
	id      int32
	prompt  bool // it is echoed, not sampled
	unknown bool // nothing is known but the id: the first token of a prompt
	logprob float32
	top     []sample.Candidate
	offset  int // characters of the choice's text before it
}

// delta is what one choice gained since the last delta.
type delta struct {
	choice int // of the whole job: prompt × n + choice
	prompt int
	first  bool
	text   string
	tokens []token // those that became part of text or could not be shown in it
	finish engine.FinishReason
	reason any // the stop string or stop id that ended it, or nil
}

// sink takes the news of a job. Both functions are called by one goroutine; an error ends the job.
type sink struct {
	delta func(*delta) error
	idle  func() error // nothing was sent for a while
}

// usage is OpenAI's count of tokens. A stop id that was sampled counts, as in vLLM; a prompt counts once, whatever n is.
type usage struct {
	Prompt     int `json:"prompt_tokens"`
	Completion int `json:"completion_tokens"`
	Total      int `json:"total_tokens"`
	Details    struct {
		Cached int `json:"cached_tokens"` // tokens of prompts whose keys and values were there already
	} `json:"prompt_tokens_details"`
}

// news is what a worker hands on: an event of a prompt, or the end of everything.
type news struct {
	prompt int
	handle *engine.Handle
	event  engine.Event
	err    error
}

// flight is a job while it runs. It belongs to the goroutine of run; workers see only job, next and news.
type flight struct {
	server  *Server
	job     *job
	next    atomic.Int64 // prompts handed to workers so far
	news    chan news
	choices []*choice
	targets [][]engine.Target // of each prompt, when asked for
	cached  []int             // tokens of each prompt that were computed before
	usage   usage
	live    int // choices that have not finished
	begun   time.Time
}

// choice is one sequence of the answer while it grows.
type choice struct {
	text     *text
	started  bool
	finished bool
	pending  []token // not yet part of a delta
	last     time.Time
}

// run submits a job, hands its deltas to the sink and returns when every choice has finished, the sink failed or the client
// went away. Nothing of the job runs after it returns. The usage is exact when the error is nil.
func (s *Server) run(ctx context.Context, j *job, out sink) (usage, [][]engine.Target, *Error) {
	f := &flight{
		server: s, job: j, news: make(chan news, 16), begun: s.now(),
		choices: make([]*choice, len(j.prompts)*j.request.Choices), targets: make([][]engine.Target, len(j.prompts)),
		cached: make([]int, len(j.prompts)),
	}
	f.live = len(f.choices)
	first, err := s.engine.Submit(f.request(0))
	if err != nil {
		return usage{}, nil, s.fromEngine(err, j.param)
	}
	f.next.Store(1)
	f.prepare()

	ctx, cancel := context.WithCancel(ctx)
	var workers sync.WaitGroup
	for i := range min(windowMax, len(j.prompts)) {
		var handle *engine.Handle
		if i == 0 {
			handle = first
		}
		workers.Go(func() { f.work(ctx, handle) })
	}
	err = f.loop(ctx, out)
	cancel()
	workers.Wait()
	if err != nil {
		return usage{}, nil, s.fromEngine(err, j.param)
	}
	for _, n := range f.cached {
		f.usage.Details.Cached += n
	}
	return f.usage, f.targets, nil
}

// prepare makes the choices and counts the prompts.
func (f *flight) prepare() {
	n := f.job.request.Choices
	for i := range f.choices {
		c := &choice{last: f.begun}
		c.text = newText(f.server.tokenizer, f.job.prompts[i/n].tokens, &f.job.generation, f.job.formatStops)
		f.choices[i] = c
	}
	for _, p := range f.job.prompts {
		f.usage.Prompt += len(p.tokens)
	}
	f.usage.Total = f.usage.Prompt
	f.server.metrics.promptTokens.Add(float64(f.usage.Prompt))
}

// request writes the engine's request for prompt i.
func (f *flight) request(i int) engine.Request {
	p := f.job.prompts[i]
	r := f.job.request
	r.ID = f.job.id
	if i > 0 {
		r.ID = f.job.id + "-" + itoa(i)
	}
	r.Prompt = p.tokens
	r.MaxTokens = p.maxTokens
	r.MinTokens = min(r.MinTokens, r.MaxTokens)
	r.StopIDs = slices.Clone(r.StopIDs)
	return r
}

// work serves prompts one after another until none is left. handle is that of prompt 0, for the first worker.
func (f *flight) work(ctx context.Context, handle *engine.Handle) {
	i := 0
	for {
		if handle == nil {
			if i = int(f.next.Add(1)) - 1; i >= len(f.job.prompts) {
				return
			}
			var err error
			if handle, err = f.submitLater(ctx, i); err != nil {
				f.tell(ctx, news{prompt: i, err: err})
				return
			}
		}
		if !f.follow(ctx, i, handle) {
			return
		}
		handle = nil
	}
}

// submitLater submits a prompt of a job that was accepted already, so a full queue makes it wait instead of fail.
func (f *flight) submitLater(ctx context.Context, i int) (*engine.Handle, error) {
	e := f.server.engine
	for {
		h, err := e.Submit(f.request(i))
		if !errors.Is(err, engine.ErrQueueFull) {
			return h, err
		}
		wait := time.NewTimer(min(max(e.RetryAfter(), 10*time.Millisecond), time.Second))
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return nil, ctx.Err()
		}
	}
}

// follow hands on a handle's events until its end. It returns false when there is nothing more to do for the job.
func (f *flight) follow(ctx context.Context, i int, h *engine.Handle) bool {
	defer h.Cancel() // does nothing after the end
	for {
		event, err := h.Next(ctx)
		n := news{prompt: i, handle: h, event: event, err: err}
		if !f.tell(ctx, n) {
			return false
		}
		if err != nil {
			return err == io.EOF
		}
	}
}

func (f *flight) tell(ctx context.Context, n news) bool {
	select {
	case f.news <- n:
		return true
	case <-ctx.Done():
		return false
	}
}

// loop takes news until every choice has finished or a deadline passes.
func (f *flight) loop(ctx context.Context, out sink) error {
	limits := &f.server.limits
	idle, first, total := time.NewTimer(limits.KeepAlive), time.NewTimer(limits.First), time.NewTimer(limits.Total)
	defer idle.Stop()
	defer first.Stop()
	defer total.Stop()
	for f.live > 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-first.C:
			return late(f.server.engine.RetryAfter(), "no token came within %v", limits.First)
		case <-total.C:
			return late(f.server.engine.RetryAfter(), "the answer was not complete within %v", limits.Total)
		case <-idle.C:
			if err := out.idle(); err != nil {
				return err
			}
			idle.Reset(f.server.limits.KeepAlive)
		case n := <-f.news:
			first.Stop()
			sent, err := f.take(n, out)
			if err != nil {
				return err
			}
			if sent {
				idle.Reset(f.server.limits.KeepAlive)
			}
		}
	}
	return nil
}

// errEarly says that the engine ended a request before all its choices.
var errEarly = errors.New("the engine ended the request early")

// take applies one piece of news. It tells whether something was sent.
func (f *flight) take(n news, out sink) (bool, error) {
	if n.err == io.EOF {
		return false, f.allFinished(n.prompt)
	}
	if n.err != nil {
		return false, n.err
	}
	if n.event.Prompt != nil {
		f.targets[n.prompt] = n.event.Prompt
		if n.event.Token < 0 && n.event.Finish == "" {
			return false, nil
		}
	}
	index := n.prompt*f.job.request.Choices + n.event.Choice
	if n.event.Choice < 0 || n.event.Choice >= f.job.request.Choices || f.choices[index].finished {
		return false, nil // a token that was on its way when the choice was finished from here
	}
	d := f.apply(index, n)
	if d == nil {
		return false, nil
	}
	return true, out.delta(d)
}

func (f *flight) allFinished(prompt int) error {
	n := f.job.request.Choices
	for _, c := range f.choices[prompt*n : (prompt+1)*n] {
		if !c.finished {
			return errEarly
		}
	}
	return nil
}

// apply adds an event to its choice and returns what to send, or nil.
func (f *flight) apply(index int, n news) *delta {
	c, j := f.choices[index], f.job
	d := &delta{choice: index, prompt: n.prompt, first: !c.started, finish: n.event.Finish}
	if d.first && j.echo {
		d.text = j.prompts[n.prompt].echo
		c.pending = f.echoTokens(n.prompt)
		c.text.runes = utf8.RuneCountInString(d.text)
	}
	if n.event.Token >= 0 {
		f.observe(c)
		f.addToken(c, d, n.event)
	}
	if d.finish != "" {
		d.text += c.text.end()
	}
	if stop, met := c.text.stopped(); met {
		d.finish, d.reason = engine.FinishStop, stop
		if c.text.stop.met >= c.text.own {
			d.reason = nil // the chat format's, of which the client knows nothing
		}
	}
	if d.finish != "" {
		c.finished = true
		f.live--
		f.cached[n.prompt] = n.handle.Usage().Cached
		if n.event.Finish == "" {
			n.handle.Finish(n.event.Choice)
		}
	}
	if d.text == "" && d.finish == "" && !(d.first && j.echo) {
		return nil
	}
	c.started = true
	d.tokens, c.pending = c.pending, nil
	return d
}

// addToken turns a sampled token into text and remembers it.
func (f *flight) addToken(c *choice, d *delta, e engine.Event) {
	f.usage.Completion++
	f.usage.Total++
	c.pending = append(c.pending, token{id: e.Token, logprob: e.Logprob, top: e.Top, offset: c.text.runes})
	if e.Finish == engine.FinishStop && slices.Contains(f.job.request.StopIDs, e.Token) {
		d.reason = stopReason(f.server.model.StopIDs, e.Token)
		if !f.job.includeStop {
			return
		}
	}
	d.text += c.text.write(e.Token)
}

// stopReason is nil for the model's own end and the id for one of the client's, as in vLLM.
func stopReason(own []int32, id int32) any {
	if slices.Contains(own, id) {
		return nil
	}
	return id
}

// observe measures the time since the choice's last token.
func (f *flight) observe(c *choice) {
	m, now := f.server.metrics, f.server.now()
	if c.last == f.begun {
		m.firstToken.Observe(now.Sub(f.begun).Seconds())
	} else {
		m.betweenTokens.Observe(now.Sub(c.last).Seconds())
	}
	m.outputTokens.Inc()
	c.last = now
}

// echoTokens lists a prompt's tokens with their log-probabilities and places in the echoed text.
func (f *flight) echoTokens(i int) []token {
	if !f.job.logprobs {
		return nil
	}
	return promptTokens(f.server.tokenizer, f.job.prompts[i], f.targets[i])
}

func promptTokens(t *tokenizer.SentencePiece, p prompt, targets []engine.Target) []token {
	stream := t.NewStream()
	tokens := make([]token, len(p.tokens))
	offset, last := 0, utf8.RuneCountInString(p.echo)
	for i, id := range p.tokens {
		tokens[i] = token{id: id, prompt: true, unknown: true, offset: min(offset, last)}
		if i > 0 && i < len(targets) {
			tokens[i].unknown = false
			tokens[i].logprob, tokens[i].top = targets[i].Logprob, targets[i].Top
		}
		offset += utf8.RuneCountInString(stream.Write(id))
	}
	return tokens
}
