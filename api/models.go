package api

import "net/http"

// modelCard is OpenAI's description of a model, with vLLM's max_model_len and what a user of this server should know.
type modelCard struct {
	ID        string     `json:"id"`
	Object    string     `json:"object"`
	Created   int64      `json:"created"`
	OwnedBy   string     `json:"owned_by"`
	Context   int        `json:"max_model_len"`
	Chat      ChatFormat `json:"chat_format"`
	Digest    string     `json:"digest,omitempty"`
	Synthetic bool       `json:"synthetic"` // the weights are random: its answers mean nothing
}

func (s *Server) card() modelCard {
	m := s.model
	return modelCard{
		ID: m.ID, Object: "model", Created: m.Created.Unix(), OwnedBy: m.OwnedBy,
		Context: m.Context, Chat: m.Chat, Digest: m.Digest, Synthetic: m.Synthetic,
	}
}

func (s *Server) listModels(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, http.StatusOK, struct {
		Object string      `json:"object"`
		Data   []modelCard `json:"data"`
	}{"list", []modelCard{s.card()}})
}

func (s *Server) showModel(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	if id != s.model.ID {
		if len(id) > idBytesMax {
			id = "…"
		}
		s.fail(w, r, modelNotFound(id))
		return
	}
	writeJSON(w, http.StatusOK, s.card())
}
