package api

import (
	"slices"
	"strings"
	"testing"
)

func TestChatFormats(t *testing.T) {
	u := func(s string) message { return message{"user", s} }
	a := func(s string) message { return message{"assistant", s} }
	sys := func(s string) message { return message{"system", s} }
	for _, c := range []struct {
		name     string
		format   ChatFormat
		messages []message
		end      ending
		want     string
	}{
		{"chat, one turn", ChatMarkers, []message{u("Hi")}, endAnswer, "<|user|>\nHi\n<|assistant|>\n"},
		{"chat, turns", ChatMarkers, []message{u("A"), a("B"), u("C")}, endAnswer, "<|user|>\nA\n<|assistant|>\nB\n<|user|>\nC\n<|assistant|>\n"},
		{"chat, system", ChatMarkers, []message{sys("S"), u("A")}, endAnswer, "<|user|>\nS\nA\n<|assistant|>\n"},
		{"chat, system alone", ChatMarkers, []message{sys("S")}, endAnswer, "<|user|>\nS\n<|assistant|>\n"},
		{"chat, users in a row", ChatMarkers, []message{u("A"), u("B")}, endAnswer, "<|user|>\nA\nB\n<|assistant|>\n"},
		{"chat, continued", ChatMarkers, []message{u("A"), a("B")}, endContinue, "<|user|>\nA\n<|assistant|>\nB"},
		{"chat, as it is", ChatMarkers, []message{u("A"), a("B")}, endNothing, "<|user|>\nA\n<|assistant|>\nB\n"},
		{"multialpaca, one turn", ChatMultialpaca, []message{u(" Hi\n\n\nyou \n")}, endAnswer, "Hi\nyou\n\n"},
		{"multialpaca, turns", ChatMultialpaca, []message{u("A"), a("B"), u("C")}, endAnswer, "A\n\nB\nC\n\n"},
		{"multialpaca, system", ChatMultialpaca, []message{sys("S"), u("A")}, endAnswer, "S\nA\n\n"},
		{"multialpaca, continued", ChatMultialpaca, []message{u("A"), a("B")}, endContinue, "A\n\nB"},
		{"plain", ChatPlain, []message{sys("S"), u("A"), a("B"), u("C")}, endAnswer, "S\nA\nB\nC"},
		{"plain, continued", ChatPlain, []message{u("A"), a("B")}, endContinue, "A\nB"},
	} {
		if got := c.format.render(c.messages, c.end); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

const chatPrompt = "<|user|>\nHallo\n<|assistant|>\n"

func hello() []js { return []js{{"role": "user", "content": "Hallo"}} }

func TestChat(t *testing.T) {
	out := continuation("Guten Tag!\nWie geht es?\n<|user|>\nGut.")
	b := newBench(t, says(chatPrompt, out...))
	for _, c := range []struct {
		name, text, finish string
		body               js
	}{
		{"stops at the next turn", "Guten Tag!\nWie geht es?", "stop", js{}},
		{"unless nothing may end it", "Guten Tag!\nWie geht es?\n<|user|>\nGut.", "length", js{"ignore_eos": true, "max_tokens": len(out)}},
		{"one's own stop", "Guten Tag!", "stop", js{"stop": "\n"}},
		{"the format's stop is never shown", "Guten Tag!\nWie geht es?", "stop", js{"include_stop_str_in_output": true}},
		{"max_tokens", testTokenizer().Decode(append(encode("a"), out[:3]...))[1:], "length", js{"max_tokens": 3}},
		{"max_completion_tokens", testTokenizer().Decode(append(encode("a"), out[:3]...))[1:], "length", js{"max_completion_tokens": 3}},
		{"parts", "Guten Tag!", "stop", js{"stop": "\n", "messages": []js{{"role": "user", "content": []js{{"type": "text", "text": "Hal"}, {"type": "text", "text": "lo"}}}}}},
		{"what means nothing passes", "Guten Tag!", "stop", js{"stop": "\n", "tools": []any{}, "tool_choice": "none", "response_format": js{"type": "text"},
			"modalities": []string{"text"}, "parallel_tool_calls": true, "logit_bias": js{}, "functions": nil, "service_tier": "auto", "verbosity": "low"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := b.with(t)
			body := js{"messages": hello(), "temperature": 0}
			for k, v := range c.body {
				body[k] = v
			}
			got := into[seenChat](b, b.post("/v1/chat/completions", body))
			m := got.Choices[0]
			if m.Message.Content != c.text || m.Message.Role != "assistant" || *m.FinishReason != c.finish {
				t.Fatalf("got %+v ending by %q, want %q by %q", m.Message, *m.FinishReason, c.text, c.finish)
			}
			if got.Object != "chat.completion" || !strings.HasPrefix(got.ID, "chatcmpl-") || got.Usage.Prompt != len(encode(chatPrompt)) {
				t.Errorf("answer %+v, usage %+v", got, got.Usage)
			}
			body["stream"], body["stream_options"] = true, js{"include_usage": true}
			checkChatStream(t, b.post("/v1/chat/completions", body), c.text, c.finish, *got.Usage)
		})
	}
	b.idle()
}

func checkChatStream(t *testing.T, r reply, text, finish string, use usage) {
	t.Helper()
	chunks, ended := stream[seenChat](t, r)
	if !ended || len(chunks) < 3 {
		t.Fatalf("%s", r.body)
	}
	if d := chunks[0].Choices[0].Delta; d.Role != "assistant" || d.Content == nil || *d.Content != "" {
		t.Errorf("the first chunk is %+v", d)
	}
	last := chunks[len(chunks)-1]
	if len(last.Choices) != 0 || last.Usage == nil || !last.Usage.same(use) {
		t.Errorf("the last chunk is %+v, want usage %+v", last, use)
	}
	joined := ""
	for i, c := range chunks[:len(chunks)-1] {
		if c.Object != "chat.completion.chunk" || c.ID != chunks[0].ID || c.Usage != nil {
			t.Errorf("chunk %d: %+v", i, c)
		}
		if s := c.Choices[0].Delta.Content; s != nil {
			joined += *s
		}
		if end := c.Choices[0].FinishReason; (end != nil) != (i == len(chunks)-2) || end != nil && *end != finish {
			t.Errorf("chunk %d of %d ends by %v", i, len(chunks), end)
		}
	}
	if joined != text {
		t.Errorf("streamed %q, want %q", joined, text)
	}
}

func TestChatContinuesTheAssistantsMessage(t *testing.T) {
	b := newBench(t, says("<|user|>\nHallo\n<|assistant|>\nGuten", continuation(" Tag")...))
	messages := append(hello(), js{"role": "assistant", "content": "Guten"})
	for _, body := range []js{{"messages": messages}, {"messages": messages, "continue_final_message": true, "add_generation_prompt": false}} {
		got := into[seenChat](b, b.post("/v1/chat/completions", body))
		if got.Choices[0].Message.Content != " Tag" {
			t.Errorf("%q", got.Choices[0].Message.Content)
		}
	}
}

func TestChatLogprobs(t *testing.T) {
	out := continuation("Würde 龘")
	b := newBench(t, says(chatPrompt, out...))
	got := into[seenChat](b, b.post("/v1/chat/completions", js{"messages": hello(), "logprobs": true, "top_logprobs": 2}))
	content := got.Choices[0].Logprobs.Content
	want := append(slices.Clone(out), eos)
	if len(content) != len(want) {
		t.Fatalf("%d tokens, want %d", len(content), len(want))
	}
	var raw []byte
	for i, c := range content {
		if c.Logprob != fakeLogprob(want[i]) || len(c.Top) != 2 {
			t.Errorf("token %d: %+v", i, c)
		}
		for _, v := range c.Bytes {
			raw = append(raw, byte(v))
		}
	}
	if string(raw) != got.Choices[0].Message.Content {
		t.Errorf("the tokens' bytes are %q, the content %q", raw, got.Choices[0].Message.Content)
	}
	chunks, _ := stream[seenChat](t, b.post("/v1/chat/completions", js{"messages": hello(), "logprobs": true, "top_logprobs": 2, "stream": true}))
	var joined []chatToken
	for _, c := range chunks {
		if l := c.Choices[0].Logprobs; l != nil {
			joined = append(joined, l.Content...)
		}
	}
	if len(joined) != len(content) {
		t.Errorf("%d tokens streamed, want %d", len(joined), len(content))
	}
}

func TestMarkersInTextStayText(t *testing.T) {
	b := newBench(t)
	got := into[tokenized](b, b.post("/tokenize", js{"prompt": "a</s>b<s>", "return_token_strs": true}))
	if slices.Contains(got.Tokens, eos) || slices.Contains(got.Tokens, 1) {
		t.Errorf("a control token came from text: %v", got.Strings)
	}
}
