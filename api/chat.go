package api

import (
	"net/http"

	"polynode/engine"
)

// chatChoice is one message of an answer.
type chatChoice struct {
	Index        int                 `json:"index"`
	Message      chatMessage         `json:"message"`
	Logprobs     *chatLogprobs       `json:"logprobs"`
	FinishReason engine.FinishReason `json:"finish_reason"`
	StopReason   any                 `json:"stop_reason"`
	TokenIDs     []int32             `json:"token_ids,omitempty"`
}

type chatMessage struct {
	Role    string  `json:"role"`
	Content string  `json:"content"`
	Refusal *string `json:"refusal"`
}

// chatChunk is what one message gained.
type chatChunk struct {
	Index          int                  `json:"index"`
	Delta          chatDelta            `json:"delta"`
	Logprobs       *chatLogprobs        `json:"logprobs"`
	FinishReason   *engine.FinishReason `json:"finish_reason"`
	StopReason     any                  `json:"stop_reason,omitempty"`
	TokenIDs       []int32              `json:"token_ids,omitempty"`
	PromptTokenIDs []int32              `json:"prompt_token_ids,omitempty"`
}

type chatDelta struct {
	Role    string  `json:"role,omitempty"`
	Content *string `json:"content,omitempty"`
}

type chatLogprobs struct {
	Content []chatToken `json:"content"`
	Refusal []chatToken `json:"refusal"`
}

type chatToken struct {
	chatTop
	Top []chatTop `json:"top_logprobs"`
}

type chatTop struct {
	Token   string  `json:"token"`
	Logprob float32 `json:"logprob"`
	Bytes   []int   `json:"bytes"`
}

func (s *Server) chat(w http.ResponseWriter, r *http.Request) {
	j, err := s.readChat(w, r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.respond(w, r, j, s.chatShape)
}

// chatShape writes chat completions. A stream gives each choice a chunk with the role, then its text, then its finish reason.
func (s *Server) chatShape(j *job, h head) shape {
	whole, piece := h, h
	whole.Object, piece.Object = "chat.completion", "chat.completion.chunk"
	return shape{
		whole: whole, piece: piece,
		chunks: func(d *delta) []any { return s.chatChunks(j, d) },
		finish: func(a *answer, results []result, targets [][]engine.Target) {
			for i := range results {
				r := &results[i]
				c := chatChoice{
					Index: r.choice, Message: chatMessage{Role: "assistant", Content: r.text.String()},
					Logprobs: s.chatLogprobs(j, r.tokens), FinishReason: r.finish, StopReason: r.reason,
				}
				if j.returnTokenIDs {
					c.TokenIDs = sampled(r.tokens)
				}
				a.Choices = append(a.Choices, c)
			}
			if j.promptTop >= 0 {
				a.PromptLogprobs = s.promptLogprobs(j.prompts[0], targets[0], j.promptTop)
			}
			if j.returnTokenIDs {
				a.PromptTokenIDs = j.prompts[0].tokens
			}
		},
	}
}

func (s *Server) chatChunks(j *job, d *delta) []any {
	var out []any
	logprobs := s.chatLogprobs(j, d.tokens)
	var ids []int32
	if j.returnTokenIDs {
		ids = sampled(d.tokens)
	}
	if d.first {
		empty := ""
		c := chatChunk{Index: d.choice, Delta: chatDelta{Role: "assistant", Content: &empty}}
		if j.returnTokenIDs {
			c.PromptTokenIDs = j.prompts[0].tokens
		}
		out = append(out, c)
	}
	if d.text != "" {
		out = append(out, chatChunk{Index: d.choice, Delta: chatDelta{Content: &d.text}, Logprobs: logprobs, TokenIDs: ids})
		logprobs, ids = nil, nil
	}
	if d.finish != "" {
		if logprobs != nil && len(logprobs.Content) == 0 {
			logprobs = nil
		}
		c := chatChunk{Index: d.choice, Logprobs: logprobs, FinishReason: &d.finish, StopReason: d.reason, TokenIDs: ids}
		out = append(out, c)
	}
	return out
}

// chatLogprobs writes tokens, or nil when they were not asked for.
func (s *Server) chatLogprobs(j *job, tokens []token) *chatLogprobs {
	if !j.logprobs {
		return nil
	}
	l := &chatLogprobs{Content: make([]chatToken, len(tokens))}
	for i, t := range tokens {
		l.Content[i] = chatToken{chatTop: s.chatTop(j, t.id, t.logprob), Top: []chatTop{}}
		for _, c := range best(t.top, j.top) {
			l.Content[i].Top = append(l.Content[i].Top, s.chatTop(j, c.Token, c.Score))
		}
	}
	return l
}

func (s *Server) chatTop(j *job, id int32, score float32) chatTop {
	written, raw := tokenText(s.tokenizer, id)
	top := chatTop{Token: written, Logprob: logprob(score), Bytes: make([]int, len(raw))}
	for i, b := range raw {
		top.Bytes[i] = int(b)
	}
	if j.tokensAsIDs {
		top.Token = "token_id:" + itoa(int(id))
	}
	return top
}
