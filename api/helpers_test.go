package api

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"polynode/engine"
	"polynode/engine/sample"
	"polynode/tokenizer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testContext = 256
	eos         = int32(2)
)

// testTokenizer is a real one: 4,096 pieces with byte fallback.
var testTokenizer = sync.OnceValue(func() *tokenizer.SentencePiece {
	f, err := os.Open("../tokenizer/testdata/udhr-model.model.gz")
	if err != nil {
		panic(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		panic(err)
	}
	raw, err := io.ReadAll(z)
	if err != nil {
		panic(err)
	}
	t, err := tokenizer.Parse(raw)
	if err != nil {
		panic(err)
	}
	return t
})

func encode(text string) []int32 { return testTokenizer().Append(nil, text) }

// continuation returns the ids of text as it stands after other text.
func continuation(text string) []int32 {
	ids := encode("a\n" + text)
	return ids[len(encode("a\n")):]
}

// script is what the fake model says after a prompt.
type script struct{ prompt, output []int32 }

// fakeExecutor is a model that knows scripts by heart. It keeps tokens in blocks as a real one keeps keys and values, so that it
// sees what a model would see.
type fakeExecutor struct {
	mu      sync.Mutex
	kv      map[engine.BlockID]*[engine.BlockTokens]int32
	scripts []script
	gate    chan struct{} // if set, a step takes one value from it
	fail    func(step int) error
	steps   int
}

func (x *fakeExecutor) Execute(ctx context.Context, step *engine.Step, out *engine.Output) error {
	if x.gate != nil {
		select {
		case <-x.gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.steps++
	if x.fail != nil {
		if err := x.fail(x.steps); err != nil {
			return err
		}
	}
	for _, c := range step.Copies {
		*x.block(c.Target) = *x.block(c.Source)
	}
	out.Results = out.Results[:0]
	for i := range step.Chunks {
		out.Results = append(out.Results, x.chunk(&step.Chunks[i]))
	}
	return nil
}

func (x *fakeExecutor) block(id engine.BlockID) *[engine.BlockTokens]int32 {
	b := x.kv[id]
	if b == nil {
		b = new([engine.BlockTokens]int32)
		x.kv[id] = b
	}
	return b
}

func (x *fakeExecutor) chunk(c *engine.Chunk) engine.Result {
	for i, t := range c.Tokens {
		pos := c.Start + i
		x.block(c.Blocks[pos/engine.BlockTokens])[pos%engine.BlockTokens] = t
	}
	history := make([]int32, 0, c.Start+len(c.Tokens))
	for pos := range c.Start + len(c.Tokens) {
		history = append(history, x.block(c.Blocks[pos/engine.BlockTokens])[pos%engine.BlockTokens])
	}
	r := engine.Result{Token: -1}
	for i, target := range c.Targets {
		t := engine.Target{}
		if target >= 0 {
			t = engine.Target{Logprob: fakeLogprob(target), Rank: 2, Top: fakeTop(history[c.Start+i], c.Top)}
		}
		r.Targets = append(r.Targets, t)
	}
	if c.Sample {
		r.Token = x.next(history)
		for slices.Contains(c.Params.Banned, r.Token) {
			r.Token = 100
		}
		if c.Logprobs {
			r.Logprob = fakeLogprob(r.Token)
		}
		r.Top = fakeTop(r.Token, c.Top)
	}
	return r
}

// next is the scripted token after a history, or the end.
func (x *fakeExecutor) next(history []int32) int32 {
	best, found := -1, eos
	for _, s := range x.scripts {
		if len(s.prompt) <= best || len(history) < len(s.prompt) || !slices.Equal(history[:len(s.prompt)], s.prompt) {
			continue
		}
		best, found = len(s.prompt), eos
		if n := len(history) - len(s.prompt); n < len(s.output) {
			found = s.output[n]
		}
	}
	return found
}

func fakeLogprob(id int32) float32 { return -float32(id%64) / 16 }

func fakeTop(id int32, n int) []sample.Candidate {
	var top []sample.Candidate
	for i := range int32(n) {
		top = append(top, sample.Candidate{Token: (id + i) % 4096, Score: fakeLogprob(id) - float32(i)/8})
	}
	return top
}

// bench is a served fake model.
type bench struct {
	*testing.T
	server *Server
	engine *engine.Engine
	exec   *fakeExecutor
	url    string
	logs   *bytes.Buffer
}

// option changes a bench before it is built.
type option func(*Config, *fakeExecutor, *engine.Config)

func says(prompt string, output ...int32) option {
	return func(c *Config, x *fakeExecutor, _ *engine.Config) {
		x.scripts = append(x.scripts, script{encode(prompt), output})
	}
}

func gated(gate chan struct{}) option {
	return func(c *Config, x *fakeExecutor, _ *engine.Config) { x.gate = gate }
}

func limits(l Limits) option {
	return func(c *Config, x *fakeExecutor, _ *engine.Config) { c.Limits = l }
}

// lockedBuffer collects logs from several goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  *bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func newBench(t *testing.T, options ...option) *bench {
	t.Helper()
	x := &fakeExecutor{kv: map[engine.BlockID]*[engine.BlockTokens]int32{}}
	c := Config{
		Tokenizer: testTokenizer(),
		Model: Model{
			ID: "tiny", Created: time.Unix(1700000000, 0), Context: testContext, StopIDs: []int32{eos},
			Chat: ChatMarkers, Digest: "sha256:0123456789abcdef0123", Synthetic: true,
		},
	}
	ec := engine.Config{Blocks: 512, Positions: testContext, Vocabulary: testTokenizer().Size(), QueueMax: 64, SequencesMax: 16}
	for _, o := range options {
		o(&c, x, &ec)
	}
	logs := new(bytes.Buffer)
	log := slog.New(slog.NewJSONHandler(&lockedBuffer{b: logs}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	e, err := engine.New(ec, engine.OneAtATime(x.Execute), log)
	if err != nil {
		t.Fatal(err)
	}
	running, cancel := context.WithCancel(context.Background())
	var loop sync.WaitGroup
	loop.Go(func() { e.Run(running) })
	stopEngine := func() { cancel(); loop.Wait() }
	c.Engine, c.Logger = e, log
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewUnstartedServer(s)
	web.Config = NewHTTPServer("", s, log)
	web.Start()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		web.Close()
		stopEngine()
	})
	return &bench{T: t, server: s, engine: e, exec: x, url: web.URL, logs: logs}
}

// with returns the bench for a test within its test.
func (b bench) with(t *testing.T) *bench {
	b.T = t
	return &b
}

// reply is an answer that was read to its end.
type reply struct {
	status int
	header http.Header
	body   []byte
}

func (b *bench) do(method, path, body string, header ...string) reply {
	b.Helper()
	r, err := http.NewRequest(method, b.url+path, strings.NewReader(body))
	if err != nil {
		b.Fatal(err)
	}
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
		if header[i] == "Host" {
			r.Host = header[i+1]
		}
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	all, err := io.ReadAll(resp.Body)
	if err != nil {
		b.Fatalf("read answer: %v", err)
	}
	return reply{resp.StatusCode, resp.Header, all}
}

// js builds a body.
type js map[string]any

func (b *bench) post(path string, body js) reply {
	b.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		b.Fatal(err)
	}
	return b.do(http.MethodPost, path, string(raw))
}

// into decodes an answer that must have succeeded.
func into[T any](b *bench, r reply) (v T) {
	b.Helper()
	if r.status != http.StatusOK {
		b.Fatalf("status %d: %s", r.status, r.body)
	}
	if err := json.Unmarshal(r.body, &v); err != nil {
		b.Fatalf("%v in %s", err, r.body)
	}
	return v
}

// wrong decodes an error.
func wrong(t testing.TB, r reply) (e errorFields, param, code string) {
	t.Helper()
	var body errorBody
	if err := json.Unmarshal(r.body, &body); err != nil || body.Error.Message == "" || body.Error.Type == "" {
		t.Fatalf("status %d is not an error object: %s", r.status, r.body)
	}
	if body.Error.Param != nil {
		param = *body.Error.Param
	}
	if body.Error.Code != nil {
		code = *body.Error.Code
	}
	return body.Error, param, code
}

// parsed forms of the answers, as a client sees them.
type (
	seenCompletion struct {
		ID, Object, Model string
		Choices           []struct {
			Index        int
			Text         string
			Logprobs     *completionLogprobs
			FinishReason *string                    `json:"finish_reason"`
			StopReason   any                        `json:"stop_reason"`
			TokenIDs     []int32                    `json:"token_ids"`
			Prompt       []map[string]promptLogprob `json:"prompt_logprobs"`
		}
		Usage *usage
		Error *errorFields
	}
	seenChat struct {
		ID, Object, Model string
		Choices           []struct {
			Index   int
			Message struct {
				Role, Content string
			}
			Delta struct {
				Role    string
				Content *string
			}
			Logprobs     *chatLogprobs
			FinishReason *string `json:"finish_reason"`
		}
		Usage *usage
		Error *errorFields
	}
)

// same compares what does not depend on what ran before.
func (u usage) same(v usage) bool {
	return u.Prompt == v.Prompt && u.Completion == v.Completion && u.Total == v.Total
}

// stream parses server-sent events and checks their form. ended tells whether [DONE] was the last.
func stream[T any](t testing.TB, r reply) (chunks []T, ended bool) {
	t.Helper()
	if r.status != http.StatusOK || !strings.HasPrefix(r.header.Get("Content-Type"), "text/event-stream") {
		t.Fatalf("status %d, %q: %s", r.status, r.header.Get("Content-Type"), r.body)
	}
	lines := bufio.NewScanner(bytes.NewReader(r.body))
	lines.Buffer(nil, 1<<22)
	for lines.Scan() {
		line := lines.Text()
		data, ok := strings.CutPrefix(line, "data: ")
		switch {
		case line == "" || strings.HasPrefix(line, ":"):
			continue
		case !ok:
			t.Fatalf("line %q", line)
		case ended:
			t.Fatalf("after [DONE]: %q", line)
		case data == "[DONE]":
			ended = true
			continue
		}
		var v T
		if err := json.Unmarshal([]byte(data), &v); err != nil {
			t.Fatalf("%v in %q", err, data)
		}
		chunks = append(chunks, v)
	}
	return chunks, ended
}

// until waits for a condition that other goroutines bring about.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	late := time.After(10 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("waited 10 s for %s", what)
		}
	}
}

// idle waits until the engine holds nothing of any request.
func (b *bench) idle() {
	b.Helper()
	until(b, "the engine to be idle", func() bool {
		s := b.engine.Stats()
		return s.Running == 0 && s.Waiting == 0 && s.BlocksFree == s.BlocksTotal
	})
}

var errBroken = errors.New("a wire is broken")
