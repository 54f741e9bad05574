package node

import (
	"context"
	"errors"
	"slices"
	"time"

	"polynode/shard"
)

// How nodes that come and go are treated.
const (
	flapFirst  = 5 * time.Second // a node that was lost twice waits so long for a place; after each further loss, twice as long
	flapMax    = 5 * time.Minute
	flapForget = 15 * time.Minute // a node that was not lost for so long has a clean slate
)

// settled keeps nodes out of plans for a while that come and go: each change of plan stops everybody. It is pure arithmetic over the times it
// is given, and belongs to one goroutine.
type settled struct {
	here map[shard.NodeID]bool
	lost map[shard.NodeID]losses
}

type losses struct {
	count int
	last  time.Time
}

// look takes note of who is here now, and returns those of them that may have a place. If nobody may, all may.
func (s *settled) look(now time.Time, workers []machine) []machine {
	here := make(map[shard.NodeID]bool, len(workers))
	for _, w := range workers {
		here[w.id] = true
	}
	if s.lost == nil {
		s.lost = map[shard.NodeID]losses{}
	}
	for id := range s.here {
		if !here[id] {
			l := s.lost[id]
			if now.Sub(l.last) > flapForget {
				l.count = 0
			}
			s.lost[id] = losses{l.count + 1, now}
		}
	}
	s.here = here
	steady := slices.DeleteFunc(slices.Clone(workers), func(w machine) bool { return s.waits(w.id, now) > 0 })
	if len(steady) == 0 {
		return workers
	}
	return steady
}

// waits is how long a node has to wait for a place. Who was lost once does not wait: machines are restarted.
func (s *settled) waits(id shard.NodeID, now time.Time) time.Duration {
	l := s.lost[id]
	if l.count < 2 {
		return 0
	}
	wait := flapMax
	if doublings := l.count - 2; doublings < 6 {
		wait = min(flapFirst<<doublings, flapMax)
	}
	return max(wait-now.Sub(l.last), 0)
}

// retryAfter is the pause after so many failures in a row.
func retryAfter(failures int) time.Duration {
	if failures < 1 {
		return replanPause
	}
	return min(retryPause<<min(failures-1, 10), retryMax)
}

// errLost reports that a node of a plan went while the plan was being taken into use.
var errLost = errors.New("a node of the plan was lost")

// whileHere is a context that ends when a node of the plan is lost, so that nobody waits for it, or one of those that are at work meanwhile, so that
// nobody waits for this plan. The caller ends it with stop.
func (n *Node) whileHere(ctx context.Context, plan *shard.Plan, working ...shard.NodeID) (here context.Context, stop func()) {
	if n.member == nil {
		return ctx, func() {}
	}
	here, cancel := context.WithCancelCause(ctx)
	watched := make(chan struct{})
	needed := plan.Nodes()
	for _, id := range working {
		if n.alive(id) {
			needed = append(needed, id)
		}
	}
	go func() {
		defer close(watched)
		for {
			seen := n.member.Members().Changed()
			for _, id := range needed {
				if !n.alive(id) {
					cancel(errLost)
				}
			}
			select {
			case <-seen:
			case <-here.Done():
				return
			}
		}
	}()
	return here, func() {
		cancel(nil)
		<-watched
	}
}
