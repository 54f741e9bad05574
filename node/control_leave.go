package node

import (
	"context"
	"errors"
	"net/http"
	"os"
	"time"

	"polynode/cluster"
	"polynode/shard"
)

// handOverWait is how long a coordinator that leaves waits until another one has its duties.
const handOverWait = 12 * time.Second

// LeaveWish is what a node that leaves may do beside what is usual.
type LeaveWish struct {
	Force bool `json:"force"` // the last node of a cluster may go: the cluster ends with it
}

// controlLeave takes this node out of its cluster for good. It has to be drained. When the answer is written, the node stops and forgets the
// cluster, so that it can join another one.
func (n *Node) controlLeave(r *http.Request) (any, error) {
	var wish LeaveWish
	if err := readControl(r, &wish); err != nil {
		return nil, err
	}
	if n.member == nil {
		return nil, errLone
	}
	state := n.cluster.State()
	others := 0
	for id, node := range state.Nodes {
		if id != n.self && node.Phase != cluster.Gone {
			others++
		}
	}
	if others == 0 {
		if !wish.Force {
			return nil, refusal(http.StatusConflict, "last_node", "This is the only node of its cluster: nobody could take over, and the cluster would end. "+
				"`polynode leave --force` ends it; models stay on the disk.")
		}
		return n.depart(), nil
	}
	if !n.drained(r.Context()) {
		return nil, refusal(http.StatusConflict, "not_drained", "This node still has its place in the plan. `polynode leave` drains it first and then leaves.")
	}
	if err := n.handOver(r.Context()); err != nil {
		return nil, err
	}
	if err := n.askToForget(r.Context()); err != nil {
		return nil, err
	}
	return n.depart(), nil
}

// newsWait is how long what the coordinator knows may take to reach the other nodes.
const newsWait = 2 * time.Second

// drained reports whether this node was drained and has no place any more, as far as it has heard.
func (n *Node) drained(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, newsWait)
	defer cancel()
	for {
		changed, state := n.cluster.Changed(), n.cluster.State()
		if state.Nodes[n.self].Phase == cluster.Draining && !inPlan(state, n.self) {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// inPlan reports whether the active or the prepared plan has a place for a node.
func inPlan(state *cluster.State, id shard.NodeID) bool {
	if state.Plan != nil {
		if _, _, there := state.Plan.Find(id); there {
			return true
		}
	}
	if state.Prepared != nil {
		_, _, there := state.Prepared.Plan.Find(id)
		return there
	}
	return false
}

// handOver makes another node the coordinator, if this one is.
func (n *Node) handOver(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, handOverWait+n.config.Drain)
	defer cancel()
	if leader, known := n.cluster.Leader(); known && leader == n.self {
		if err := n.awaitHeir(ctx); err != nil {
			return err
		}
		if resume := n.settle(ctx); resume != nil {
			defer resume()
		}
	}
	var cause error
	for {
		leader, known := n.cluster.Leader()
		if known && leader != n.self {
			return nil
		}
		if known {
			if err := n.cluster.StepDown(ctx); err != nil && ctx.Err() == nil {
				cause = err
			}
		}
		select {
		case <-time.After(lookPause):
		case <-ctx.Done():
			return noHeir(cause)
		}
	}
}

// noHeir says why a coordinator cannot leave.
func noHeir(cause error) error {
	return refusal(http.StatusConflict, "coordinates", "This node coordinates the cluster, and no other node can take its duties over: %v. "+
		"See with `polynode nodes` who is alive, and try again.", cause)
}

// heirWait is how long somebody may take to be given the vote that whoever takes over needs.
const heirWait = 8 * time.Second

// awaitHeir waits until another living node has a vote.
func (n *Node) awaitHeir(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, heirWait)
	defer cancel()
	for {
		heirs, err := n.heirs(ctx)
		if err == nil && heirs > 0 {
			return nil
		}
		select {
		case <-time.After(lookPause):
		case <-ctx.Done():
			if err == nil {
				err = errNoHeir
			}
			return noHeir(err)
		}
	}
}

// heirs counts the other living nodes that vote. Each of them has the cluster's root then, which whoever coordinates needs to let machines in.
func (n *Node) heirs(ctx context.Context) (int, error) {
	voters, err := n.cluster.Voters()
	if err != nil {
		return 0, err
	}
	root, err := n.member.Root()
	if err != nil {
		return 0, err
	}
	count := 0
	for _, id := range voters {
		if id == n.self || !n.alive(id) {
			continue
		}
		if err := n.giveRoot(ctx, id, root); err != nil {
			return 0, err
		}
		count++
	}
	return count, nil
}

// settle lets running requests end, as far as they can in the time that they get, and takes no new ones. It returns what takes that back,
// for a node that goes on serving after all.
func (n *Node) settle(ctx context.Context) (resume func()) {
	s := n.serving()
	if s == nil {
		return nil
	}
	s.api.Drain()
	ctx, cancel := context.WithTimeout(ctx, n.config.Drain)
	defer cancel()
	for stats := s.engine.Stats(); stats.Running+stats.Waiting+stats.Preempted > 0 && ctx.Err() == nil; stats = s.engine.Stats() {
		select {
		case <-time.After(lookPause):
		case <-ctx.Done():
		}
	}
	return s.api.Resume
}

// errNoHeir says why nobody can take over.
var errNoHeir = errors.New("no other living node has a vote")

// Departure is the answer of a node that has left.
type Departure struct {
	ID     string `json:"id"`
	Left   bool   `json:"left"`
	Folder string `json:"folder"` // that is removed
}

// depart tells whoever runs this node that it is in no cluster any more.
func (n *Node) depart() Departure {
	n.once.Do(func() { close(n.left) })
	return Departure{ID: string(n.self), Left: true, Folder: n.stateDir()}
}

// Left is closed when this node has left its cluster. Stop then removes what it was from the disk.
func (n *Node) Left() <-chan struct{} { return n.left }

// forgetSelf removes the membership of a node that left. It comes after everything that writes there has ended.
func (n *Node) forgetSelf(context.Context) error {
	select {
	case <-n.left:
		return os.RemoveAll(n.stateDir())
	default:
		return nil
	}
}
