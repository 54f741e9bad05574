package node

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"polynode/shard"
)

// Limits of passing a request on to the next coordinator.
const (
	passMax    = time.Minute            // in which a request is given to one coordinator after another
	passPause  = 100 * time.Millisecond // between two attempts while a coordinator hands its duties over
	deposedFor = 100 * time.Millisecond // between two looks at who coordinates, while another node answers
)

// elsewhere is the header with which a coordinator that ends says that the next one should have this request. Only nodes see it.
const elsewhere = "Polynode-Elsewhere"

// Why a request that another node answers is taken back.
var (
	errElsewhere = errors.New("the coordinator hands its duties over")
	errDeposed   = errors.New("another node coordinates now")
)

// answer has a request answered by the coordinator. While there is none, requests for work wait for one; others, such as probes, are told. A
// request whose coordinator is lost before anything of its answer was seen is given to the next one.
func (f *front) answer(w http.ResponseWriter, r *http.Request, forward http.Handler) {
	rewind, again := func() {}, false
	if f.forward != nil {
		rewind, again = replayable(r)
	}
	patience, last := time.NewTimer(holdMax), time.NewTimer(passMax)
	defer patience.Stop()
	defer last.Stop()
	for {
		rewind()
		outcome := f.attempt(w, r, forward, again)
		if outcome == answered {
			return
		}
		if r.Method != http.MethodPost || f.forward == nil {
			f.unavailable(w, r)
			return
		}
		pause := holdPause
		switch outcome {
		case passedOn:
			pause = passPause
			patience.Reset(holdMax) // somebody was there a moment ago
		case waited:
			patience.Reset(holdMax)
			last.Reset(passMax)
		}
		select {
		case <-time.After(pause):
		case <-patience.C:
			f.unavailable(w, r)
			return
		case <-last.C:
			f.unavailable(w, r)
			return
		case <-f.closing:
			f.unavailable(w, r)
			return
		case <-r.Context().Done():
			return
		}
	}
}

// outcome is what came of one attempt to have a request answered.
type outcome int

const (
	answered outcome = iota // the client has something
	nobody                  // there was nobody to ask
	passedOn                // who was asked ends: the next coordinator should have it
	waited                  // who is here could not take it, and may now
)

// attempt has a request answered by who coordinates now, as far as this node knows. again tells that it may be asked of another one afterwards.
func (f *front) attempt(w http.ResponseWriter, r *http.Request, forward http.Handler, again bool) outcome {
	s, leave, held := f.enter(r)
	if held != nil { // for as long as the longest answer may take, as any work may have to wait for another
		select {
		case <-held:
		case <-f.closing:
		case <-r.Context().Done():
		}
		return waited
	}
	if s != nil {
		defer leave()
		return f.serveHere(s, w, r, forward, again)
	}
	if leader, known := f.leader(); known && leader != f.self && forward != nil {
		return f.try(forward, w, r, leader, again)
	}
	return nobody
}

// serveHere has a service of this node answer.
func (f *front) serveHere(s *service, w http.ResponseWriter, r *http.Request, forward http.Handler, again bool) outcome {
	if !again {
		s.api.ServeHTTP(w, r)
		return answered
	}
	kept := keep(w, func() bool { return (s.api.Draining() || f.serving() != s) && (forward == nil || !f.closed()) })
	s.api.ServeHTTP(kept, r)
	switch {
	case !kept.refused:
		return answered
	case forward == nil: // the node that asked knows who else to ask
		w.Header().Set(elsewhere, "1")
		f.unavailable(w, r)
		return answered
	}
	return passedOn
}

// closed reports whether this node stops.
func (f *front) closed() bool {
	select {
	case <-f.closing:
		return true
	default:
		return false
	}
}

// attempt is one attempt to forward a request; it travels with the request's context.
type attempt struct {
	leader shard.NodeID
	again  bool // it may be asked of another node if nothing of an answer was seen
	came   outcome
}

type attemptKey struct{}

// try forwards a request to the node that coordinates. Unless it was answered, nothing was written of an answer; and if another attempt is not
// possible, nothing was read of the request.
func (f *front) try(forward http.Handler, w http.ResponseWriter, r *http.Request, leader shard.NodeID, again bool) outcome {
	ctx, stop := f.whileLeads(r.Context(), string(leader))
	defer stop()
	a := &attempt{leader: leader, again: again}
	out := r.WithContext(context.WithValue(ctx, attemptKey{}, a))
	out.Body = struct {
		io.Reader
		io.Closer
	}{r.Body, io.NopCloser(nil)} // stays open for another attempt
	forward.ServeHTTP(w, out)
	return a.came
}

// whileLeads is a context that ends with errDeposed when another node than leader coordinates: what leader still answers ends soon, and it may
// not be able to say so.
func (f *front) whileLeads(ctx context.Context, leader string) (leads context.Context, stop func()) {
	leads, cancel := context.WithCancelCause(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		ticker := time.NewTicker(deposedFor)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				if now, known := f.leader(); known && string(now) != leader {
					cancel(errDeposed)
				}
			case <-leads.Done():
				return
			}
		}
	}()
	return leads, func() {
		cancel(nil)
		<-watched
	}
}
