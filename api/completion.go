package api

import (
	"net/http"

	"polynode/engine"
)

// completionChoice is one text of an answer, or what it gained.
type completionChoice struct {
	Index          int                  `json:"index"`
	Text           string               `json:"text"`
	Logprobs       *completionLogprobs  `json:"logprobs"`
	FinishReason   *engine.FinishReason `json:"finish_reason"`
	StopReason     any                  `json:"stop_reason"`
	PromptLogprobs any                  `json:"prompt_logprobs,omitempty"`
	TokenIDs       []int32              `json:"token_ids,omitempty"`
	PromptTokenIDs []int32              `json:"prompt_token_ids,omitempty"`
}

// completionLogprobs is one entry per token, in columns. Offsets count characters (code points) of the choice's text.
type completionLogprobs struct {
	Tokens        []string             `json:"tokens"`
	TokenLogprobs []*float32           `json:"token_logprobs"`
	TopLogprobs   []map[string]float32 `json:"top_logprobs"`
	TextOffset    []int                `json:"text_offset"`
}

func (s *Server) completions(w http.ResponseWriter, r *http.Request) {
	j, err := s.readCompletion(w, r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.respond(w, r, j, s.completionShape)
}

// completionShape writes text completions.
func (s *Server) completionShape(j *job, h head) shape {
	h.Object = "text_completion"
	return shape{
		whole: h, piece: h,
		chunks: func(d *delta) []any {
			c := completionChoice{Index: d.choice, Text: d.text, Logprobs: s.completionLogprobs(j, d.tokens), StopReason: d.reason}
			if d.finish != "" {
				c.FinishReason = &d.finish
			}
			if j.returnTokenIDs {
				c.TokenIDs = sampled(d.tokens)
				if d.first {
					c.PromptTokenIDs = j.prompts[d.prompt].tokens
				}
			}
			return []any{c}
		},
		finish: func(a *answer, results []result, targets [][]engine.Target) {
			for i := range results {
				r := &results[i]
				c := completionChoice{
					Index: r.choice, Text: r.text.String(), Logprobs: s.completionLogprobs(j, r.tokens),
					FinishReason: &r.finish, StopReason: r.reason,
				}
				if j.promptTop >= 0 {
					c.PromptLogprobs = s.promptLogprobs(j.prompts[r.prompt], targets[r.prompt], j.promptTop)
				}
				if j.returnTokenIDs {
					c.TokenIDs, c.PromptTokenIDs = sampled(r.tokens), j.prompts[r.prompt].tokens
				}
				a.Choices = append(a.Choices, c)
			}
		},
	}
}

// completionLogprobs writes the columns, or nil when they were not asked for.
func (s *Server) completionLogprobs(j *job, tokens []token) *completionLogprobs {
	if !j.logprobs {
		return nil
	}
	l := &completionLogprobs{
		Tokens: make([]string, len(tokens)), TokenLogprobs: make([]*float32, len(tokens)),
		TopLogprobs: make([]map[string]float32, len(tokens)), TextOffset: make([]int, len(tokens)),
	}
	for i, t := range tokens {
		l.Tokens[i], l.TextOffset[i] = s.completionToken(j, t.id), t.offset
		if t.unknown {
			continue
		}
		own := logprob(t.logprob)
		l.TokenLogprobs[i] = &own
		l.TopLogprobs[i] = map[string]float32{l.Tokens[i]: own}
		for _, c := range best(t.top, j.top) {
			name := s.completionToken(j, c.Token)
			if _, taken := l.TopLogprobs[i][name]; !taken { // two tokens may be written alike; the likelier stays
				l.TopLogprobs[i][name] = logprob(c.Score)
			}
		}
	}
	return l
}

// completionToken writes a token in a column. Bytes that are not a whole character look like OpenAI's: bytes:\xe4\xbd.
func (s *Server) completionToken(j *job, id int32) string {
	if j.tokensAsIDs {
		return "token_id:" + itoa(int(id))
	}
	written, raw := tokenText(s.tokenizer, id)
	if len(raw) > 0 && written != string(raw) {
		return "bytes:" + written
	}
	return written
}
