package api

import (
	"net/http"
	"strings"
)

// tokenizeMax bounds what one call of /tokenize or /detokenize works on: about a second's work.
const tokenizeMax = 1 << 20

// tokenized is vLLM's answer to POST /tokenize.
type tokenized struct {
	Count   int      `json:"count"`
	Context int      `json:"max_model_len"`
	Tokens  []int32  `json:"tokens"`
	Strings []string `json:"token_strs"`
}

// tokenize turns a text, or a conversation in the model's chat format, into token ids.
func (s *Server) tokenize(w http.ResponseWriter, r *http.Request) {
	f, err := s.readFields(w, r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	f.boolean("add_special_tokens", true) // this family of models is trained without any
	named := f.boolean("return_token_strs", false)
	text := ""
	if _, chat := f.members["messages"]; chat {
		messages, end := parseMessages(f)
		text = s.model.Chat.render(messages, end)
	} else if _, given := f.members["prompt"]; given {
		text = f.text("prompt", "", tokenizeMax)
	} else {
		f.fail(invalid("prompt", "missing_required_parameter", "Missing required parameter: 'prompt' or 'messages'."))
	}
	if len(text) > tokenizeMax {
		f.wrongValue("messages", "text too long. Expected at most %d bytes, but got %d instead.", tokenizeMax, len(text))
	}
	if f.end(); f.err != nil {
		s.fail(w, r, f.err)
		return
	}
	t := tokenized{Context: s.model.Context, Tokens: s.tokenizer.Append([]int32{}, text)}
	t.Count = len(t.Tokens)
	if named {
		t.Strings = make([]string, t.Count)
		for i, id := range t.Tokens {
			piece, _ := s.tokenizer.Piece(id)
			t.Strings[i] = strings.ToValidUTF8(piece, "\uFFFD")
		}
	}
	s.extendDeadline(w)
	writeJSON(w, http.StatusOK, t)
}

// detokenize turns token ids into text.
func (s *Server) detokenize(w http.ResponseWriter, r *http.Request) {
	f, err := s.readFields(w, r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	_, given := f.members["tokens"]
	ids := f.tokens("tokens", tokenizeMax, s.tokenizer.Size())
	if !given {
		f.fail(invalid("tokens", "missing_required_parameter", "Missing required parameter: 'tokens'."))
	}
	if f.end(); f.err != nil {
		s.fail(w, r, f.err)
		return
	}
	s.extendDeadline(w)
	writeJSON(w, http.StatusOK, struct {
		Prompt string `json:"prompt"`
	}{s.tokenizer.Decode(ids)})
}
