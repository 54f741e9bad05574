package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"polynode/engine/worker"
	"polynode/shard"
)

// progressPath is where a node says what its rank does.
const progressPath = "/node/v1/progress"

// Times of questions.
const (
	askPatience = 500 * time.Millisecond // a machine that cannot say a word for so long while others wait for it counts as dead
	askPause    = 50 * time.Millisecond  // after an answer that came at once and was none
	quarantine  = 10 * time.Second       // for who answers and was to blame all the same
)

// inquire asks nodes what their ranks do. See inquirer.
func (n *Node) inquire(ctx context.Context, nodes []shard.NodeID) map[shard.NodeID]worker.Progress {
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	var mu sync.Mutex
	accounts := map[shard.NodeID]worker.Progress{}
	var asking sync.WaitGroup
	for _, id := range nodes {
		asking.Go(func() {
			account, err := n.progressOf(ctx, id)
			if err != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			accounts[id] = account
		})
	}
	asking.Wait()
	return accounts
}

// progressOf asks one node until it answers or ctx ends: the first word may go over a connection to where it was before.
func (n *Node) progressOf(ctx context.Context, id shard.NodeID) (account worker.Progress, err error) {
	if id == n.self {
		return n.rank.Progress(), nil
	}
	for {
		if account, err = n.askProgress(ctx, id); err == nil || ctx.Err() != nil {
			return account, err
		}
		select {
		case <-time.After(askPause):
		case <-ctx.Done():
		}
	}
}

func (n *Node) askProgress(ctx context.Context, id shard.NodeID) (account worker.Progress, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+string(id)+progressPath, http.NoBody)
	if err != nil {
		return account, err
	}
	response, err := n.calls.Do(request)
	if err != nil {
		return account, fmt.Errorf("ask node %s: %w", id, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return account, fmt.Errorf("ask node %s: %w: %s", id, errRefused, response.Status)
	}
	return account, json.NewDecoder(io.LimitReader(response.Body, askMax)).Decode(&account)
}

// serveProgress answers another node.
func (n *Node) serveProgress(w http.ResponseWriter, _ *http.Request) {
	_ = json.NewEncoder(w).Encode(n.rank.Progress())
}

// suspects are nodes that have no place although gossip sees them: steps failed because of them. They come back when they answer. Its methods may be
// called from any goroutine.
type suspects struct {
	mu   sync.Mutex
	list map[shard.NodeID]time.Time // until when they have no place, answer or not
	back chan struct{}              // holds the news that one has come back
}

func newSuspects() *suspects {
	return &suspects{list: map[shard.NodeID]time.Time{}, back: make(chan struct{}, 1)}
}

// add takes nodes out of the plans to come, at least until a time.
func (s *suspects) add(nodes []shard.NodeID, until time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range nodes {
		s.list[id] = until
	}
}

// without are the workers that are not suspected.
func (s *suspects) without(workers []machine) []machine {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(workers), func(w machine) bool {
		_, suspected := s.list[w.id]
		return suspected
	})
}

// due are those that may come back if they answer.
func (s *suspects) due(now time.Time) []shard.NodeID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Sorted(maps.Keys(s.list)), func(id shard.NodeID) bool { return now.Before(s.list[id]) })
}

// clear takes back what was said against nodes.
func (s *suspects) clear(nodes []shard.NodeID) {
	if len(nodes) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range nodes {
		delete(s.list, id)
	}
	select {
	case s.back <- struct{}{}:
	default: // the news is there already
	}
}

// tendSuspects asks suspects until they answer, or ctx ends.
func (n *Node) tendSuspects(ctx context.Context, s *suspects) {
	ticker := time.NewTicker(lookAgain)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		var asked []shard.NodeID
		for _, id := range s.due(time.Now()) {
			if _, known := n.cluster.State().Nodes[id]; !known {
				s.clear([]shard.NodeID{id}) // it was removed
			} else if n.alive(id) {
				asked = append(asked, id)
			}
		}
		if len(asked) > 0 {
			s.clear(slices.Sorted(maps.Keys(n.inquire(ctx, asked))))
		}
	}
}

// blame finds out which nodes a step, or a plan, failed for, and leaves them out of the next one. Who gossip has lost is left out anyway.
func (c *coordinator) blame(ctx context.Context, plan *shard.Plan, cause error) {
	n := c.node
	if plan == nil || n.member == nil || slices.ContainsFunc(plan.Nodes(), func(id shard.NodeID) bool { return !n.alive(id) }) {
		return
	}
	var v verdict
	if late := new(lateError); errors.As(cause, &late) {
		v = verdict{nodes: late.nodes, why: late.why}
	} else {
		v = autopsy(n.self, plan.Nodes(), n.inquire(context.WithoutCancel(ctx), plan.Nodes())) // also of a plan that was given up
	}
	if len(v.nodes) == 0 {
		return
	}
	until := time.Now()
	if v.why != silentWhy {
		until = until.Add(quarantine)
	}
	c.suspects.add(v.nodes, until)
	n.log.Warn("a node has no place until it answers again", "node", names(v.nodes), "cause", v.why)
}

// names lists nodes for people.
func names(nodes []shard.NodeID) string {
	words := make([]string, len(nodes))
	for i, id := range nodes {
		words[i] = string(id)
	}
	return strings.Join(words, ", ")
}
