package api

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// Every limit on a request lets its own size pass and refuses one more, by name.
func TestLimitsOfRequests(t *testing.T) {
	b := newBench(t, says("x", 100))
	long := func(n int) string { return strings.Repeat("u", n) }
	bias := func(n int) js {
		m := js{}
		for id := range n {
			m[fmt.Sprint(id)] = 1
		}
		return m
	}
	talk := func(parts ...any) js {
		return js{"max_tokens": 1, "messages": []js{{"role": "user", "content": parts}}}
	}
	for _, c := range []struct {
		limit, path string
		most        int
		body        func(n int) js
		param, code string
	}{
		{"biasMax", "/v1/completions", biasMax, func(n int) js { return js{"prompt": "x", "max_tokens": 1, "logit_bias": bias(n)} }, "logit_bias", "invalid_value"},
		{"stopsMax", "/v1/completions", stopsMax, func(n int) js {
			return js{"prompt": "x", "max_tokens": 1, "stop": slices.Repeat([]string{"s"}, n)}
		}, "stop", "array_above_max_length"},
		{"stopBytesMax", "/v1/completions", stopBytesMax, func(n int) js { return js{"prompt": "x", "max_tokens": 1, "stop": long(n)} }, "stop", "invalid_value"},
		{"nameBytesMax", "/v1/completions", nameBytesMax, func(n int) js { return js{"prompt": "x", "max_tokens": 1, "user": long(n)} }, "user", "invalid_value"},
		{"promptsMax", "/v1/completions", promptsMax, func(n int) js {
			return js{"max_tokens": 0, "prompt": slices.Repeat([]string{"x"}, n)}
		}, "prompt", "array_above_max_length"},
		{"partsMax", "/v1/chat/completions", partsMax, func(n int) js {
			parts := slices.Repeat([]any{js{"type": "text", "text": ""}}, n)
			parts[0] = js{"type": "text", "text": "x"}
			return talk(parts...)
		}, "messages[0].content", "array_above_max_length"},
		{"messagesMax", "/tokenize", messagesMax, func(n int) js {
			return js{"messages": slices.Repeat([]js{{"role": "user", "content": "x"}}, n)}
		}, "messages", "array_above_max_length"},
		{"tokenizeMax of a text", "/tokenize", tokenizeMax, func(n int) js { return js{"prompt": long(n)} }, "prompt", "invalid_value"},
		{"tokenizeMax of ids", "/detokenize", tokenizeMax, func(n int) js { return js{"tokens": slices.Repeat([]int{5}, n)} }, "tokens", "array_above_max_length"},
	} {
		if r := b.post(c.path, c.body(c.most)); r.status != http.StatusOK {
			t.Errorf("%s: %d are refused: %.300s", c.limit, c.most, r.body)
		}
		r := b.post(c.path, c.body(c.most+1))
		if _, param, code := wrong(t, r); r.status != http.StatusBadRequest || param != c.param || code != c.code {
			t.Errorf("%s: %d: status %d, param %q, code %q, want 400, %q, %q", c.limit, c.most+1, r.status, param, code, c.param, c.code)
		}
	}
	// A model's name has a limit and then is a model that is not there.
	for n, code := range map[int]string{idBytesMax: "model_not_found", idBytesMax + 1: "invalid_value"} {
		r := b.post("/v1/completions", js{"model": long(n), "prompt": "x"})
		if _, param, got := wrong(t, r); param != "model" || got != code {
			t.Errorf("a name of %d bytes: param %q, code %q, want %q", n, param, got, code)
		}
	}
	for n, same := range map[int]bool{requestIDMax: true, requestIDMax + 1: false} {
		if r := b.do(http.MethodGet, "/livez", "", "X-Request-Id", long(n)); (r.header.Get("X-Request-Id") == long(n)) != same {
			t.Errorf("a request id of %d bytes became %q", n, r.header.Get("X-Request-Id"))
		}
	}
	b.idle()
}

// More prompts than windowMax are not with the engine at the same time, so that one list leaves room in the queue.
func TestWindowOfPrompts(t *testing.T) {
	gate := make(chan struct{})
	b := newBench(t, endless("x"), gated(gate))
	ended := make(chan reply)
	go func() {
		ended <- b.post("/v1/completions", js{"prompt": slices.Repeat([]string{"x"}, 3*windowMax), "max_tokens": 2, "temperature": 0})
	}()
	inside := func() int { s := b.engine.Stats(); return int(s.Submitted - s.Finished) }
	until(t, "the window to be full", func() bool { return inside() >= windowMax }) // the first step waits at the gate
	for most := 0; ; {
		select {
		case gate <- struct{}{}:
			most = max(most, inside())
			continue
		case r := <-ended:
			if got := into[seenCompletion](b, r); len(got.Choices) != 3*windowMax || most != windowMax {
				t.Errorf("%d choices, at most %d of them at the same time, want %d", len(got.Choices), most, windowMax)
			}
		}
		return
	}
}

// A request that meets a deadline gets 503 with a time to come back, or, when its answer has begun, an error event and no
// [DONE]; either way the engine is rid of it.
func TestDeadlines(t *testing.T) {
	gate := make(chan struct{})
	b := newBench(t, endless("x"), gated(gate), limits(Limits{First: 5 * time.Millisecond}))
	r := b.post("/v1/completions", js{"prompt": "x", "max_tokens": 3})
	if r.status != http.StatusServiceUnavailable || !bytes.Contains(r.body, []byte("deadline_exceeded")) || r.header.Get("Retry-After") == "" {
		t.Errorf("no first token: %d %v %s", r.status, r.header, r.body)
	}
	close(gate)

	gate = make(chan struct{})
	b = newBench(t, endless("x"), gated(gate), limits(Limits{Total: 50 * time.Millisecond}))
	go func() { gate <- struct{}{}; gate <- struct{}{} }() // two steps, then none until the test ends
	r = b.post("/v1/completions", js{"prompt": "x", "max_tokens": 100, "stream": true, "ignore_eos": true})
	if !bytes.Contains(r.body, []byte("deadline_exceeded")) || bytes.Contains(r.body, []byte("[DONE]")) {
		t.Errorf("an answer that takes too long: %d %s", r.status, r.body)
	}
	close(gate)
}
