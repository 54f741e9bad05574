package api

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// Limits of a connection.
const (
	headerBytesMax   = 64 << 10
	headerTimeout    = 5 * time.Second
	idleTimeout      = 2 * time.Minute
	requestIDMax     = 64
	statusClientGone = 499 // nginx's word for a client that left before its answer; only metrics and logs see it
)

// NewHTTPServer returns a server for the handler with every limit that net/http can set: 5 s for a header of at most 64 KiB,
// 2 minutes for an idle connection. Bodies and answers have deadlines of their own, set by Server, because a stream may be long.
func NewHTTPServer(addr string, handler http.Handler, log *slog.Logger) *http.Server {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &http.Server{
		Addr: addr, Handler: handler,
		ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: headerBytesMax,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// recorder remembers the status of an answer.
type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach deadlines and flushing.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// note sets the status that metrics and logs see when no answer is written.
func note(w http.ResponseWriter, status int) {
	if r, ok := w.(*recorder); ok && r.status == 0 {
		r.status = status
	}
}

// outermost names every request and survives a panic in a handler.
func (s *Server) outermost(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get("X-Request-Id")
		if !plainID(id) {
			id = newID()
		}
		w.Header().Set("X-Request-Id", id)
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			if v == http.ErrAbortHandler {
				panic(v)
			}
			s.log.Error("request panicked", "request", id, "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
			panic(http.ErrAbortHandler) // the answer may be half written: end the connection
		}()
		if s.shareWith(w, r) {
			return
		}
		next.ServeHTTP(w, r)
	})
}

// shareWith lets web pages of the configured origins read answers (CORS), and tells whether the request was only a question
// about that.
func (s *Server) shareWith(w http.ResponseWriter, r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" || len(s.origins) == 0 {
		return false
	}
	h := w.Header()
	h.Add("Vary", "Origin")
	if !slices.Contains(s.origins, origin) && !slices.Contains(s.origins, "*") {
		return false
	}
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Expose-Headers", "X-Request-Id, Retry-After, Retry-After-Ms")
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	h.Set("Access-Control-Allow-Methods", "GET, POST")
	if wanted := r.Header.Get("Access-Control-Request-Headers"); wanted != "" {
		h.Set("Access-Control-Allow-Headers", wanted) // SDKs add headers of their own
	}
	h.Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
	return true
}

// plainID tells whether a client's request id can be used as it is.
func plainID(id string) bool {
	if id == "" || len(id) > requestIDMax {
		return false
	}
	return strings.IndexFunc(id, func(c rune) bool {
		return !(c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c == '-' || c == '_' || c == '.')
	}) < 0
}

// route guards one path: its method, its key, and its place in the metrics.
func (s *Server) route(pattern, method string, next http.HandlerFunc, private bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec, begun := &recorder{ResponseWriter: w}, s.now()
		s.extendDeadline(rec) // streams and long answers do so again
		defer func() {
			if rec.status == 0 {
				rec.status = statusClientGone
			}
			took := s.now().Sub(begun)
			s.metrics.answered(pattern, rec.status, took)
			s.log.Debug("request", "request", w.Header().Get("X-Request-Id"), "route", pattern, "status", rec.status, "took", took)
		}()
		if err := s.guard(r, method, private); err != nil {
			if err.Status == http.StatusUnauthorized {
				w.Header().Set("WWW-Authenticate", "Bearer")
			}
			if err.Status == http.StatusMethodNotAllowed {
				w.Header().Set("Allow", method)
			}
			s.fail(rec, r, err)
			return
		}
		next(rec, r)
	})
}

// guard checks who asks and how, before anything of the body is read.
func (s *Server) guard(r *http.Request, method string, private bool) *Error {
	if err := s.gate.check(r, private); err != nil {
		return err
	}
	if method != "" && r.Method != method && !(method == http.MethodGet && r.Method == http.MethodHead) {
		return &Error{
			Status: http.StatusMethodNotAllowed, Message: fmt.Sprintf("Not allowed here: use %s.", method),
			Type: "invalid_request_error", Code: "method_not_allowed",
		}
	}
	return nil
}

// readFields reads a request's body as one JSON object, and checks the model it names.
func (s *Server) readFields(w http.ResponseWriter, r *http.Request) (*fields, *Error) {
	body, err := s.readBody(w, r)
	if err != nil {
		return nil, err
	}
	o, err := parseObject(body)
	if err != nil {
		return nil, err
	}
	f := &fields{members: o}
	if id := f.text("model", s.model.ID, idBytesMax); f.err == nil && id != s.model.ID {
		return nil, modelNotFound(id)
	}
	return f, f.err
}

// readBody reads the whole body, within its limits of size and time. Only JSON is taken: a web page elsewhere can send other
// types without asking, and JSON it cannot.
func (s *Server) readBody(w http.ResponseWriter, r *http.Request) ([]byte, *Error) {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return nil, &Error{
			Status: http.StatusUnsupportedMediaType, Message: "Unsupported media type: only 'application/json' is allowed.",
			Type: "invalid_request_error", Code: "unsupported_media_type",
		}
	}
	if e := r.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		return nil, &Error{
			Status: http.StatusUnsupportedMediaType, Message: "Unsupported content encoding: send the body as it is.",
			Type: "invalid_request_error", Code: "unsupported_content_encoding",
		}
	}
	tooBig := &Error{
		Status: http.StatusRequestEntityTooLarge, Message: fmt.Sprintf("The body is larger than %d bytes.", s.limits.Body),
		Type: "invalid_request_error", Code: "request_too_large",
	}
	if r.ContentLength > s.limits.Body {
		return nil, tooBig
	}
	control := http.NewResponseController(w)
	control.SetReadDeadline(time.Now().Add(s.limits.Read)) // a recorder in a test has none
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, s.limits.Body))
	if err == nil {
		// The deadline must go: net/http keeps reading to notice a client that leaves, and would take its end for that.
		control.SetReadDeadline(time.Time{})
		return body, nil
	}
	w.Header().Set("Connection", "close") // what is left of the body is not waited for
	var big *http.MaxBytesError
	switch {
	case errors.As(err, &big):
		return nil, tooBig
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, &Error{
			Status: http.StatusRequestTimeout, Message: "The body did not arrive in time.",
			Type: "invalid_request_error", Code: "request_timeout",
		}
	}
	return nil, invalid("", "unreadable_body", "The body could not be read.")
}
