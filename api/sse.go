package api

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"
)

// events writes server-sent events. The header goes out with the first of them, so that a request that fails before is
// answered with a status of its own. It belongs to one goroutine.
type events struct {
	w       http.ResponseWriter
	control *http.ResponseController
	limit   time.Duration // for one event to be taken by the client's side
	buf     bytes.Buffer
	started bool
}

func newEvents(w http.ResponseWriter, limit time.Duration) *events {
	return &events{w: w, control: http.NewResponseController(w), limit: limit}
}

// send writes v as the data of an event.
func (e *events) send(v any) error {
	e.buf.Reset()
	e.buf.WriteString("data: ")
	enc := json.NewEncoder(&e.buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil { // ends with one line feed; the second ends the event
		return err
	}
	e.buf.WriteByte('\n')
	return e.flush()
}

// comment writes a line that clients ignore, so that nobody on the way takes the stream for dead.
func (e *events) comment() error {
	e.buf.Reset()
	e.buf.WriteString(": still working\n\n")
	return e.flush()
}

// done ends a stream that succeeded.
func (e *events) done() {
	e.buf.Reset()
	e.buf.WriteString("data: [DONE]\n\n")
	e.flush()
}

// fail ends a stream that did not.
func (e *events) fail(err *Error) { e.send(err.body()) }

func (e *events) flush() error {
	if !e.started {
		e.started = true
		h := e.w.Header()
		h.Set("Content-Type", "text/event-stream; charset=utf-8")
		h.Set("Cache-Control", "no-cache")
		h.Set("X-Accel-Buffering", "no")
		h.Set("X-Content-Type-Options", "nosniff")
		e.w.WriteHeader(http.StatusOK)
	}
	e.control.SetWriteDeadline(time.Now().Add(e.limit)) // a recorder in a test has none
	if _, err := e.w.Write(e.buf.Bytes()); err != nil {
		return err
	}
	return e.control.Flush()
}

// padding returns up to 32 random letters: with them the sizes of a stream's packets no longer tell the lengths of its tokens.
func padding() string {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
	var b strings.Builder
	for range 1 + rand.IntN(32) {
		b.WriteByte(letters[rand.IntN(len(letters))])
	}
	return b.String()
}
