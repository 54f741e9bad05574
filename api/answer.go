package api

import (
	"cmp"
	"encoding/json"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"polynode/engine"
	"polynode/engine/sample"
)

// head is what every answer and chunk begins with.
type head struct {
	ID          string `json:"id"`
	Object      string `json:"object"`
	Created     int64  `json:"created"`
	Model       string `json:"model"`
	Fingerprint string `json:"system_fingerprint"`
}

// shape writes deltas and results in the form of one route.
type shape struct {
	whole, piece head // of an answer and of a chunk
	chunks       func(d *delta) []any
	finish       func(a *answer, results []result, targets [][]engine.Target)
}

// result is one choice of a finished job.
type result struct {
	choice int
	prompt int
	text   strings.Builder
	tokens []token
	finish engine.FinishReason
	reason any
}

// chunk is an event of a stream.
type chunk struct {
	head
	Choices     []any  `json:"choices"`
	Usage       any    `json:"usage,omitempty"`
	Obfuscation string `json:"obfuscation,omitempty"`
}

// answer is the whole of a job that is not streamed.
type answer struct {
	head
	Choices []any `json:"choices"`
	Usage   usage `json:"usage"`

	// Of a chat, as vLLM has them; a completion has them in its choices.
	PromptLogprobs any     `json:"prompt_logprobs,omitempty"`
	PromptTokenIDs []int32 `json:"prompt_token_ids,omitempty"`
}

// null is sent where a field must be there and hold nothing.
var null = json.RawMessage("null")

// respond runs the job and writes its answer.
func (s *Server) respond(w http.ResponseWriter, r *http.Request, j *job, form func(*job, head) shape) {
	h := head{ID: j.id, Created: s.now().Unix(), Model: s.model.ID, Fingerprint: s.model.Fingerprint}
	sh := form(j, h)
	if j.stream {
		s.respondStream(w, r, j, sh)
		return
	}
	results := make([]result, len(j.prompts)*j.request.Choices)
	take := func(d *delta) error {
		r := &results[d.choice]
		r.choice, r.prompt, r.finish, r.reason = d.choice, d.prompt, d.finish, d.reason
		r.text.WriteString(d.text)
		r.tokens = append(r.tokens, d.tokens...)
		return nil
	}
	use, targets, err := s.run(r.Context(), j, sink{delta: take, idle: func() error { return nil }})
	if err != nil {
		s.fail(w, r, err)
		return
	}
	a := answer{head: sh.whole, Usage: use}
	sh.finish(&a, results, targets)
	s.extendDeadline(w)
	writeJSON(w, http.StatusOK, a)
}

// respondStream sends a job's deltas as they come.
func (s *Server) respondStream(w http.ResponseWriter, r *http.Request, j *job, sh shape) {
	e := newEvents(w, s.limits.Write)
	send := func(d *delta) error {
		for _, c := range sh.chunks(d) {
			if err := e.send(s.chunk(sh, j, c)); err != nil {
				return err
			}
		}
		return nil
	}
	use, _, err := s.run(r.Context(), j, sink{delta: send, idle: e.comment})
	switch {
	case err != nil && !e.started:
		s.fail(w, r, err)
		return
	case err != nil:
		s.log.Debug("stream ended early", "request", j.id, "cause", err.Code)
		s.metrics.brokenStreams.Inc()
		e.fail(err)
		return
	}
	if j.usage {
		e.send(chunk{head: sh.piece, Choices: []any{}, Usage: use})
	}
	e.done()
}

// chunk wraps one choice's news.
func (s *Server) chunk(sh shape, j *job, choice any) chunk {
	c := chunk{head: sh.piece, Choices: []any{choice}}
	if j.usage {
		c.Usage = null
	}
	if j.obfuscate {
		c.Obfuscation = padding()
	}
	return c
}

// logprob makes a log-probability fit for JSON, with OpenAI's number for what is impossible.
func logprob(v float32) float32 {
	if math.IsNaN(float64(v)) || v < -9999 {
		return -9999
	}
	return v
}

// best returns the n likeliest candidates, likeliest first.
func best(top []sample.Candidate, n int) []sample.Candidate {
	top = slices.Clone(top)
	slices.SortStableFunc(top, func(a, b sample.Candidate) int { return cmp.Compare(b.Score, a.Score) })
	return top[:min(n, len(top))]
}

// promptLogprob is one alternative of a prompt's token, as vLLM has it.
type promptLogprob struct {
	Logprob float32 `json:"logprob"`
	Rank    int     `json:"rank"`
	Token   string  `json:"decoded_token"`
}

// promptLogprobs writes a prompt's log-probabilities: null for the first token, then for each token the likeliest and itself.
func (s *Server) promptLogprobs(p prompt, targets []engine.Target, top int) []map[string]promptLogprob {
	all := make([]map[string]promptLogprob, len(p.tokens))
	for i := 1; i < len(p.tokens) && i < len(targets); i++ {
		t, id := targets[i], p.tokens[i]
		m := map[string]promptLogprob{}
		for rank, c := range best(t.Top, top) {
			written, _ := tokenText(s.tokenizer, c.Token)
			m[itoa(int(c.Token))] = promptLogprob{logprob(c.Score), rank + 1, written}
		}
		written, _ := tokenText(s.tokenizer, id)
		m[itoa(int(id))] = promptLogprob{logprob(t.Logprob), t.Rank, written}
		all[i] = m
	}
	return all
}

// sampled lists the ids of the tokens that are not echoed.
func sampled(tokens []token) []int32 {
	ids := make([]int32, 0, len(tokens))
	for _, t := range tokens {
		if !t.prompt {
			ids = append(ids, t.id)
		}
	}
	return ids
}

func itoa(i int) string { return strconv.Itoa(i) }
