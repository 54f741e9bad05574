package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"sync"
	"time"

	"polynode/shard"
	"polynode/transport"
	"polynode/web"
)

// front is what clients see, on whichever node they ask: the API of this node while it coordinates, and otherwise that of the coordinator,
// through a connection between nodes.
type front struct {
	log     *slog.Logger
	leader  func() (shard.NodeID, bool)
	self    shard.NodeID
	trouble func() string // why this node has no plan to serve with, if it coordinates; may be nil
	forward http.Handler  // to the coordinator; nil on a node that nobody can join
	closing chan struct{} // closed when this node stops: nothing is worth waiting for
	close   func()        // closes it; more than once, if need be

	mu      sync.Mutex
	service *service
	held    chan struct{} // new work waits until it is closed; nil while none has to
	inside  int           // pieces of work that the service answers
	empty   chan struct{} // closed when there are none; made by hold
}

func newFront(log *slog.Logger, leader func() (shard.NodeID, bool), self shard.NodeID, trouble func() string) *front {
	f := &front{log: log, leader: leader, self: self, trouble: trouble, closing: make(chan struct{})}
	f.close = sync.OnceFunc(func() { close(f.closing) })
	return f
}

// noCoordinator is the answer while nobody coordinates.
const noCoordinator = `{"error":{"message":"The cluster has no coordinator at the moment; try again.","type":"server_error","param":null,"code":"no_coordinator"}}`

// serve lets requests through to a service of this node.
func (f *front) serve(s *service) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.service = s
}

// stop undoes serve.
func (f *front) stop(s *service) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.service == s {
		f.service = nil
	}
}

// serving is the service of this node, nil if there is none.
func (f *front) serving() *service {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.service
}

// hold makes new work wait until release. What it returns is closed when all that was there before has ended.
func (f *front) hold() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.held, f.empty = make(chan struct{}), make(chan struct{})
	if f.inside == 0 {
		close(f.empty)
	}
	return f.empty
}

// release undoes hold. It may be called without one.
func (f *front) release() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.held != nil {
		close(f.held)
		f.held, f.empty = nil, nil
	}
}

// enter is the service that answers a request, and what to call afterwards; or what work has to wait for before.
func (f *front) enter(r *http.Request) (s *service, leave func(), wait <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case r.Method != http.MethodPost: // it looks at something, and never for long
		return f.service, func() {}, nil
	case f.held != nil:
		return nil, nil, f.held
	case f.service == nil:
		return nil, nil, nil
	}
	f.inside++
	return f.service, f.left, nil
}

func (f *front) left() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.inside--
	if f.inside == 0 && f.empty != nil {
		close(f.empty)
		f.empty = nil
	}
}

// Times of a request that comes while nobody serves.
const (
	holdMax   = 5 * time.Second // it waits for a coordinator no longer than this
	holdPause = 20 * time.Millisecond
)

// ServeHTTP answers a client.
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) { f.answer(w, r, f.forward) }

// near answers what another node forwarded, and never forwards it again: two nodes may take each other for the coordinator for a moment.
func (f *front) near() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { f.answer(w, r, nil) })
}

// unavailable answers that nobody serves, and why not if that is known. The page is there all the same: it shows the reason.
func (f *front) unavailable(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet && web.Serves(r.URL.Path) {
		web.Handler().ServeHTTP(w, r)
		return
	}
	leader, _ := f.leader()
	if leader != f.self || f.trouble == nil || f.trouble() == "" {
		unavailable(w, noCoordinator)
		return
	}
	var body apiError
	body.Error.Message = "The cluster has no plan to serve with yet: " + f.trouble() + "."
	body.Error.Type, body.Error.Code = "server_error", "no_plan"
	text, err := json.Marshal(body)
	if err != nil {
		text = []byte(noCoordinator)
	}
	unavailable(w, string(text))
}

// apiError is an error as OpenAI's clients know it.
type apiError struct {
	Error struct {
		Message string  `json:"message"`
		Type    string  `json:"type"`
		Param   *string `json:"param"`
		Code    string  `json:"code"`
	} `json:"error"`
}

func unavailable(w http.ResponseWriter, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Retry-After", "1")
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = w.Write([]byte(body))
}

// newForward makes the way to the coordinator's API.
func newForward(calls *http.Client, log *slog.Logger) http.Handler {
	return &httputil.ReverseProxy{
		Transport:     calls.Transport,
		FlushInterval: -1, // events go on as they come
		ErrorLog:      slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = "http", string(attemptOf(r.In.Context()).leader)
			r.Out.Host = "localhost" // this node has checked the name that the client used
		},
		ModifyResponse: func(r *http.Response) error {
			if r.Header.Get(elsewhere) != "" {
				return errElsewhere
			}
			if ctx := r.Request.Context(); strings.HasPrefix(r.Header.Get("Content-Type"), "text/event-stream") {
				r.Body = &cutStream{ReadCloser: r.Body, deposed: func() bool { return errors.Is(context.Cause(ctx), errDeposed) }}
			}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			a, gone := attemptOf(r.Context()), r.Context().Err() != nil && !errors.Is(context.Cause(r.Context()), errDeposed)
			switch {
			case errors.Is(err, errDial) && !gone:
				a.came = nobody
			case a.again && !gone:
				a.came = passedOn
				log.Info("a request goes to the next coordinator", "coordinator", a.leader, "cause", err)
			default:
				if !gone {
					log.Warn("forward a request to the coordinator", "cause", err)
				}
				unavailable(w, noCoordinator)
			}
		},
	}
}

// attemptOf is the attempt that a request belongs to.
func attemptOf(ctx context.Context) *attempt {
	if a, ok := ctx.Value(attemptKey{}).(*attempt); ok {
		return a
	}
	return &attempt{}
}

// coordinatorGone is the last event of a stream whose coordinator is lost. It begins with the end of an event that may be half there.
const coordinatorGone = "\n\ndata: " + `{"error":{"message":"The coordinator was lost in the middle of the answer; try again.","type":"server_error","param":null,"code":"coordinator_lost"}}` + "\n\n"

// cutStream is a stream of events from the coordinator. When it breaks off, the client is told so.
type cutStream struct {
	io.ReadCloser
	deposed func() bool // whether the coordinator is one no more
	rest    string      // of the last event
	cut     bool
}

// Read implements io.Reader.
func (c *cutStream) Read(p []byte) (int, error) {
	if !c.cut {
		n, err := c.ReadCloser.Read(p)
		if err == nil || errors.Is(err, io.EOF) || errors.Is(err, context.Canceled) && !c.deposed() {
			return n, err
		}
		c.cut, c.rest = true, coordinatorGone
		if n > 0 {
			return n, nil
		}
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	if c.rest == "" {
		return n, io.EOF
	}
	return n, nil
}

// errDial reports a call that reached nobody.
var errDial = errors.New("call a node")

// newCalls makes an HTTP client whose hosts are nodes.
func newCalls(network transport.Network) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			node, _, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			conn, err := network.Dial(ctx, node, transport.ClassCall)
			if err != nil {
				return nil, fmt.Errorf("%w: %w", errDial, err)
			}
			return transport.NewStream(conn), nil
		},
	}}
}

// callListener accepts the calls of other nodes.
type callListener struct {
	network transport.Network
	context context.Context
	stop    context.CancelFunc
}

func newCallListener(ctx context.Context, network transport.Network) *callListener {
	l := &callListener{network: network}
	l.context, l.stop = context.WithCancel(context.WithoutCancel(ctx))
	return l
}

// Accept waits for the next call.
func (l *callListener) Accept() (net.Conn, error) {
	conn, err := l.network.Accept(l.context, transport.ClassCall)
	if err != nil {
		return nil, err
	}
	return transport.NewStream(conn), nil
}

// Close ends Accept.
func (l *callListener) Close() error {
	l.stop()
	return nil
}

// Addr names the listener in logs.
func (l *callListener) Addr() net.Addr { return transport.NodeAddr("calls") }
