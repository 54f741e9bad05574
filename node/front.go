package node

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"sync"

	"polynode/shard"
	"polynode/transport"
)

// front is what clients see, on whichever node they ask: the API of this node while it coordinates, and otherwise that of the coordinator,
// through a connection between nodes.
type front struct {
	log      *slog.Logger
	leader   func() (shard.NodeID, bool)
	self     shard.NodeID
	forward  http.Handler
	internal http.Handler // what nodes ask each other

	mu      sync.Mutex
	service *service
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

// ServeHTTP implements http.Handler.
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s := f.serving(); s != nil {
		s.api.ServeHTTP(w, r)
		return
	}
	if leader, known := f.leader(); known && leader != f.self && f.forward != nil {
		f.forward.ServeHTTP(w, r)
		return
	}
	unavailable(w)
}

func unavailable(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Retry-After", "1")
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = w.Write([]byte(noCoordinator))
}

// newForward makes the way to the coordinator's API.
func newForward(calls *http.Client, leader func() (shard.NodeID, bool), log *slog.Logger) http.Handler {
	return &httputil.ReverseProxy{
		Transport:     calls.Transport,
		FlushInterval: -1, // events go on as they come
		ErrorLog:      slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		Rewrite: func(r *httputil.ProxyRequest) {
			node, _ := leader()
			r.Out.URL.Scheme, r.Out.URL.Host = "http", string(node)
			r.Out.Host = "localhost" // this node has checked the name that the client used
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if !errors.Is(err, context.Canceled) {
				log.Warn("forward a request to the coordinator", "cause", err)
			}
			unavailable(w)
		},
	}
}

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
				return nil, err
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
