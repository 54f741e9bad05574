package node

import (
	"bytes"
	"io"
	"net/http"
	"strings"
)

// replayMax is how much of a body is kept for another attempt, in bytes.
const replayMax = 1 << 20

// replayable keeps the body of a request for another attempt, and reports whether there may be one: asking a model changes nothing, so it may
// be asked again as long as nothing of an answer was seen; what changes the cluster may not.
func replayable(r *http.Request) (rewind func(), ok bool) {
	if r.Method != http.MethodPost || !strings.HasPrefix(r.URL.Path, "/v1/") {
		return func() {}, false
	}
	kept, err := io.ReadAll(io.LimitReader(r.Body, replayMax+1))
	if err != nil || len(kept) > replayMax {
		rest := r.Body
		r.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(kept), failing{err}, rest), rest}
		return func() {}, false
	}
	return func() { r.Body = io.NopCloser(bytes.NewReader(kept)) }, true
}

// failing is a reader that fails, or one that is at its end.
type failing struct{ err error }

// Read implements io.Reader.
func (f failing) Read([]byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	return 0, io.EOF
}

// refusable is the answer of a service of this node. A refusal because the service ends is kept back, so that the next coordinator can be asked.
type refusable struct {
	http.ResponseWriter
	header  http.Header
	ended   func() bool // whether the service ends
	begun   bool        // the client has the header
	refused bool
}

func keep(w http.ResponseWriter, ended func() bool) *refusable {
	return &refusable{ResponseWriter: w, header: w.Header().Clone(), ended: ended}
}

// Header implements http.ResponseWriter.
func (a *refusable) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter.
func (a *refusable) WriteHeader(status int) {
	switch {
	case a.begun || a.refused:
	case status == http.StatusServiceUnavailable && a.ended():
		a.refused = true
	default:
		a.begun = true
		to := a.ResponseWriter.Header()
		clear(to)
		for key, values := range a.header {
			to[key] = values
		}
		a.ResponseWriter.WriteHeader(status)
	}
}

// Write implements http.ResponseWriter.
func (a *refusable) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	if a.refused {
		return len(p), nil
	}
	return a.ResponseWriter.Write(p)
}

// FlushError is what http.ResponseController calls.
func (a *refusable) FlushError() error {
	a.WriteHeader(http.StatusOK)
	if a.refused {
		return nil
	}
	return http.NewResponseController(a.ResponseWriter).Flush()
}

// Unwrap lets http.ResponseController set deadlines.
func (a *refusable) Unwrap() http.ResponseWriter { return a.ResponseWriter }
