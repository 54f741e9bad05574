package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"polynode/engine"
)

// endless makes the fake model say one word for ever.
func endless(prompt string) option {
	return says(prompt, slices.Repeat(continuation(" wort"), testContext)...)
}

// pump lets steps through until the returned function is called.
func pump(gate chan struct{}) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case gate <- struct{}{}:
			case <-done:
				return
			}
		}
	}()
	return sync.OnceFunc(func() { close(done); <-ended })
}

// begin sends a request and returns its answer as soon as it has a header, or the error of a cancelled context.
func (b *bench) begin(ctx context.Context, path string, body js) (*http.Response, error) {
	raw, err := json.Marshal(body)
	if err != nil {
		b.Fatal(err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, b.url+path, bytes.NewReader(raw))
	if err != nil {
		b.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	return http.DefaultClient.Do(r)
}

func TestClientThatLeavesIsCancelled(t *testing.T) {
	for _, streamed := range []bool{true, false} {
		for _, many := range []bool{false, true} {
			t.Run(fmt.Sprintf("stream %v, many %v", streamed, many), func(t *testing.T) {
				gate := make(chan struct{})
				b := newBench(t, endless("x"), gated(gate))
				ctx, leave := context.WithCancel(context.Background())
				defer leave()
				body := js{"prompt": "x", "max_tokens": 200, "stream": streamed, "n": 2}
				if many {
					body["prompt"] = slices.Repeat([]string{"x"}, 20)
				}
				ended := make(chan error, 1)
				go func() {
					resp, err := b.begin(ctx, "/v1/completions", body)
					if err == nil {
						_, err = io.Copy(io.Discard, resp.Body)
						resp.Body.Close()
					}
					ended <- err
				}()
				for range 10 {
					gate <- struct{}{}
				}
				if b.engine.Stats().Running == 0 {
					t.Fatal("nothing is running")
				}
				leave()
				if err := <-ended; err == nil {
					t.Error("the request ended well")
				}
				defer pump(gate)() // steps under way may end
				b.idle()
				until(t, "the server to be free", func() bool { return len(b.server.slots) == 0 })
				if got := b.do(http.MethodGet, "/metrics", ""); !strings.Contains(string(got.body), `polynode_http_requests_total{code="`) {
					t.Errorf("metrics: %s", got.body)
				}
			})
		}
	}
}

func TestFullQueueIs429(t *testing.T) {
	gate := make(chan struct{})
	b := newBench(t, endless("x"), gated(gate), func(_ *Config, _ *fakeExecutor, c *engine.Config) { c.QueueMax, c.SequencesMax = 1, 2 })
	ctx, leave := context.WithCancel(context.Background())
	var clients sync.WaitGroup
	refused := make(chan reply, 1)
	for range 40 {
		clients.Go(func() {
			resp, err := b.begin(ctx, "/v1/completions", js{"prompt": "x", "max_tokens": 100})
			if err != nil {
				return
			}
			defer resp.Body.Close()
			body, _ := io.ReadAll(resp.Body)
			select {
			case refused <- reply{resp.StatusCode, resp.Header, body}:
			default:
			}
		})
	}
	r := <-refused
	if e, _, code := wrong(t, r); r.status != http.StatusTooManyRequests || code != "queue_full" || e.Type != "rate_limit_error" {
		t.Errorf("status %d: %s", r.status, r.body)
	}
	seconds, err1 := strconv.Atoi(r.header.Get("Retry-After"))
	ms, err2 := strconv.Atoi(r.header.Get("Retry-After-Ms"))
	if err1 != nil || err2 != nil || seconds < 1 || ms < 1 || ms > 1000*seconds {
		t.Errorf("Retry-After %q, Retry-After-Ms %q", r.header.Get("Retry-After"), r.header.Get("Retry-After-Ms"))
	}
	leave()
	clients.Wait()
	defer pump(gate)()
	b.idle()
}

func TestTooManyAtOnceIs429(t *testing.T) {
	gate := make(chan struct{})
	b := newBench(t, endless("x"), gated(gate), limits(Limits{Concurrent: 1}))
	ctx, leave := context.WithCancel(context.Background())
	defer leave()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if resp, err := b.begin(ctx, "/v1/completions", js{"prompt": "x"}); err == nil {
			resp.Body.Close()
		}
	}()
	gate <- struct{}{}
	if r := b.post("/tokenize", js{"prompt": "x"}); r.status != http.StatusTooManyRequests || r.header.Get("Retry-After") == "" {
		t.Errorf("status %d: %s", r.status, r.body)
	}
	leave()
	<-ended
	defer pump(gate)()
	b.idle()
}

func TestErrorInTheMiddle(t *testing.T) {
	broken := func(at int) option {
		return func(_ *Config, x *fakeExecutor, _ *engine.Config) {
			x.fail = func(step int) error {
				if step >= at {
					return errBroken
				}
				return nil
			}
		}
	}
	b := newBench(t, endless("x"), broken(6))
	r := b.post("/v1/chat/completions", js{"messages": hello(), "stream": true, "max_tokens": 1})
	if r.status != http.StatusOK {
		t.Fatalf("status %d", r.status)
	}
	r = b.post("/v1/completions", js{"prompt": "x", "stream": true, "max_tokens": 100})
	chunks, ended := stream[seenCompletion](t, r)
	if ended || len(chunks) < 2 {
		t.Fatalf("%d chunks, [DONE] %v: %s", len(chunks), ended, r.body)
	}
	for i, c := range chunks {
		last := i == len(chunks)-1
		if (c.Error != nil) != last {
			t.Errorf("chunk %d of %d: error %v", i, len(chunks), c.Error)
		}
		if !last && c.Choices[0].FinishReason != nil {
			t.Errorf("chunk %d has the finish reason %q", i, *c.Choices[0].FinishReason)
		}
	}
	if e := chunks[len(chunks)-1].Error; e == nil || e.Type != "server_error" || strings.Contains(e.Message, "wire") {
		t.Errorf("error %+v", e)
	}
	for _, streamed := range []bool{true, false} {
		r := b.post("/v1/completions", js{"prompt": "x", "stream": streamed})
		if e, _, _ := wrong(t, r); r.status != http.StatusInternalServerError || e.Type != "server_error" {
			t.Errorf("stream %v: status %d: %s", streamed, r.status, r.body)
		}
	}
	if r := b.do(http.MethodGet, "/readyz", ""); r.status != http.StatusOK { // a step succeeded a moment ago
		t.Errorf("readyz: %d: %s", r.status, r.body)
	}
	b.idle()
}

func TestSlowReaderIsGivenUp(t *testing.T) {
	b := newBench(t, endless("x"), limits(Limits{Write: 50 * time.Millisecond}))
	conn, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.(*net.TCPConn).SetReadBuffer(4096)
	// Padded events of 8 × 20 prompts are more than the socket's buffers hold, and nobody reads them.
	body, _ := json.Marshal(js{"prompt": slices.Repeat([]string{"x"}, promptsMax), "n": 8, "max_tokens": 200, "stream": true, "logprobs": 20, "temperature": 0})
	fmt.Fprintf(conn, "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	until(t, "the request to begin", func() bool { return b.engine.Stats().Steps > 0 })
	b.idle()
	until(t, "the server to be free", func() bool { return len(b.server.slots) == 0 })
	if n := b.server.metricValue("polynode_broken_streams_total"); n != 1 {
		t.Errorf("%v broken streams, want 1", n)
	}
}

func TestSilentStreamShowsSignsOfLife(t *testing.T) {
	gate := make(chan struct{})
	b := newBench(t, endless("x"), gated(gate), limits(Limits{KeepAlive: 2 * time.Millisecond}))
	resp, err := b.begin(context.Background(), "/v1/completions", js{"prompt": "x", "max_tokens": 3, "stream": true})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	buf := make([]byte, 1)
	if _, err := io.ReadFull(resp.Body, buf); err != nil || buf[0] != ':' {
		t.Fatalf("read %q, %v; want a comment while nothing runs", buf, err)
	}
	defer pump(gate)()
	rest, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	r := reply{resp.StatusCode, resp.Header, append(buf, rest...)}
	if chunks, ended := stream[seenCompletion](t, r); !ended || len(chunks) == 0 {
		t.Errorf("%s", r.body)
	}
}

func TestGuards(t *testing.T) {
	b := newBench(t, says("x", 100), func(c *Config, _ *fakeExecutor, _ *engine.Config) { c.APIKeys = []string{"key-one", "key-two"} })
	const body = `{"prompt":"x","max_tokens":1}`
	for _, c := range []struct {
		name, method, path, body string
		header                   []string
		status                   int
		code                     string
	}{
		{"no key", "POST", "/v1/completions", body, nil, 401, "invalid_api_key"},
		{"wrong key", "POST", "/v1/completions", body, []string{"Authorization", "Bearer key-three"}, 401, "invalid_api_key"},
		{"wrong scheme", "POST", "/v1/completions", body, []string{"Authorization", "Basic key-one"}, 401, "invalid_api_key"},
		{"empty key", "GET", "/v1/models", "", []string{"Authorization", "Bearer "}, 401, "invalid_api_key"},
		{"first key", "POST", "/v1/completions", body, []string{"Authorization", "Bearer key-one"}, 200, ""},
		{"second key", "POST", "/v1/completions", body, []string{"Authorization", "bearer key-two"}, 200, ""},
		{"status is private", "GET", "/cluster/v1/status", "", nil, 401, "invalid_api_key"},
		{"metrics are private", "GET", "/metrics", "", nil, 401, "invalid_api_key"},
		{"health is not", "GET", "/livez", "", nil, 200, ""},
		{"nor readiness", "GET", "/readyz", "", nil, 200, ""},
		{"GET of a POST", "GET", "/v1/completions", "", []string{"Authorization", "Bearer key-one"}, 405, "method_not_allowed"},
		{"POST of a GET", "POST", "/v1/models", "{}", []string{"Authorization", "Bearer key-one"}, 405, "method_not_allowed"},
		{"no such path", "POST", "/v1/embeddings", "{}", []string{"Authorization", "Bearer key-one"}, 404, "unknown_url"},
		{"no such model", "POST", "/v1/completions", `{"model":"gpt-4","prompt":"x"}`, []string{"Authorization", "Bearer key-one"}, 404, "model_not_found"},
		{"no such model to show", "GET", "/v1/models/gpt-4", "", []string{"Authorization", "Bearer key-one"}, 404, "model_not_found"},
		{"a form", "POST", "/v1/completions", body, []string{"Authorization", "Bearer key-one", "Content-Type", "text/plain"}, 415, "unsupported_media_type"},
		{"with charset", "POST", "/v1/completions", body, []string{"Authorization", "Bearer key-one", "Content-Type", "application/json; charset=utf-8"}, 200, ""},
		{"packed", "POST", "/v1/completions", body, []string{"Authorization", "Bearer key-one", "Content-Encoding", "gzip"}, 415, "unsupported_content_encoding"},
		{"another host's name, with a key", "GET", "/v1/models", "", []string{"Authorization", "Bearer key-one", "Host", "example.com"}, 200, ""},
	} {
		r := b.do(c.method, c.path, c.body, c.header...)
		code := ""
		if r.status != http.StatusOK {
			_, _, code = wrong(t, r)
		}
		if r.status != c.status || code != c.code {
			t.Errorf("%s: status %d code %q, want %d and %q: %s", c.name, r.status, code, c.status, c.code, r.body)
		}
		if r.header.Get("X-Request-Id") == "" || r.status == 405 && r.header.Get("Allow") == "" || r.status == 401 && r.header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: header %v", c.name, r.header)
		}
	}
}

func TestHostsWithoutKeys(t *testing.T) {
	b := newBench(t, func(c *Config, _ *fakeExecutor, _ *engine.Config) { c.Hosts = []string{"lab.example"} })
	for host, status := range map[string]int{
		"localhost": 200, "localhost:8080": 200, "127.0.0.1:80": 200, "[::1]:80": 200, "10.1.2.3": 200, "x.localhost": 200, "LAB.example:80": 200,
		"evil.example": 403, "evil.example:8080": 403, "127.0.0.1.evil.example": 403, "localhost.evil.example": 403,
	} {
		if r := b.do(http.MethodGet, "/v1/models", "", "Host", host); r.status != status {
			t.Errorf("%s: status %d, want %d", host, r.status, status)
		}
	}
}

func TestPagesElsewhere(t *testing.T) {
	b := newBench(t, says("x", 100), func(c *Config, _ *fakeExecutor, _ *engine.Config) {
		c.Origins, c.APIKeys = []string{"http://localhost:3000"}, []string{"k"}
	})
	ask := []string{"Origin", "http://localhost:3000", "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization,content-type"}
	r := b.do(http.MethodOptions, "/v1/completions", "", ask...)
	if r.status != http.StatusNoContent || r.header.Get("Access-Control-Allow-Origin") != ask[1] || r.header.Get("Access-Control-Allow-Headers") != ask[5] {
		t.Errorf("status %d, %v", r.status, r.header)
	}
	r = b.do(http.MethodPost, "/v1/completions", `{"prompt":"x","max_tokens":1}`, "Origin", ask[1], "Authorization", "Bearer k")
	if r.status != http.StatusOK || r.header.Get("Access-Control-Allow-Origin") != ask[1] {
		t.Errorf("status %d, %v", r.status, r.header)
	}
	ask[1] = "http://evil.example"
	r = b.do(http.MethodOptions, "/v1/completions", "", ask...)
	if r.status == http.StatusNoContent || r.header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("another origin: status %d, %v", r.status, r.header)
	}
}

func TestAnswerFitsTheMemory(t *testing.T) {
	b := newBench(t, endless(chatPrompt), func(_ *Config, _ *fakeExecutor, c *engine.Config) { c.Blocks = 9 })
	got := into[seenChat](b, b.post("/v1/chat/completions", js{"messages": hello(), "temperature": 0}))
	if n := got.Usage.Total; n > 8*engine.BlockTokens || n < 7*engine.BlockTokens || *got.Choices[0].FinishReason != "length" {
		t.Errorf("%d tokens by %q in %d blocks", n, *got.Choices[0].FinishReason, 8)
	}
	r := b.post("/v1/chat/completions", js{"messages": hello(), "max_tokens": 200})
	if _, _, code := wrong(t, r); r.status != http.StatusBadRequest || code != "kv_capacity_exceeded" {
		t.Errorf("status %d: %s", r.status, r.body)
	}
	b.idle()
}

func TestHeaderLimits(t *testing.T) {
	b := newBench(t)
	if r := b.do(http.MethodGet, "/livez", "", "X-Large", strings.Repeat("x", headerBytesMax+8192)); r.status != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a header of 72 kB: status %d", r.status)
	}
	if r := b.do(http.MethodGet, "/livez", "", "X-Request-Id", "my-id.1"); r.header.Get("X-Request-Id") != "my-id.1" {
		t.Errorf("request id %q", r.header.Get("X-Request-Id"))
	}
	for _, id := range []string{"a b", strings.Repeat("x", 65), "<script>"} {
		if r := b.do(http.MethodGet, "/livez", "", "X-Request-Id", id); r.header.Get("X-Request-Id") == id {
			t.Errorf("request id %q came back", id)
		}
	}
	s := NewHTTPServer("127.0.0.1:0", b.server, nil)
	if s.ReadHeaderTimeout <= 0 || s.IdleTimeout <= 0 || s.MaxHeaderBytes <= 0 || s.ReadTimeout != 0 || s.WriteTimeout != 0 {
		t.Errorf("%+v", s)
	}
}

func TestSlowBodyIsGivenUp(t *testing.T) {
	b := newBench(t, limits(Limits{Read: 30 * time.Millisecond}))
	conn, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
	answer, err := io.ReadAll(conn)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 408 ") {
		t.Errorf("%v: %s", err, answer)
	}
	// The deadline of the body must not end a request that came in time.
	gate := make(chan struct{})
	slow := newBench(t, endless("x"), gated(gate), limits(Limits{Read: 20 * time.Millisecond, KeepAlive: 5 * time.Millisecond}))
	resp, err := slow.begin(context.Background(), "/v1/completions", js{"prompt": "x", "max_tokens": 2, "stream": true})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	comments := make([]byte, 20*len(": still working\n\n")) // 100 ms of them
	if _, err := io.ReadFull(resp.Body, comments); err != nil {
		t.Fatal(err)
	}
	defer pump(gate)()
	rest, _ := io.ReadAll(resp.Body)
	if !strings.HasSuffix(string(rest), "data: [DONE]\n\n") {
		t.Errorf("%s", rest)
	}
}

func TestSmallRoutes(t *testing.T) {
	b := newBench(t, says("x", 100), func(c *Config, _ *fakeExecutor, _ *engine.Config) {
		c.Status = func() any { return js{"nodes": 1} }
		c.Page = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "page "+r.URL.Path) })
	})
	list := into[struct {
		Object string
		Data   []modelCard
	}](b, b.do(http.MethodGet, "/v1/models", ""))
	card := into[modelCard](b, b.do(http.MethodGet, "/v1/models/tiny", ""))
	if list.Object != "list" || len(list.Data) != 1 || list.Data[0] != card || card.ID != "tiny" || card.Object != "model" || !card.Synthetic || card.Context != testContext || card.OwnedBy == "" {
		t.Errorf("%+v, %+v", list, card)
	}

	text := "Alle Menschen 龘 <s>"
	tokens := into[tokenized](b, b.post("/tokenize", js{"prompt": text, "return_token_strs": true, "add_special_tokens": true, "model": "tiny"}))
	if tokens.Count != len(tokens.Tokens) || len(tokens.Strings) != tokens.Count || tokens.Context != testContext || !slices.Equal(tokens.Tokens, encode(text)) {
		t.Errorf("%+v", tokens)
	}
	back := into[struct{ Prompt string }](b, b.post("/detokenize", js{"tokens": tokens.Tokens}))
	if back.Prompt != text {
		t.Errorf("%q", back.Prompt)
	}
	talk := into[tokenized](b, b.post("/tokenize", js{"messages": hello()}))
	if !slices.Equal(talk.Tokens, encode(chatPrompt)) || talk.Strings != nil {
		t.Errorf("%+v", talk)
	}
	if none := into[tokenized](b, b.post("/tokenize", js{"prompt": ""})); none.Count != 0 || none.Tokens == nil {
		t.Errorf("%+v", none)
	}
	for path, body := range map[string]js{"/tokenize": {}, "/detokenize": {"tokens": []int{-1}}} {
		if r := b.post(path, body); r.status != http.StatusBadRequest {
			t.Errorf("%s: status %d", path, r.status)
		}
	}

	status := into[map[string]any](b, b.do(http.MethodGet, "/cluster/v1/status", ""))
	if status["cluster"].(map[string]any)["nodes"] != 1.0 || status["model"].(map[string]any)["id"] != "tiny" || status["engine"] == nil {
		t.Errorf("%v", status)
	}
	if r := b.do(http.MethodGet, "/some/file.js", ""); string(r.body) != "page /some/file.js" {
		t.Errorf("%s", r.body)
	}
	into[map[string]any](b, b.do(http.MethodGet, "/livez", ""))
}

func TestReadiness(t *testing.T) {
	gate := make(chan struct{})
	b := newBench(t, gated(gate), limits(Limits{Fresh: time.Hour, Probe: 20 * time.Millisecond}))
	r := b.do(http.MethodGet, "/readyz", "") // no step yet, and none goes through
	if got := (readiness{}); json.Unmarshal(r.body, &got) != nil || r.status != http.StatusServiceUnavailable || got.Ready || len(got.Reasons) == 0 || r.header.Get("Retry-After") == "" {
		t.Errorf("stuck: status %d: %s", r.status, r.body)
	}
	stop := pump(gate)
	defer stop()
	b.server.health.until = time.Time{}
	b.server.limits.Probe = 5 * time.Second
	got := into[readiness](b, b.do(http.MethodGet, "/readyz", ""))
	if !got.Ready || b.exec.steps == 0 {
		t.Errorf("after a probe: %+v, %d steps", got, b.exec.steps)
	}
	stop()
	if got := into[readiness](b, b.do(http.MethodGet, "/readyz", "")); !got.Ready { // the probe was a moment ago
		t.Errorf("%+v", got)
	}
	b.server.Drain()
	if r := b.do(http.MethodGet, "/readyz", ""); r.status != http.StatusServiceUnavailable {
		t.Errorf("draining: status %d", r.status)
	}
	r = b.post("/v1/completions", js{"prompt": "x"})
	if _, _, code := wrong(t, r); r.status != http.StatusServiceUnavailable || code != "unavailable" || r.header.Get("Retry-After") == "" {
		t.Errorf("draining: status %d: %s", r.status, r.body)
	}
	if r := b.do(http.MethodGet, "/livez", ""); r.status != http.StatusOK {
		t.Errorf("draining is alive: status %d", r.status)
	}
}

// metricValue sums a metric over its labels.
func (s *Server) metricValue(name string) (sum float64) {
	w := httptest.NewRecorder()
	s.metrics.handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, m := range regexp.MustCompile(`(?m)^`+name+`(?:\{.*\})? (\S+)$`).FindAllStringSubmatch(w.Body.String(), -1) {
		v, _ := strconv.ParseFloat(m[1], 64)
		sum += v
	}
	return sum
}

func TestMetricsAreExactAndBounded(t *testing.T) {
	b := newBench(t, says("x", 100, 101, 102))
	series := func() int { return strings.Count(string(b.do(http.MethodGet, "/metrics", "").body), "\n") }
	into[seenCompletion](b, b.post("/v1/completions", js{"prompt": "x", "max_tokens": 3, "n": 2}))
	b.idle()
	for name, want := range map[string]float64{
		"polynode_prompt_tokens_total": float64(len(encode("x"))), "polynode_output_tokens_total": 6, "polynode_model_info": 1,
		"polynode_time_to_first_token_seconds_count": 2, "polynode_inter_token_seconds_count": 4,
		"polynode_requests_waiting": 0, "polynode_kv_blocks_used": 0,
	} {
		if got := b.server.metricValue(name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	b.do(http.MethodGet, "/v1/models/none", "")
	b.do(http.MethodGet, "/v1/none", "")
	series() // its own route appears with the second look
	before := series()
	for i := range 50 {
		b.do(http.MethodGet, fmt.Sprintf("/v1/models/none%d", i), "")
		b.do(http.MethodGet, fmt.Sprintf("/v1/none%d", i), "")
	}
	if after := series(); after != before {
		t.Errorf("%d lines of metrics became %d", before, after)
	}
}

func TestMeterSteps(t *testing.T) {
	registry := prometheus.NewRegistry()
	x := &fakeExecutor{kv: map[engine.BlockID]*[engine.BlockTokens]int32{}, fail: func(int) error { return errBroken }}
	m, err := MeterSteps(engine.OneAtATime(x.Execute), registry)
	if err != nil {
		t.Fatal(err)
	}
	step := &engine.Step{Chunks: []engine.Chunk{{Tokens: []int32{1, 2, 3}, Blocks: []engine.BlockID{1}}}}
	m.Start(t.Context(), step, new(engine.Output))
	if err := m.Wait(t.Context()); err != errBroken {
		t.Errorf("%v, want the executor's own error", err)
	}
	families, err := registry.Gather()
	if err != nil || len(families) != 2 {
		t.Fatalf("%d families, %v", len(families), err)
	}
	for _, f := range families {
		if h := f.Metric[0].Histogram; h.GetSampleCount() != 1 || f.GetName() == "polynode_step_tokens" && h.GetSampleSum() != 3 {
			t.Errorf("%v", f)
		}
	}
	if _, err := MeterSteps(engine.OneAtATime(x.Execute), registry); err == nil {
		t.Error("the same registry took the same metrics twice")
	}
}

func TestLogsHoldNoText(t *testing.T) {
	b := newBench(t, says("my secret prompt", continuation(" geheim")...))
	b.post("/v1/completions", js{"prompt": "my secret prompt", "user": "my secret user"})
	b.post("/v1/completions", js{"prompt": "my secret prompt", "stream": true, "stop": "my secret stop"})
	b.post("/v1/completions", js{"prompt": "my secret prompt", "secret_field": 1})
	b.post("/v1/chat/completions", js{"messages": []js{{"role": "user", "content": "my secret prompt"}}})
	b.do(http.MethodGet, "/v1/models/secret?secret", "", "Authorization", "Bearer secret")
	b.idle()
	if b.logs.Len() == 0 {
		t.Error("nothing was logged")
	}
	if s := b.logs.String(); strings.Contains(s, "secret") || strings.Contains(s, "geheim") {
		t.Errorf("logs hold text: %s", s)
	}
}

func TestManyAtOnce(t *testing.T) {
	texts := []string{"one", "two words", "three"}
	outs := []string{" fish", " red fish", " blue"}
	var options []option
	for i := range texts {
		options = append(options, says(texts[i], continuation(outs[i])...))
	}
	b := newBench(t, options...)
	var clients sync.WaitGroup
	for i := range 24 {
		clients.Go(func() {
			for j := range 6 {
				k := (i + j) % 3
				body := js{"prompt": texts[k], "max_tokens": 30, "n": 1 + j%2}
				if j%3 == 0 {
					body["n"], body["stream"] = 1, true
					if got, _ := joinCompletion(t, b.post("/v1/completions", body)); got != outs[k] {
						t.Errorf("streamed %q, want %q", got, outs[k])
					}
					continue
				}
				r := b.post("/v1/completions", body)
				var got seenCompletion
				if err := json.Unmarshal(r.body, &got); err != nil || r.status != http.StatusOK {
					t.Errorf("status %d: %s", r.status, r.body)
					continue
				}
				for _, c := range got.Choices {
					if c.Text != outs[k] {
						t.Errorf("got %q, want %q", c.Text, outs[k])
					}
				}
			}
		})
	}
	clients.Wait()
	b.idle()
}
