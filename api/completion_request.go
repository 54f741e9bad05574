package api

import (
	"encoding/json"
	"net/http"
	"strconv"

	"polynode/engine"
	"polynode/tokenizer"
)

// completionTokens is how many tokens a completion has when max_tokens is absent, as with OpenAI.
const completionTokens = 16

// readCompletion reads the body of POST /v1/completions.
func (s *Server) readCompletion(w http.ResponseWriter, r *http.Request) (*job, *Error) {
	f, err := s.readFields(w, r)
	if err != nil {
		return nil, err
	}
	j := &job{param: "prompt", id: "cmpl-" + newID()}
	j.generation = parseGeneration(f, s.tokenizer.Size(), s.model.StopIDs)
	j.request.MaxTokens = int(f.integer("max_tokens", completionTokens, 0, 1<<31-1))
	j.echo = f.boolean("echo", false)
	if top := f.integer("logprobs", -1, 0, engine.TopMax); top >= 0 {
		j.logprobs, j.top = true, int(top)
	}
	f.boolean("add_special_tokens", true) // this family of models is trained without any
	f.refuse("suffix", "cannot be honoured: the model is not trained to fill in the middle")
	refuseChatOnly(f)
	checkMinTokens(f, &j.generation)
	raw, given := f.take("prompt")
	if f.end(); f.err != nil {
		return nil, f.err
	}
	if !given {
		return nil, invalid("prompt", "missing_required_parameter", "Missing required parameter: 'prompt'.")
	}
	if j.prompts, err = s.parsePrompts(raw); err != nil {
		return nil, err
	}
	if j.echo && j.logprobs {
		j.request.PromptLogprobs = true
	}
	return j, s.settle(j, completionTokens)
}

// refuseChatOnly names the fields that belong to the other route.
func refuseChatOnly(f *fields) {
	const where = "belongs to /v1/chat/completions"
	for _, name := range []string{"messages", "max_completion_tokens", "top_logprobs", "tools", "tool_choice", "functions"} {
		f.refuse(name, where)
	}
	refuseFormat(f)
}

// refuseFormat accepts the one response format there is: text.
func refuseFormat(f *fields) {
	in := f.inner("response_format")
	if in == nil {
		return
	}
	if kind := in.text("type", "text", nameBytesMax); kind != "text" {
		f.fail(unsupported(f.path+"response_format", "must be {\"type\": \"text\"}: structured output is not supported by this server"))
	}
	f.close(in)
}

// checkMinTokens refuses a minimum above the maximum.
func checkMinTokens(f *fields, g *generation) {
	if g.request.MaxTokens != tokensAbsent && g.request.MinTokens > g.request.MaxTokens {
		f.wrongValue("min_tokens", "'min_tokens' must not be above 'max_tokens' (%d).", g.request.MaxTokens)
	}
}

// settle gives every prompt of a job its number of tokens and the request what follows from all fields.
func (s *Server) settle(j *job, absent int) *Error {
	for i := range j.prompts {
		n, err := j.generation.settle(j.param, len(j.prompts[i].tokens), s.model.Context, min(absent, s.room(j, i)))
		if err != nil {
			return err
		}
		j.prompts[i].maxTokens = n
	}
	j.request.Logprobs = j.logprobs
	j.request.Top = max(0, j.promptTop)
	if j.logprobs {
		j.request.Top = max(j.request.Top, j.top)
	}
	return nil
}

// room is how many tokens all sequences of a prompt can surely have in the memory for keys and values. Who says how many are
// wanted and asks too much is told so; who does not gets this many.
func (s *Server) room(j *job, i int) int {
	width := max(j.request.BestOf, j.request.Beams)
	return max(1, s.positions/engine.BlockTokens/width*engine.BlockTokens-len(j.prompts[i].tokens))
}

// parsePrompts reads a text, an array of texts, an array of token ids, or an array of such arrays.
func (s *Server) parsePrompts(raw json.RawMessage) ([]prompt, *Error) {
	if raw[0] == '"' {
		p, err := s.promptOfText("prompt", unquote(raw))
		return []prompt{p}, err
	}
	f := &fields{members: object{"prompt": raw}}
	values := f.list("prompt", s.tokensMax())
	if f.err != nil {
		if raw[0] != '[' {
			f.err = invalid("prompt", "invalid_type", "Invalid type for 'prompt': expected a string, an array of strings, "+
				"an array of token ids, or an array of such arrays, but got %s instead.", kind(raw))
		}
		return nil, f.err
	}
	if len(values) == 0 {
		return nil, invalid("prompt", "empty_array", "Invalid 'prompt': empty array. Expected at least one prompt or token.")
	}
	if values[0][0] != '"' && values[0][0] != '[' {
		p, err := s.promptOfTokens("prompt", raw)
		return []prompt{p}, err
	}
	if len(values) > promptsMax {
		return nil, invalid("prompt", "array_above_max_length",
			"Invalid 'prompt': array too long. Expected at most %d prompts, but got %d instead.", promptsMax, len(values))
	}
	prompts := make([]prompt, len(values))
	for i, v := range values {
		var err *Error
		name := "prompt[" + strconv.Itoa(i) + "]"
		if v[0] == '"' {
			prompts[i], err = s.promptOfText(name, unquote(v))
		} else {
			prompts[i], err = s.promptOfTokens(name, v)
		}
		if err != nil {
			return nil, err
		}
	}
	return prompts, nil
}

// promptOfText turns a text into tokens.
func (s *Server) promptOfText(param, text string) (prompt, *Error) {
	ids, err := s.encode(param, text)
	return prompt{tokens: ids, echo: text}, err
}

// promptOfTokens reads an array of token ids; its echo is their text.
func (s *Server) promptOfTokens(param string, raw json.RawMessage) (prompt, *Error) {
	f := &fields{members: object{param: raw}}
	ids := f.tokens(param, s.tokensMax(), s.tokenizer.Size())
	if f.err != nil {
		return prompt{}, f.err
	}
	if len(ids) == 0 {
		return prompt{}, emptyPrompt(param)
	}
	return prompt{tokens: ids, echo: s.tokenizer.Decode(ids)}, nil
}

// tokensMax is how long an array of token ids may be to be read at all. It leaves room for prompts that are too long for the
// context, so that they are told so.
func (s *Server) tokensMax() int { return 16 * max(promptsMax, s.model.Context) }

func emptyPrompt(param string) *Error {
	return invalid(param, "empty_prompt", "Invalid '%s': the prompt has no tokens. This model has no start token, so at least one is needed.", param)
}

// encode turns a client's text into tokens, none of them special, after a look at its length.
func (s *Server) encode(param, text string) ([]int32, *Error) {
	if len(text) > s.textMax {
		return nil, invalid(param, "context_length_exceeded",
			"This model's maximum context length is %d tokens. However, the text has %d bytes, and %d bytes is the most that is read. "+
				"Please reduce its length.", s.model.Context, len(text), s.textMax)
	}
	ids := s.tokenizer.Append(nil, text)
	if len(ids) == 0 {
		return nil, emptyPrompt(param)
	}
	return ids, nil
}

// longestToken returns the most bytes of text that one token stands for.
func longestToken(t *tokenizer.SentencePiece) int {
	longest := 1
	for id := range int32(t.Size()) {
		longest = max(longest, len(t.TokenBytes(id)))
	}
	return longest
}
