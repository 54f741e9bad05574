package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"polynode/cluster/member"
	"polynode/cluster/trust"
	"polynode/shard"
)

// rootPath is where a coordinator hands the cluster's root to a node that votes.
const rootPath = "/node/v1/root"

// Limits of what nodes ask each other.
const (
	askWait   = 5 * time.Second // for a question that is answered at once
	askMax    = 64 << 10        // bytes of an answer
	tendPause = time.Second     // between two looks at the other nodes
)

// tend does a coordinator's duties to the other nodes, beside planning, until ctx ends.
func (n *Node) tend(ctx context.Context) {
	if n.member == nil {
		return
	}
	t := tender{node: n, rooted: map[rooted]bool{}}
	ticker := time.NewTicker(tendPause)
	defer ticker.Stop()
	for {
		changed, seen := n.cluster.Changed(), n.member.Members().Changed()
		t.shareRoots(ctx)
		t.changeRoot(ctx)
		select {
		case <-ticker.C:
		case <-changed:
		case <-seen:
		case <-ctx.Done():
			return
		}
	}
}

// tender is one term of it.
type tender struct {
	node      *Node
	rooted    map[rooted]bool // who was given which root in this term
	complaint string          // that was logged last
}

// rooted is a node and a root.
type rooted struct {
	node shard.NodeID
	root trust.Fingerprint
}

// shareRoots gives the cluster's roots to all that vote: each of them may be the next coordinator, who lets machines in. What this node lacks
// itself, because it came to coordinate before it was given it, it asks for.
func (t *tender) shareRoots(ctx context.Context) {
	n := t.node
	voters, err := n.cluster.Voters()
	if err != nil {
		return
	}
	votes := map[shard.NodeID]bool{n.self: true}
	for _, id := range voters {
		votes[id] = true
	}
	for to := range t.rooted {
		if !votes[to.node] {
			delete(t.rooted, to) // it removes its copy, and may vote again
		}
	}
	for _, print := range n.member.Roots() {
		root, lacks := n.member.RootOf(print)
		if errors.Is(lacks, member.ErrNoRoot) {
			root, lacks = n.fetchRoot(ctx, voters, print)
		}
		err = errors.Join(err, lacks)
		for _, id := range voters {
			if lacks != nil || id == n.self || t.rooted[rooted{id, print}] || !n.alive(id) {
				continue
			}
			if failed := n.giveRoot(ctx, id, root); failed != nil {
				err = errors.Join(err, failed)
				continue
			}
			t.rooted[rooted{id, print}] = true
		}
	}
	t.complain("hand the cluster's root to the nodes that vote", err)
}

// complain says once what cannot be done.
func (t *tender) complain(what string, err error) {
	switch {
	case err == nil:
		t.complaint = ""
	case t.complaint != err.Error():
		t.complaint = err.Error()
		t.node.log.Info(what+": tried again", "cause", err)
	}
}

func (n *Node) giveRoot(ctx context.Context, id shard.NodeID, root []byte) error {
	ctx, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	_, err := n.ask(ctx, id, rootPath, root)
	return err
}

// serveRoot takes the root from the coordinator.
func (n *Node) serveRoot(w http.ResponseWriter, r *http.Request) {
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, askMax))
	if err == nil {
		err = n.member.KeepRoot(caller(r), data)
	}
	switch {
	case err == nil:
		w.WriteHeader(http.StatusNoContent)
	case errors.Is(err, member.ErrStranger):
		http.Error(w, err.Error(), http.StatusForbidden)
	default:
		http.Error(w, err.Error(), http.StatusConflict)
	}
}

// caller is the node that asks. The network has checked that it is that.
func caller(r *http.Request) shard.NodeID { return shard.NodeID(r.RemoteAddr) }

// errRefused reports a node that did not do what it was asked. The text has that node's own words.
var errRefused = errors.New("refused")

// ask has another node answer a question of this one.
func (n *Node) ask(ctx context.Context, node shard.NodeID, path string, body []byte) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+string(node)+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	response, err := n.calls.Do(request)
	if err != nil {
		return nil, fmt.Errorf("ask node %s: %w", node, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, askMax))
	if err == nil && response.StatusCode/100 != 2 {
		err = fmt.Errorf("node %s: %w: %s", node, errRefused, bytes.TrimSpace(text))
	}
	return text, err
}

// renewPath is where a node gets its next certificate from the coordinator.
const renewPath = "/node/v1/renew"

// renewPause is the time between two looks at this node's certificate.
const renewPause = time.Minute

// renew gets a new certificate for this node in time, until ctx ends.
func (n *Node) renew(ctx context.Context) {
	ticker := time.NewTicker(renewPause)
	defer ticker.Stop()
	for {
		if err := n.renewIfDue(ctx, time.Now()); err != nil && ctx.Err() == nil {
			n.log.Warn("renew this node's certificate: tried again in a minute", "cause", err)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

func (n *Node) renewIfDue(ctx context.Context, now time.Time) error {
	if now.Before(n.member.RenewAt()) {
		return nil
	}
	leader, known := n.cluster.Leader()
	if !known {
		return trust.ErrUnavailable
	}
	return n.renewNow(ctx, leader)
}

// renewNow gets a new certificate for this node from the coordinator.
func (n *Node) renewNow(ctx context.Context, leader shard.NodeID) error {
	request, err := n.member.RenewalRequest()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	var certificate []byte
	if leader == n.self {
		certificate, err = n.member.Renew(ctx, n.self, request)
	} else {
		certificate, err = n.ask(ctx, leader, renewPath, request)
	}
	if err != nil {
		return err
	}
	return n.member.Present(certificate)
}

// serveRenew gives another node its next certificate.
func (n *Node) serveRenew(w http.ResponseWriter, r *http.Request) {
	request, err := io.ReadAll(http.MaxBytesReader(w, r.Body, askMax))
	var certificate []byte
	if err == nil {
		certificate, err = n.member.Renew(r.Context(), caller(r), request)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	_, _ = w.Write(certificate)
}

// upkeep does what every node has to do for its own membership, until Stop.
func (n *Node) upkeep(ctx context.Context) {
	n.prober = n.newProber()
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	var keeping sync.WaitGroup
	keeping.Go(func() { n.renew(ctx) })
	keeping.Go(func() { n.prober.Run(ctx) })
	keeping.Go(func() { n.pace(ctx) })
	keeping.Go(func() { n.keeper.run(ctx) })
	keeping.Go(func() { n.refresh(ctx) })
	n.later(func(context.Context) error {
		stop()
		keeping.Wait()
		return nil
	})
}
