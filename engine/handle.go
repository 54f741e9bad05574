package engine

import (
	"context"
	"io"
	"sync"
)

// Handle is the caller's end of an accepted request. Whoever does not read it to its end must call Cancel.
//
// The engine never waits for a reader: events queue up, at most one for each token that the request may have.
type Handle struct {
	id     string
	job    *job
	engine *Engine
	ready  chan struct{} // holds one if there is something to see

	mu      sync.Mutex
	events  []Event // from head on
	head    int
	dropped uint32 // choices that the caller ended, one bit each
	err     error  // why there will be no more events; nil as long as there may be
	usage   Usage
}

// Usage is what a request has taken.
type Usage struct {
	Prompt int // tokens
	Cached int // of these, the ones whose keys and values were there already
	Output int // tokens told, of all choices
}

func newHandle(e *Engine, r *Request) *Handle {
	return &Handle{id: r.ID, engine: e, ready: make(chan struct{}, 1), usage: Usage{Prompt: len(r.Prompt)}}
}

// ID is the request's.
func (h *Handle) ID() string { return h.id }

// Usage is what the request has taken so far. After io.EOF it is final.
func (h *Handle) Usage() Usage {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.usage
}

// Next returns the next event and waits for it if need be. After the last one the error is io.EOF. If the request failed it
// wraps ErrStep, ErrClosed or ErrCancelled; events from before a failure come first, but after Cancel there are none. If ctx
// ends the error is that of ctx and the request goes on.
func (h *Handle) Next(ctx context.Context) (Event, error) {
	for {
		e, ok, err := h.poll()
		if ok || err != nil {
			return e, err
		}
		select {
		case <-h.ready:
		case <-ctx.Done():
			return Event{}, ctx.Err()
		}
	}
}

// poll takes the next event if there is one.
func (h *Handle) poll() (e Event, ok bool, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.head < len(h.events) {
		e = h.events[h.head]
		h.events[h.head] = Event{}
		h.head++
		if h.dropped>>e.Choice&1 == 0 || e.Prompt != nil {
			return e, true, nil
		}
	}
	h.events, h.head = h.events[:0], 0
	return Event{}, false, h.err
}

// Finish ends a choice: the caller has seen enough of it, because of a stop string perhaps. No more of its events are returned,
// not even the last. When all choices have ended, Next returns io.EOF. Choices of a request with best_of or beams are only told
// when all have ended, so there Finish just stops them from being returned.
func (h *Handle) Finish(choice int) {
	if choice < 0 || choice >= ChoicesMax {
		return
	}
	h.mu.Lock()
	over := h.err != nil || h.dropped>>choice&1 != 0
	h.dropped |= 1 << choice
	h.mu.Unlock()
	if !over {
		h.engine.order(command{h.job, choice})
	}
}

// Cancel ends the request; events that were not read are lost. Its blocks are free before another step is scheduled. After the
// end it does nothing more than that.
func (h *Handle) Cancel() {
	h.mu.Lock()
	over := h.err != nil
	if !over {
		h.err = ErrCancelled
	}
	h.events, h.head = nil, 0
	h.mu.Unlock()
	if over {
		return
	}
	h.wake()
	h.engine.order(command{h.job, cancelAll})
}

// begin says that the request runs, and how many positions of its prompt the cache had.
func (h *Handle) begin(cached int) {
	h.mu.Lock()
	h.usage.Cached = cached
	h.mu.Unlock()
}

// push adds an event.
func (h *Handle) push(e Event) {
	h.mu.Lock()
	if h.err == nil {
		if len(h.events) == cap(h.events) && h.head > 0 {
			n := copy(h.events, h.events[h.head:])
			clear(h.events[n:])
			h.events, h.head = h.events[:n], 0
		}
		h.events = append(h.events, e)
		if e.Token >= 0 {
			h.usage.Output++
		}
	}
	h.mu.Unlock()
	h.wake()
}

// close says that there will be no more events.
func (h *Handle) close(err error) {
	if err == nil {
		err = io.EOF
	}
	h.mu.Lock()
	if h.err == nil {
		h.err = err
	}
	h.mu.Unlock()
	h.wake()
}

func (h *Handle) wake() {
	select {
	case h.ready <- struct{}{}:
	default:
	}
}
