package node

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// answerGrace is how long answers that have ended may take to reach their clients when a node stops.
const answerGrace = 3 * time.Second

// flights counts the requests that are being answered.
type flights struct {
	mu    sync.Mutex
	count int
	none  chan struct{} // closed when the count comes to 0; made by wait
}

// watch counts the requests that go through to next.
func (f *flights) watch(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		f.count++
		f.mu.Unlock()
		defer f.landed()
		next.ServeHTTP(w, r)
	})
}

func (f *flights) landed() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count--
	if f.count == 0 && f.none != nil {
		close(f.none)
		f.none = nil
	}
}

// wait returns nil when nothing is being answered, or the error of ctx.
func (f *flights) wait(ctx context.Context) error {
	f.mu.Lock()
	if f.count == 0 {
		f.mu.Unlock()
		return nil
	}
	if f.none == nil {
		f.none = make(chan struct{})
	}
	none := f.none
	f.mu.Unlock()
	select {
	case <-none:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// drain refuses new generations and gives those under way until ctx ends. The ports stay open meanwhile, so that whoever asks is
// told. What is left then fails, which its clients see.
func (n *Node) drain(ctx context.Context) {
	s := n.serving()
	if s == nil {
		return
	}
	s.api.Drain()
	if n.flights.wait(ctx) != nil {
		stats := s.engine.Stats()
		n.log.Warn("requests fail because the node stops", "running", stats.Running, "waiting", stats.Waiting)
	}
}

// shutHTTP closes the ports and lets clients take the ends of their answers.
func (n *Node) shutHTTP(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerGrace)
	defer cancel()
	if err := n.http.Shutdown(ctx); err != nil {
		n.log.Warn("connections were cut off", "cause", err)
		return n.http.Close()
	}
	return nil
}
