package api

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"polynode/engine"
)

const germanPrompt = "Alle Menschen sind frei und"

func TestCompletion(t *testing.T) {
	out := continuation(" gleich an Würde und Rechten geboren.")
	b := newBench(t, says(germanPrompt, out...))
	prompt := len(encode(germanPrompt))
	for _, c := range []struct {
		name   string
		body   js
		text   string
		finish string
		tokens int
	}{
		{"to its end", js{"max_tokens": 100}, " gleich an Würde und Rechten geboren.", "stop", len(out) + 1},
		{"end not counted out", js{"max_tokens": len(out)}, " gleich an Würde und Rechten geboren.", "length", len(out)},
		{"default of 16 or less", js{}, testTokenizer().Decode(append(encode("a"), out[:min(16, len(out))]...))[1:], "length", 16},
		{"stop string", js{"stop": " und"}, " gleich an Würde", "stop", -1},
		{"stop string within a word", js{"stop": []string{"ürd", "zzz"}}, " gleich an W", "stop", -1},
		{"stop string kept", js{"stop": "ürd", "include_stop_str_in_output": true}, " gleich an Würd", "stop", -1},
		{"stop id", js{"stop_token_ids": []int32{out[3]}, "max_tokens": 50}, "", "stop", 4},
		{"max_tokens 0", js{"max_tokens": 0}, "", "length", 0},
		{"echo", js{"echo": true, "max_tokens": 0}, germanPrompt, "length", 0},
		{"echo and more", js{"echo": true, "max_tokens": 100}, germanPrompt + " gleich an Würde und Rechten geboren.", "stop", len(out) + 1},
		{"end shown", js{"max_tokens": 100, "skip_special_tokens": false, "include_stop_str_in_output": true},
			" gleich an Würde und Rechten geboren.</s>", "stop", len(out) + 1},
		{"min_tokens lets a stop pass", js{"max_tokens": 100, "stop": " gleich", "min_tokens": 4}, " gleich an Würde und Rechten geboren.", "stop", -1},
		{"other harmless fields", js{"max_tokens": 2, "user": "u", "seed": 7, "metadata": js{"a": "b"}, "suffix": nil, "store": true, "add_special_tokens": false,
			"service_tier": "auto", "safety_identifier": "s", "prompt_cache_key": "k", "verbosity": "low"},
			testTokenizer().Decode(append(encode("a"), out[:2]...))[1:], "length", 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := b.with(t)
			if c.name == "default of 16 or less" && len(out) < 16 {
				c.finish, c.tokens = "stop", len(out)+1
			}
			if c.name == "stop id" {
				c.text = testTokenizer().Decode(append(encode("a"), out[:3]...))[1:]
			}
			body := js{"model": "tiny", "prompt": germanPrompt}
			for k, v := range c.body {
				body[k] = v
			}
			got := into[seenCompletion](b, b.post("/v1/completions", body))
			if len(got.Choices) != 1 || got.Choices[0].Text != c.text || *got.Choices[0].FinishReason != c.finish {
				t.Fatalf("got %+v, want %q ending by %q", got.Choices, c.text, c.finish)
			}
			u := got.Usage
			if u.Prompt != prompt || u.Total != u.Prompt+u.Completion || c.tokens >= 0 && u.Completion != c.tokens {
				t.Errorf("usage %+v, want %d and %d", u, prompt, c.tokens)
			}
			if got.Object != "text_completion" || !strings.HasPrefix(got.ID, "cmpl-") || got.Model != "tiny" {
				t.Errorf("head %+v", got)
			}

			body["stream"], body["stream_options"] = true, js{"include_usage": true}
			joined, usage := joinCompletion(t, b.post("/v1/completions", body))
			if joined != c.text || !usage.same(*u) {
				t.Errorf("streamed %q with %+v, want %q with %+v", joined, usage, c.text, *u)
			}
		})
	}
	b.idle()
}

// joinCompletion puts a stream of one choice together and checks its form.
func joinCompletion(t testing.TB, r reply) (string, usage) {
	t.Helper()
	chunks, ended := stream[seenCompletion](t, r)
	if !ended {
		t.Fatalf("no [DONE]: %s", r.body)
	}
	text, finished := "", false
	for i, c := range chunks {
		if len(c.Choices) == 0 {
			if i != len(chunks)-1 || c.Usage == nil {
				t.Fatalf("chunk %d of %d has no choice: %s", i, len(chunks), r.body)
			}
			return text, *c.Usage
		}
		if finished {
			t.Fatalf("a chunk after the finish reason: %s", r.body)
		}
		text += c.Choices[0].Text
		finished = c.Choices[0].FinishReason != nil
	}
	if !finished {
		t.Fatalf("no finish reason: %s", r.body)
	}
	return text, usage{}
}

func TestCompletionOfManyPrompts(t *testing.T) {
	texts := []string{"one", "two words", "three"}
	outs := []string{" fish", " red fish", " blue"}
	var options []option
	for i := range texts {
		options = append(options, says(texts[i], continuation(outs[i])...))
	}
	b := newBench(t, options...)
	check := func(prompt any, n int) {
		t.Helper()
		got := into[seenCompletion](b, b.post("/v1/completions", js{"prompt": prompt, "n": n, "temperature": 0, "max_tokens": 30}))
		if len(got.Choices) != n*len(texts) {
			t.Fatalf("%d choices, want %d", len(got.Choices), n*len(texts))
		}
		for i, c := range got.Choices {
			if c.Index != i || c.Text != outs[i/n] {
				t.Errorf("choice %d: %q, want %q", i, c.Text, outs[i/n])
			}
		}
	}
	check(texts, 1)
	check(texts, 3)
	check([][]int32{encode(texts[0]), encode(texts[1]), encode(texts[2])}, 2)
	check([]any{texts[0], encode(texts[1]), texts[2]}, 1)

	var many, want []string
	for i := range 40 { // many more than the window
		many, want = append(many, texts[i%3]), append(want, outs[i%3])
	}
	got := into[seenCompletion](b, b.post("/v1/completions", js{"prompt": many, "max_tokens": 30}))
	for i, c := range got.Choices {
		if c.Text != want[i] {
			t.Errorf("choice %d: %q, want %q", i, c.Text, want[i])
		}
	}
	one := into[seenCompletion](b, b.post("/v1/completions", js{"prompt": encode(texts[1]), "echo": true}))
	if one.Choices[0].Text != "two words red fish" {
		t.Errorf("echo of tokens: %q", one.Choices[0].Text)
	}
	b.idle()
}

func TestCompletionLogprobs(t *testing.T) {
	out := continuation(" Würde 龘!")
	b := newBench(t, says(germanPrompt, out...))
	prompt := encode(germanPrompt)
	got := into[seenCompletion](b, b.post("/v1/completions", js{"prompt": germanPrompt, "echo": true, "logprobs": 3, "max_tokens": 100, "return_token_ids": true}))
	c := got.Choices[0]
	all := append(append(slices.Clone(prompt), out...), eos)
	l := c.Logprobs
	if len(l.Tokens) != len(all) || len(l.TokenLogprobs) != len(all) || len(l.TopLogprobs) != len(all) || len(l.TextOffset) != len(all) {
		t.Fatalf("columns of %d, %d, %d and %d entries, want %d", len(l.Tokens), len(l.TokenLogprobs), len(l.TopLogprobs), len(l.TextOffset), len(all))
	}
	if !slices.Equal(c.TokenIDs, append(slices.Clone(out), eos)) {
		t.Errorf("token ids %v, want %v", c.TokenIDs, out)
	}
	if l.TokenLogprobs[0] != nil || l.TopLogprobs[0] != nil {
		t.Errorf("something is known of the first token")
	}
	runes, partial := []rune(c.Text), 0
	for i, id := range all {
		if i > 0 && *l.TokenLogprobs[i] != fakeLogprob(id) {
			t.Errorf("token %d: log-probability %v, want %v", i, *l.TokenLogprobs[i], fakeLogprob(id))
		}
		if i > 0 && len(l.TopLogprobs[i]) < 3 {
			t.Errorf("token %d: alternatives %v", i, l.TopLogprobs[i])
		}
		if strings.HasPrefix(l.Tokens[i], "bytes:\\x") {
			partial++
			continue
		}
		if i > 0 && id != eos && !strings.HasPrefix(string(runes[l.TextOffset[i]:]), l.Tokens[i]) {
			t.Errorf("token %d %q is not at %d of %q", i, l.Tokens[i], l.TextOffset[i], c.Text)
		}
	}
	if partial != 3 {
		t.Errorf("%d byte tokens, want the 3 of 龘", partial)
	}
	if l.Tokens[len(all)-1] != "</s>" {
		t.Errorf("the last token is %q", l.Tokens[len(all)-1])
	}

	chunks, _ := stream[seenCompletion](t, b.post("/v1/completions", js{"prompt": germanPrompt, "echo": true, "logprobs": 3, "max_tokens": 100, "stream": true}))
	var joined completionLogprobs
	for _, c := range chunks {
		l := c.Choices[0].Logprobs
		joined.Tokens = append(joined.Tokens, l.Tokens...)
		joined.TextOffset = append(joined.TextOffset, l.TextOffset...)
	}
	if !slices.Equal(joined.Tokens, l.Tokens) || !slices.Equal(joined.TextOffset, l.TextOffset) {
		t.Errorf("streamed tokens %q at %v, want %q at %v", joined.Tokens, joined.TextOffset, l.Tokens, l.TextOffset)
	}

	named := into[seenCompletion](b, b.post("/v1/completions", js{"prompt": germanPrompt, "logprobs": 0, "max_tokens": 1, "return_tokens_as_token_ids": true}))
	if got, want := named.Choices[0].Logprobs.Tokens[0], "token_id:"+itoa(int(out[0])); got != want {
		t.Errorf("token %q, want %q", got, want)
	}
}

func TestPromptLogprobs(t *testing.T) {
	b := newBench(t, says(germanPrompt, 100))
	prompt := encode(germanPrompt)
	got := into[seenCompletion](b, b.post("/v1/completions", js{"prompt": germanPrompt, "prompt_logprobs": 2, "max_tokens": 1}))
	all := got.Choices[0].Prompt
	if len(all) != len(prompt) || all[0] != nil {
		t.Fatalf("%d entries, the first %v", len(all), all[0])
	}
	for i := 1; i < len(prompt); i++ {
		own, ok := all[i][itoa(int(prompt[i]))]
		if !ok || own.Rank != 2 || own.Logprob != fakeLogprob(prompt[i]) || len(all[i]) < 2 {
			t.Errorf("token %d: %v", i, all[i])
		}
	}
}

func TestCachedTokensAreReported(t *testing.T) {
	prompt := slices.Repeat([]int32{300}, 4*engine.BlockTokens+3)
	b := newBench(t)
	for _, want := range []int{0, 4 * engine.BlockTokens} {
		got := into[seenCompletion](b, b.post("/v1/completions", js{"prompt": prompt, "max_tokens": 1}))
		if got.Usage.Details.Cached != want {
			t.Errorf("usage %+v, want %d cached", got.Usage, want)
		}
	}
}

func TestBestOfAndBeams(t *testing.T) {
	b := newBench(t, says("x", 100, 101, 102, 103))
	for _, c := range []struct {
		name    string
		body    js
		choices int
	}{
		{"best_of", js{"best_of": 4, "n": 2}, 2},
		{"beams", js{"num_beams": 4, "n": 2, "early_stopping": true, "length_penalty": 0.8}, 2},
		{"beams, vLLM's way", js{"use_beam_search": true, "best_of": 3, "n": 1, "temperature": 0}, 1},
		{"beams with log-probabilities", js{"num_beams": 3, "logprobs": 2}, 1},
		{"beams to a stop string", js{"num_beams": 2, "n": 2, "stop": testTokenizer().Decode([]int32{5, 102})[1:]}, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := b.with(t)
			body := js{"prompt": "x", "max_tokens": 4}
			for k, v := range c.body {
				body[k] = v
			}
			got := into[seenCompletion](b, b.post("/v1/completions", body))
			if len(got.Choices) != c.choices {
				t.Fatalf("%d choices, want %d", len(got.Choices), c.choices)
			}
			for i, choice := range got.Choices {
				if choice.Index != i || choice.FinishReason == nil || choice.Text == "" {
					t.Errorf("choice %d: %+v", i, choice)
				}
				if l := choice.Logprobs; l != nil && len(l.Tokens) != got.Usage.Completion {
					t.Errorf("%d log-probabilities of %d tokens", len(l.Tokens), got.Usage.Completion)
				}
			}
			if c.body["best_of"] != 4 { // which cannot be streamed
				body["stream"] = true
				chunks, ended := stream[seenCompletion](t, b.post("/v1/completions", body))
				joined := make([]string, c.choices)
				for _, chunk := range chunks {
					joined[chunk.Choices[0].Index] += chunk.Choices[0].Text
				}
				for i := range joined {
					if !ended || joined[i] != got.Choices[i].Text {
						t.Errorf("choice %d: streamed %q, want %q", i, joined[i], got.Choices[i].Text)
					}
				}
			}
		})
	}
	b.idle()
}

// A text is made of any tokens, also bytes that are not UTF-8. The stream and the whole must agree, contain no stop string and
// be what the definition of stopping says of the tokenizer's own decoding.
func TestStreamEqualsWhole(t *testing.T) {
	tok := testTokenizer()
	b := newBench(t)
	prompt := encode("x")
	rapid.Check(t, func(t *rapid.T) {
		ids := rapid.SliceOfN(rapid.Int32Range(3, 400), 1, 30).Draw(t, "tokens") // the bytes are among the first
		stops := rapid.SliceOfN(rapid.SampledFrom([]string{"e", "en", "\uFFFD", "n d", "er", "ß", "a"}), 0, 3).Draw(t, "stops")
		b.exec.mu.Lock()
		b.exec.scripts = []script{{prompt, ids}}
		b.exec.mu.Unlock()
		body := js{"prompt": "x", "max_tokens": len(ids), "temperature": 0}
		if len(stops) > 0 {
			body["stop"] = stops
		}
		got := into[seenCompletion](b, b.post("/v1/completions", body)).Choices[0]
		body["stream"] = true
		joined, _ := joinCompletion(b, b.post("/v1/completions", body))
		s := tok.NewStreamAfter(prompt)
		text := ""
		for _, id := range ids {
			text += s.Write(id)
		}
		text += s.Flush()
		want, met := plainStop(text, stops)
		if got.Text != want || joined != want {
			t.Fatalf("tokens %v, stops %q: whole %q, streamed %q, want %q", ids, stops, got.Text, joined, want)
		}
		if met != (*got.FinishReason == "stop") {
			t.Fatalf("finish reason %q", *got.FinishReason)
		}
	})
	b.idle()
}

func TestAnswersAreNotEscaped(t *testing.T) {
	b := newBench(t, says("x", continuation("<b>&</b>")...))
	r := b.post("/v1/completions", js{"prompt": "x"})
	if !strings.Contains(string(r.body), `"<b>&</b>"`) || !json.Valid(r.body) {
		t.Errorf("%s", r.body)
	}
}
