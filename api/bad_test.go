package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// badField is a value that a field must refuse.
type badField struct {
	field, value string // JSON
	param, code  string
}

// shared are the fields of both routes.
var shared = []badField{
	{"model", `7`, "model", "invalid_type"},
	{"n", `0`, "n", "integer_below_min_value"},
	{"n", `9`, "n", "integer_above_max_value"},
	{"n", `1.5`, "n", "invalid_type"},
	{"n", `"1"`, "n", "invalid_type"},
	{"n", `99999999999999999999999`, "n", "integer_above_max_value"},
	{"best_of", `9`, "best_of", "integer_above_max_value"},
	{"best_of", `0`, "best_of", "integer_below_min_value"},
	{"temperature", `-0.1`, "temperature", "decimal_below_min_value"},
	{"temperature", `2.1`, "temperature", "decimal_above_max_value"},
	{"temperature", `1e400`, "temperature", "decimal_above_max_value"},
	{"temperature", `"hot"`, "temperature", "invalid_type"},
	{"top_p", `1.01`, "top_p", "decimal_above_max_value"},
	{"top_p", `-1`, "top_p", "decimal_below_min_value"},
	{"top_k", `-2`, "top_k", "integer_below_min_value"},
	{"top_k", `true`, "top_k", "invalid_type"},
	{"min_p", `2`, "min_p", "decimal_above_max_value"},
	{"repetition_penalty", `0`, "repetition_penalty", "decimal_below_min_value"},
	{"repetition_penalty", `11`, "repetition_penalty", "decimal_above_max_value"},
	{"presence_penalty", `-3`, "presence_penalty", "decimal_below_min_value"},
	{"frequency_penalty", `3`, "frequency_penalty", "decimal_above_max_value"},
	{"logit_bias", `[1]`, "logit_bias", "invalid_type"},
	{"logit_bias", `{"x":1}`, "logit_bias", "invalid_value"},
	{"logit_bias", `{"-1":1}`, "logit_bias", "invalid_value"},
	{"logit_bias", `{"4096":1}`, "logit_bias", "invalid_value"},
	{"logit_bias", `{"007":1}`, "logit_bias", "invalid_value"},
	{"logit_bias", `{"7":101}`, "logit_bias.7", "decimal_above_max_value"},
	{"logit_bias", `{"7":null}`, "logit_bias.7", "invalid_type"},
	{"seed", `1.5`, "seed", "invalid_type"},
	{"seed", `9223372036854775808`, "seed", "invalid_value"},
	{"seed", `1e19`, "seed", "invalid_value"},
	{"seed", `"x"`, "seed", "invalid_type"},
	{"stop", `7`, "stop", "invalid_type"},
	{"stop", `""`, "stop", "invalid_value"},
	{"stop", `["a",""]`, "stop[1]", "invalid_value"},
	{"stop", `["a",7]`, "stop[1]", "invalid_type"},
	{"stop", `["a","b","c","d","e"]`, "stop", "array_above_max_length"},
	{"stop", `"` + strings.Repeat("s", stopBytesMax+1) + `"`, "stop", "invalid_value"},
	{"stop_token_ids", `[4096]`, "stop_token_ids[0]", "invalid_value"},
	{"stop_token_ids", `["a"]`, "stop_token_ids[0]", "invalid_type"},
	{"stop_token_ids", `[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]`, "stop_token_ids", "array_above_max_length"},
	{"ignore_eos", `1`, "ignore_eos", "invalid_type"},
	{"include_stop_str_in_output", `"yes"`, "include_stop_str_in_output", "invalid_type"},
	{"skip_special_tokens", `0`, "skip_special_tokens", "invalid_type"},
	{"min_tokens", `-1`, "min_tokens", "integer_below_min_value"},
	{"max_tokens", `-1`, "max_tokens", "integer_below_min_value"},
	{"max_tokens", `"many"`, "max_tokens", "invalid_type"},
	{"stream", `"true"`, "stream", "invalid_type"},
	{"stream_options", `{"include_usage":true}`, "stream_options", "invalid_value"},
	{"stream_options", `true`, "stream_options", "invalid_type"},
	{"num_beams", `9`, "num_beams", "integer_above_max_value"},
	{"use_beam_search", `3`, "use_beam_search", "invalid_type"},
	{"early_stopping", `"never"`, "early_stopping", "invalid_type"},
	{"length_penalty", `17`, "length_penalty", "decimal_above_max_value"},
	{"prompt_logprobs", `21`, "prompt_logprobs", "integer_above_max_value"},
	{"user", `7`, "user", "invalid_type"},
	{"user", `"` + strings.Repeat("u", nameBytesMax+1) + `"`, "user", "invalid_value"},
	{"response_format", `{"type":"json_object"}`, "response_format", "unsupported_parameter"},
	{"guided_json", `{"type":"object"}`, "guided_json", "unsupported_parameter"},
	{"bad_words", `["x"]`, "bad_words", "unsupported_parameter"},
	{"truncate_prompt_tokens", `10`, "truncate_prompt_tokens", "unsupported_parameter"},
	{"temprature", `1`, "temprature", "unknown_parameter"},
	{"Temperature", `1`, "Temperature", "unknown_parameter"},
}

var completionOnly = []badField{
	{"prompt", `7`, "prompt", "invalid_type"},
	{"prompt", `{}`, "prompt", "invalid_type"},
	{"prompt", `null`, "prompt", "missing_required_parameter"},
	{"prompt", `""`, "prompt", "empty_prompt"},
	{"prompt", `[]`, "prompt", "empty_array"},
	{"prompt", `[[]]`, "prompt[0]", "empty_prompt"},
	{"prompt", `["a",""]`, "prompt[1]", "empty_prompt"},
	{"prompt", `["a",7]`, "prompt[1]", "invalid_type"},
	{"prompt", `[1,"a"]`, "prompt[1]", "invalid_type"},
	{"prompt", `[1,null]`, "prompt[1]", "invalid_type"},
	{"prompt", `[4096]`, "prompt[0]", "invalid_value"},
	{"prompt", `[-1]`, "prompt[0]", "invalid_value"},
	{"prompt", `[[1],[4096]]`, "prompt[1][0]", "invalid_value"},
	{"prompt", `[1.5]`, "prompt[0]", "invalid_type"},
	{"logprobs", `21`, "logprobs", "integer_above_max_value"},
	{"logprobs", `true`, "logprobs", "invalid_type"},
	{"echo", `1`, "echo", "invalid_type"},
	{"suffix", `"x"`, "suffix", "unsupported_parameter"},
	{"messages", `[{"role":"user","content":"a"}]`, "messages", "unsupported_parameter"},
	{"max_completion_tokens", `5`, "max_completion_tokens", "unsupported_parameter"},
}

var chatOnly = []badField{
	{"messages", `null`, "messages", "missing_required_parameter"},
	{"messages", `[]`, "messages", "missing_required_parameter"},
	{"messages", `"hi"`, "messages", "invalid_type"},
	{"messages", `[7]`, "messages[0]", "invalid_type"},
	{"messages", `[{"content":"a"}]`, "messages[0].role", "missing_required_parameter"},
	{"messages", `[{"role":"king","content":"a"}]`, "messages[0].role", "invalid_value"},
	{"messages", `[{"role":"tool","content":"a","tool_call_id":"x"}]`, "messages[0].role", "unsupported_parameter"},
	{"messages", `[{"role":"user"}]`, "messages[0].content", "missing_required_parameter"},
	{"messages", `[{"role":"user","content":7}]`, "messages[0].content", "invalid_type"},
	{"messages", `[{"role":"user","content":[7]}]`, "messages[0].content[0]", "invalid_type"},
	{"messages", `[{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}]`, "messages[0].content[0].type", "unsupported_parameter"},
	{"messages", `[{"role":"user","content":[{"type":"text"}]}]`, "messages[0].content[0].text", "invalid_type"},
	{"messages", `[{"role":"user","content":"a","colour":"red"}]`, "messages[0].colour", "unknown_parameter"},
	{"messages", `[{"role":"assistant","content":"a","tool_calls":[{"id":"x"}]}]`, "messages[0].tool_calls", "unsupported_parameter"},
	{"max_tokens", `0`, "max_tokens", "integer_below_min_value"},
	{"max_completion_tokens", `0`, "max_completion_tokens", "integer_below_min_value"},
	{"logprobs", `1`, "logprobs", "invalid_type"},
	{"top_logprobs", `2`, "top_logprobs", "invalid_value"},
	{"tools", `[{"type":"function","function":{"name":"f"}}]`, "tools", "unsupported_parameter"},
	{"tool_choice", `"required"`, "tool_choice", "unsupported_parameter"},
	{"functions", `[{"name":"f"}]`, "functions", "unsupported_parameter"},
	{"modalities", `["text","audio"]`, "modalities[1]", "unsupported_parameter"},
	{"audio", `{"voice":"x"}`, "audio", "unsupported_parameter"},
	{"continue_final_message", `true`, "continue_final_message", "invalid_value"},
	{"chat_template", `"{{x}}"`, "chat_template", "unsupported_parameter"},
	{"echo", `true`, "echo", "unsupported_parameter"},
	{"prompt", `"x"`, "prompt", "unsupported_parameter"},
}

func TestBadFields(t *testing.T) {
	b := newBench(t)
	check := func(path, base string, f badField) {
		t.Helper()
		var members map[string]json.RawMessage
		if err := json.Unmarshal([]byte(base), &members); err != nil {
			t.Fatal(err)
		}
		members[f.field] = json.RawMessage(f.value)
		body := "{"
		for k, v := range members {
			body += fmt.Sprintf("%q:%s,", k, v)
		}
		r := b.do(http.MethodPost, path, strings.TrimSuffix(body, ",")+"}")
		if r.status != http.StatusBadRequest {
			t.Errorf("%s %s=%.40s: status %d, want 400: %s", path, f.field, f.value, r.status, r.body)
			return
		}
		e, param, code := wrong(t, r)
		if param != f.param || code != f.code || e.Type != "invalid_request_error" {
			t.Errorf("%s %s=%.40s: param %q code %q (%s), want %q and %q", path, f.field, f.value, param, code, e.Message, f.param, f.code)
		}
	}
	const completion, chat = `{"prompt":"a"}`, `{"messages":[{"role":"user","content":"a"}]}`
	for _, f := range shared {
		check("/v1/completions", completion, f)
		check("/v1/chat/completions", chat, f)
	}
	for _, f := range completionOnly {
		check("/v1/completions", completion, f)
	}
	for _, f := range chatOnly {
		check("/v1/chat/completions", chat, f)
	}
	for _, f := range []badField{
		{"best_of", `1`, "best_of", "invalid_value"},
		{"num_beams", `2`, "num_beams", "invalid_value"},
	} {
		check("/v1/completions", `{"prompt":"a","n":3}`, f)
	}
	check("/v1/completions", `{"prompt":"a","n":1,"stream":true}`, badField{"best_of", `2`, "best_of", "invalid_value"})
	check("/v1/completions", `{"prompt":"a","stream":true}`, badField{"prompt_logprobs", `2`, "prompt_logprobs", "invalid_value"})
	check("/v1/completions", `{"prompt":"a","stream":true}`, badField{"stream_options", `{"include_all":true}`, "stream_options.include_all", "unknown_parameter"})
	check("/v1/completions", `{"prompt":"a","num_beams":4}`, badField{"temperature", `0.5`, "temperature", "invalid_value"})
	check("/v1/completions", `{"prompt":"a","repetition_penalty":1.1}`, badField{"num_beams", `4`, "num_beams", "invalid_value"})
	check("/v1/completions", `{"prompt":"a","num_beams":4}`, badField{"use_beam_search", `false`, "use_beam_search", "invalid_value"})
	check("/v1/completions", `{"prompt":"a","max_tokens":3}`, badField{"min_tokens", `4`, "min_tokens", "invalid_value"})
	if b.exec.steps != 0 {
		t.Errorf("%d steps ran for requests that were refused", b.exec.steps)
	}
}

func TestBadBodies(t *testing.T) {
	b := newBench(t, limits(Limits{Body: 4096}))
	for _, c := range []struct {
		name, body string
		status     int
		code       string
	}{
		{"empty", "", 400, "invalid_json"},
		{"not JSON", "prompt=a", 400, "invalid_json"},
		{"cut off", `{"prompt":"a"`, 400, "invalid_json"},
		{"garbage after", `{"prompt":"a"} {}`, 400, "invalid_json"},
		{"an array", `[{"prompt":"a"}]`, 400, "invalid_json"},
		{"null", `null`, 400, "invalid_json"},
		{"a name twice", `{"prompt":"a","n":1,"n":2}`, 400, "invalid_json"},
		{"a name twice, escaped", `{"prompt":"a","n":1,"\u006e":2}`, 400, "invalid_json"},
		{"a name twice, inside", `{"prompt":"a","logit_bias":{"5":1,"5":2}}`, 400, "invalid_json"},
		{"too deep", `{"prompt":` + strings.Repeat("[", depthMax) + strings.Repeat("]", depthMax) + `}`, 400, "invalid_json"},
		{"not UTF-8", "{\"prompt\":\"a\xff\"}", 400, "invalid_json"},
		{"NaN", `{"prompt":"a","temperature":NaN}`, 400, "invalid_json"},
		{"too large", `{"prompt":"` + strings.Repeat("a", 4096) + `"}`, 413, "request_too_large"},
	} {
		for _, path := range []string{"/v1/completions", "/v1/chat/completions", "/tokenize", "/detokenize"} {
			r := b.do(http.MethodPost, path, c.body)
			if _, _, code := wrong(t, r); r.status != c.status || code != c.code {
				t.Errorf("%s, %s: status %d code %q, want %d and %q", path, c.name, r.status, code, c.status, c.code)
			}
		}
	}
	// A body without a length is cut off at the limit, too.
	req, _ := http.NewRequest(http.MethodPost, b.url+"/tokenize", struct{ *strings.Reader }{strings.NewReader(`{"prompt":"` + strings.Repeat("a", 9000) + `"}`)})
	req.Header.Set("Content-Type", "application/json")
	req.ContentLength = -1
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("a chunked body over the limit: status %d", resp.StatusCode)
	}
}

func TestContextLimit(t *testing.T) {
	b := newBench(t, says("x", 100, 101, 102))
	long := func(n int) []int32 {
		ids := make([]int32, n)
		for i := range ids {
			ids[i] = 300
		}
		return ids
	}
	for _, c := range []struct {
		prompt, max, status, tokens int
	}{
		{testContext, 1, 400, 0}, {testContext + 1, 0, 400, 0}, {testContext, 0, 200, 0}, {testContext - 1, 500, 200, 1}, {testContext - 3, 500, 200, 3},
	} {
		r := b.post("/v1/completions", js{"prompt": long(c.prompt), "max_tokens": c.max, "ignore_eos": true})
		if r.status != c.status {
			t.Errorf("%d and %d tokens: status %d, want %d: %s", c.prompt, c.max, r.status, c.status, r.body)
			continue
		}
		if c.status == http.StatusOK {
			got := into[seenCompletion](b, r)
			if got.Usage.Completion != c.tokens || *got.Choices[0].FinishReason != "length" {
				t.Errorf("%d and %d tokens: %+v by %q, want %d by length", c.prompt, c.max, got.Usage, *got.Choices[0].FinishReason, c.tokens)
			}
			continue
		}
		e, param, code := wrong(t, r)
		want := fmt.Sprintf("maximum context length is %d tokens. However, you requested %d tokens (%d in the prompt", testContext, c.prompt+max(1, c.max), c.prompt)
		if code != "context_length_exceeded" || param != "prompt" || !strings.Contains(e.Message, want) {
			t.Errorf("code %q, param %q, %q lacks %q", code, param, e.Message, want)
		}
	}
	r := b.post("/v1/chat/completions", js{"messages": []js{{"role": "user", "content": strings.Repeat("wort ", 400)}}})
	if e, param, code := wrong(t, r); code != "context_length_exceeded" || param != "messages" || !strings.Contains(e.Message, "in the messages") {
		t.Errorf("code %q, param %q: %s", code, param, e.Message)
	}
	huge := b.post("/v1/completions", js{"prompt": strings.Repeat("a", 1<<20)})
	if _, _, code := wrong(t, huge); code != "context_length_exceeded" {
		t.Errorf("a text of a megabyte: code %q", code)
	}
}

// FuzzRequest feeds both decoders any body: no panic, an error of the client's kind, or a request within all limits.
func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"model":"tiny","prompt":"a","n":2,"stop":["x"],"logit_bias":{"5":-1},"stream":true,"stream_options":{"include_usage":true}}`))
	f.Add([]byte(`{"messages":[{"role":"system","content":"s"},{"role":"user","content":[{"type":"text","text":"a"}]}],"max_completion_tokens":5}`))
	f.Add([]byte(`{"prompt":[[1,2],[3]],"num_beams":4,"early_stopping":true,"length_penalty":0.5}`))
	f.Add([]byte(`{"prompt":[5,6],"seed":-1,"best_of":3,"temperature":1e-3,"top_p":0}`))
	f.Add([]byte(`{"a":{"b":[{"c":"\ud800"}]},"a":1}`))
	s := &Server{
		tokenizer: testTokenizer(), limits: Limits{}.withDefaults(), textMax: 4096, positions: 4096,
		model: Model{ID: "tiny", Context: testContext, StopIDs: []int32{eos}, Chat: ChatMultialpaca},
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, read := range []func(http.ResponseWriter, *http.Request) (*job, *Error){s.readCompletion, s.readChat} {
			r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
			r.Header.Set("Content-Type", "application/json")
			j, err := read(httptest.NewRecorder(), r)
			if err != nil {
				if err.Status < 400 || err.Status > 499 || err.Message == "" {
					t.Fatalf("%+v", err)
				}
				if _, marshal := json.Marshal(err.body()); marshal != nil {
					t.Fatal(marshal)
				}
				continue
			}
			checkJob(t, j)
		}
	})
}

func checkJob(t *testing.T, j *job) {
	r := j.request
	if len(j.prompts) == 0 || len(j.prompts) > promptsMax || r.Choices < 1 || r.Choices > 8 || r.BestOf < r.Choices || r.BestOf > 8 {
		t.Fatalf("%d prompts, %+v", len(j.prompts), r)
	}
	if r.Beams > 1 && (r.Beams < r.Choices || r.Params.Temperature != 0) || r.Beams > 8 || r.Top > 20 || len(r.StopIDs) > 16 || len(j.stops) > stopsMax {
		t.Fatalf("%+v, stops %q", r, j.stops)
	}
	for _, p := range j.prompts {
		if n := len(p.tokens); n == 0 || n+p.maxTokens > testContext || p.maxTokens < 0 {
			t.Fatalf("a prompt of %d tokens and %d to come", n, p.maxTokens)
		}
	}
	p := r.Params
	for _, v := range []float32{p.Temperature, p.TopP, p.MinP, p.RepetitionPenalty, p.PresencePenalty, p.FrequencyPenalty} {
		if v != v || v < -2 || v > 10 {
			t.Fatalf("%+v", p)
		}
	}
}
