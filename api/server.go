package api

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"polynode/engine"
	"polynode/tokenizer"
)

// Model is what the server says of the model it serves.
type Model struct {
	ID          string
	Created     time.Time
	OwnedBy     string // "" is "polynode"
	Context     int    // most tokens of prompt and output together
	StopIDs     []int32
	Chat        ChatFormat // "" is ChatPlain
	Digest      string     // of the weights
	Fingerprint string     // system_fingerprint: equal fingerprints give equal answers; "" is made from Digest
	Synthetic   bool       // the weights are random; shown wherever the model is
}

// Limits bound what clients may ask of the server. A zero field takes its default.
type Limits struct {
	Body       int64         // bytes of a request's body: 8 MiB
	Concurrent int           // requests with a body that are served at once: 256
	Read       time.Duration // for a body to arrive: 30 s
	Write      time.Duration // for one event or answer to be taken: 30 s
	KeepAlive  time.Duration // between signs of life of a stream: 10 s
	Fresh      time.Duration // age of the last step above which readiness is probed: 10 s
	Probe      time.Duration // for that probe: 5 s
	First      time.Duration // for the first token, waiting included: 1 h
	Total      time.Duration // for a whole answer: 24 h
}

func (l Limits) withDefaults() Limits {
	set := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	if l.Body <= 0 {
		l.Body = 8 << 20
	}
	if l.Concurrent <= 0 {
		l.Concurrent = 256
	}
	set(&l.Read, 30*time.Second)
	set(&l.Write, 30*time.Second)
	set(&l.KeepAlive, 10*time.Second)
	set(&l.Fresh, 10*time.Second)
	set(&l.Probe, 5*time.Second)
	set(&l.First, time.Hour)
	set(&l.Total, 24*time.Hour)
	return l
}

// Config is what a Server is made of. Engine, Tokenizer and Model are needed; the rest may be left out.
type Config struct {
	Engine    *engine.Engine
	Tokenizer *tokenizer.SentencePiece
	Model     Model

	APIKeys  []string             // any of them opens every route but /, /livez and /readyz; none opens all to everybody
	Hosts    []string             // names besides localhost and addresses that browsers may use when there are no keys
	Origins  []string             // of web pages elsewhere that may use the API, such as "http://localhost:3000"; "*" is all
	Limits   Limits               // zero is the defaults
	Logger   *slog.Logger         // nil logs nothing
	Registry *prometheus.Registry // what /metrics shows; nil makes one
	Status   func() any           // "cluster" in /cluster/v1/status; it must be safe for concurrent use
	Page     http.Handler         // serves / and what lies under it; nil is a 404
}

// Server serves the API. It is an http.Handler, safe for concurrent use.
type Server struct {
	engine    *engine.Engine
	tokenizer *tokenizer.SentencePiece
	model     Model
	limits    Limits
	log       *slog.Logger
	gate      *Gate
	origins   []string
	status    func() any
	metrics   *metrics
	health    health
	handler   http.Handler
	positions int // that the keys and values have room for, in all
	textMax   int // bytes of text that are tokenised for one prompt
	slots     chan struct{}
	draining  atomic.Bool
	now       func() time.Time
}

// New makes a Server. It starts nothing.
func New(c Config) (*Server, error) {
	if c.Engine == nil || c.Tokenizer == nil {
		return nil, fmt.Errorf("make api: engine and tokenizer are needed")
	}
	if c.Model.ID == "" || len(c.Model.ID) > idBytesMax || c.Model.Context < 1 {
		return nil, fmt.Errorf("make api: model %q with a context of %d tokens", c.Model.ID, c.Model.Context)
	}
	if len(c.Model.StopIDs) >= engine.StopsMax {
		return nil, fmt.Errorf("make api: model has %d stop ids, at most %d are possible", len(c.Model.StopIDs), engine.StopsMax-1)
	}
	if c.Model.Chat == "" {
		c.Model.Chat = ChatPlain
	}
	if _, err := ParseChatFormat(string(c.Model.Chat)); err != nil {
		return nil, fmt.Errorf("make api: %w", err)
	}
	if c.Model.OwnedBy == "" {
		c.Model.OwnedBy = "polynode"
	}
	if c.Model.Fingerprint == "" {
		c.Model.Fingerprint = "fp_" + shortDigest(c.Model.Digest)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		engine: c.Engine, tokenizer: c.Tokenizer, model: c.Model, limits: c.Limits.withDefaults(), log: c.Logger,
		gate: NewGate(c.APIKeys, c.Hosts), origins: c.Origins, status: c.Status, now: time.Now,
	}
	s.positions = (s.engine.Config().Blocks - 1) * engine.BlockTokens // one block is the engine's own
	s.slots = make(chan struct{}, s.limits.Concurrent)
	// A text of more bytes than this cannot fit unless its spaces are trimmed away; it is refused before the work of cutting it.
	s.textMax = max(1<<16, 2*s.model.Context*longestToken(s.tokenizer))
	var err error
	if s.metrics, err = newMetrics(c.Registry, s.engine, s.model); err != nil {
		return nil, fmt.Errorf("make api: register metrics: %w", err)
	}
	s.handler = s.routes(c.Page)
	return s, nil
}

// shortDigest keeps as much of a digest as a fingerprint needs.
func shortDigest(digest string) string {
	_, hex, found := strings.Cut(digest, ":")
	if !found {
		hex = digest
	}
	return hex[:min(len(hex), 16)]
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Drain makes the server refuse new generations with 503 and say that it is not ready, while those under way go on.
func (s *Server) Drain() { s.draining.Store(true) }

// Resume undoes Drain.
func (s *Server) Resume() { s.draining.Store(false) }

// Draining reports whether the server refuses new generations.
func (s *Server) Draining() bool { return s.draining.Load() }

// routes lays out the paths. Labels in metrics are these constants.
func (s *Server) routes(page http.Handler) http.Handler {
	mux := http.NewServeMux()
	add := func(pattern, method string, h http.HandlerFunc, private bool) {
		mux.Handle(pattern, s.route(pattern, method, h, private))
	}
	add("/v1/completions", http.MethodPost, s.generating(s.completions), true)
	add("/v1/chat/completions", http.MethodPost, s.generating(s.chat), true)
	add("/v1/models", http.MethodGet, s.listModels, true)
	add("/v1/models/{id...}", http.MethodGet, s.showModel, true)
	add("/tokenize", http.MethodPost, s.limited(s.tokenize), true)
	add("/detokenize", http.MethodPost, s.limited(s.detokenize), true)
	add("/cluster/v1/status", http.MethodGet, s.showStatus, true)
	add("/metrics", http.MethodGet, s.metrics.handler.ServeHTTP, true)
	add("/livez", http.MethodGet, s.livez, false)
	add("/readyz", http.MethodGet, s.readyz, false)
	add("/v1/", "", s.unknownPath, true)
	add("/cluster/", "", s.unknownPath, true)
	if page == nil {
		page = http.HandlerFunc(s.unknownPath)
	}
	add("/", http.MethodGet, page.ServeHTTP, false)
	return s.outermost(mux)
}

func (s *Server) unknownPath(w http.ResponseWriter, r *http.Request) {
	s.fail(w, r, &Error{
		Status: http.StatusNotFound, Message: "Unknown request URL. The routes are listed in the documentation.",
		Type: "invalid_request_error", Code: "unknown_url",
	})
}

// generating lets a generation through while there is room and the server is not draining.
func (s *Server) generating(next http.HandlerFunc) http.HandlerFunc {
	return s.limited(func(w http.ResponseWriter, r *http.Request) {
		if s.draining.Load() {
			s.fail(w, r, draining())
			return
		}
		next(w, r)
	})
}

// limited bounds the requests with a body that are served at once, and so the memory they hold.
func (s *Server) limited(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case s.slots <- struct{}{}:
			defer func() { <-s.slots }()
			next(w, r)
		default:
			s.fail(w, r, overloaded(s.engine.RetryAfter()))
		}
	}
}

// fail answers with an error, unless the client is gone. net/http takes a body that is too slow for a client that left, so that
// error is written anyway.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, e *Error) {
	if r.Context().Err() == context.Canceled && e.Status != http.StatusRequestTimeout {
		note(w, statusClientGone)
		return
	}
	s.extendDeadline(w)
	writeError(w, e)
}

// extendDeadline gives the client the usual time to take an answer.
func (s *Server) extendDeadline(w http.ResponseWriter) {
	http.NewResponseController(w).SetWriteDeadline(time.Now().Add(s.limits.Write)) // a recorder in a test has none
}

// newID returns 26 random letters and digits.
func newID() string {
	var b [16]byte
	rand.Read(b[:])
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b[:]))
}
