package api

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// health remembers the last probe, so that many who ask cost one.
type health struct {
	mu    sync.Mutex // held during a probe
	until time.Time  // the last verdict holds until then
	err   error
}

// failedFor is how long a failed probe is believed, so that impatient callers do not add load to a sick engine.
const failedFor = time.Second

// readiness is the answer of /readyz.
type readiness struct {
	Ready   bool     `json:"ready"`
	Reasons []string `json:"reasons"` // why not
	LastAge float64  `json:"seconds_since_last_step"`
	Waiting int      `json:"requests_waiting"`
	Running int      `json:"requests_running"`
}

// livez says that the process answers, and nothing of the model.
func (s *Server) livez(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, http.StatusOK, map[string]bool{"live": true})
}

// readyz says whether a real token went through the current plan a short time ago. When none did, because nobody asked for
// any, it sends one.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	answer := readiness{Reasons: []string{}}
	if s.draining.Load() {
		answer.Reasons = append(answer.Reasons, "draining: the server is shutting down")
	} else if err := s.fresh(r.Context()); err != nil {
		answer.Reasons = append(answer.Reasons, "no token passes through the plan: "+err.Error())
	}
	stats := s.engine.Stats()
	answer.Ready = len(answer.Reasons) == 0
	answer.Waiting, answer.Running = stats.Waiting, stats.Running
	if !stats.LastStep.IsZero() {
		answer.LastAge = s.now().Sub(stats.LastStep).Seconds()
	}
	status := http.StatusOK
	if !answer.Ready {
		w.Header().Set("Retry-After", "1")
		status = http.StatusServiceUnavailable
	}
	writeJSON(w, status, answer)
}

// fresh returns nil when a step succeeded within limits.Fresh, or a probe does now.
func (s *Server) fresh(ctx context.Context) error {
	if s.stepped() {
		return nil
	}
	h := &s.health
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.stepped() || s.now().Before(h.until) {
		if s.stepped() {
			return nil
		}
		return h.err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.limits.Probe)
	defer cancel()
	if h.err = s.engine.Probe(ctx); h.err != nil {
		h.until = s.now().Add(failedFor)
	}
	return h.err
}

// stepped tells whether the last good step is young enough.
func (s *Server) stepped() bool {
	last := s.engine.Stats().LastStep
	return !last.IsZero() && s.now().Sub(last) < s.limits.Fresh
}

// clusterStatus is the answer of /cluster/v1/status.
type clusterStatus struct {
	Model   modelCard   `json:"model"`
	Engine  engineStats `json:"engine"`
	Drain   bool        `json:"draining"`
	Cluster any         `json:"cluster"`
}

func (s *Server) showStatus(w http.ResponseWriter, r *http.Request) {
	c := clusterStatus{Model: s.card(), Engine: statsOf(s.engine.Stats()), Drain: s.draining.Load()}
	if s.status != nil {
		c.Cluster = s.status()
	}
	writeJSON(w, http.StatusOK, c)
}
