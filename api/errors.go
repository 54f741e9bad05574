package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"polynode/engine"
)

// Error is an answer that is not a result, in OpenAI's form. It is made once and never changed.
type Error struct {
	Status  int           // of HTTP
	Message string        // for a person
	Type    string        // "invalid_request_error", "rate_limit_error", "server_error", …
	Param   string        // the field that is to blame, or ""
	Code    string        // for a program, or ""
	Retry   time.Duration // when to try again; 0 says nothing
}

// Error implements error.
func (e *Error) Error() string { return e.Message }

// invalid makes the error for a request that must be changed before it can succeed.
func invalid(param, code, format string, args ...any) *Error {
	return &Error{
		Status: http.StatusBadRequest, Message: fmt.Sprintf(format, args...),
		Type: "invalid_request_error", Param: param, Code: code,
	}
}

// unsupported makes the error for a field that would change the answer and that this server does not honour.
func unsupported(param, why string) *Error {
	return invalid(param, "unsupported_parameter", "Unsupported parameter: '%s' %s.", param, why)
}

func modelNotFound(id string) *Error {
	return &Error{
		Status: http.StatusNotFound, Message: fmt.Sprintf("The model `%s` does not exist.", id),
		Type: "invalid_request_error", Param: "model", Code: "model_not_found",
	}
}

// tooLong is the error of a prompt that leaves no room, in the words that clients look for.
func tooLong(param string, context, prompt, completion int) *Error {
	where := "prompt"
	if param == "messages" {
		where = "messages"
	}
	return invalid(param, "context_length_exceeded",
		"This model's maximum context length is %d tokens. However, you requested %d tokens (%d in the %s, %d in the completion). "+
			"Please reduce the length of the %s or completion.",
		context, prompt+completion, prompt, where, completion, where)
}

func draining() *Error {
	return &Error{
		Status: http.StatusServiceUnavailable, Message: "The server is shutting down, is not ready yet, or coordinates its cluster no more. Try again later.",
		Type: "server_error", Code: "unavailable", Retry: 2 * time.Second,
	}
}

func overloaded(retry time.Duration) *Error {
	if retry <= 0 {
		retry = time.Second
	}
	return &Error{
		Status: http.StatusTooManyRequests, Message: "The queue is full. Try again after the time in Retry-After.",
		Type: "rate_limit_error", Code: "queue_full", Retry: retry,
	}
}

// late is the error of a request that met one of the server's deadlines.
func late(retry time.Duration, format string, args ...any) *Error {
	return &Error{
		Status: http.StatusServiceUnavailable, Message: fmt.Sprintf("The request took too long: "+format+".", args...),
		Type: "server_error", Code: "deadline_exceeded", Retry: max(retry, time.Second),
	}
}

// fromEngine gives an engine's refusal or failure its place in HTTP.
func (s *Server) fromEngine(err error, param string) *Error {
	var own *Error
	switch {
	case errors.As(err, &own):
		return own
	case errors.Is(err, engine.ErrQueueFull):
		return overloaded(s.engine.RetryAfter())
	case errors.Is(err, engine.ErrClosed):
		return draining()
	case errors.Is(err, engine.ErrTooLong):
		return invalid(param, "context_length_exceeded",
			"This model's maximum context length is %d tokens: %v.", s.model.Context, err)
	case errors.Is(err, engine.ErrTooLarge):
		return invalid("max_tokens", "kv_capacity_exceeded",
			"This server's memory for keys and values cannot hold the request, even alone: %v. Ask for fewer tokens or choices.", err)
	case errors.Is(err, engine.ErrRequest):
		return invalid("", "invalid_value", "%v.", err)
	}
	return &Error{
		Status: http.StatusInternalServerError, Message: "The model could not run a step. The request may be tried again.",
		Type: "server_error", Code: "step_failed",
	}
}

// errorBody is the JSON of an error.
type errorBody struct {
	Error errorFields `json:"error"`
}

type errorFields struct {
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param"`
	Code    *string `json:"code"`
}

func (e *Error) body() errorBody {
	f := errorFields{Message: e.Message, Type: e.Type}
	if e.Param != "" {
		f.Param = &e.Param
	}
	if e.Code != "" {
		f.Code = &e.Code
	}
	return errorBody{Error: f}
}

// writeError answers with e. Nothing must have been written before.
func writeError(w http.ResponseWriter, e *Error) {
	if e.Retry > 0 {
		// OpenAI's clients read the milliseconds first; Retry-After itself counts whole seconds, so it is rounded up.
		w.Header().Set("Retry-After", strconv.FormatInt(int64((e.Retry+time.Second-1)/time.Second), 10))
		w.Header().Set("Retry-After-Ms", strconv.FormatInt(e.Retry.Milliseconds(), 10))
	}
	writeJSON(w, e.Status, e.body())
}

// writeJSON answers with v. HTML is not escaped: a client's text comes back as it was written.
func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.Encode(v) // a broken connection is noticed by whoever reads from it
}
