package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"polynode/cluster"
	"polynode/shard"
)

// NodeList is the nodes of a cluster, and what is wrong with its plan.
type NodeList struct {
	Nodes   []StatusNode `json:"nodes"`
	Trouble string       `json:"trouble,omitempty"` // why there is no plan that suits the nodes that are here
}

func (n *Node) controlNodes(*http.Request) (any, error) {
	return NodeList{n.statusNodes(), n.troubled()}, nil
}

// prefixMin is the least part of an id that names a node.
const prefixMin = 4

// nodeNamed finds a node by id, by its name for people if only one has it, or by the beginning of its id.
func nodeNamed(state *cluster.State, name string) (cluster.Node, error) {
	if node, there := state.Nodes[shard.NodeID(name)]; there {
		return node, nil
	}
	var called, begun []cluster.Node
	for id, node := range state.Nodes {
		if node.Name == name {
			called = append(called, node)
		}
		if len(name) >= prefixMin && strings.HasPrefix(string(id), strings.ToLower(name)) {
			begun = append(begun, node)
		}
	}
	found := called
	if len(found) == 0 {
		found = begun
	}
	switch len(found) {
	case 0:
		return cluster.Node{}, refusal(http.StatusNotFound, "not_found", "No node %.80q. `polynode nodes` shows those that there are.", name)
	case 1:
		return found[0], nil
	}
	var ids []string
	for _, node := range found {
		ids = append(ids, string(node.ID))
	}
	slices.Sort(ids)
	return cluster.Node{}, refusal(http.StatusConflict, "ambiguous", "%d nodes are called %.80q. Name one by its id: %s.", len(found), name, strings.Join(ids, ", "))
}

// controlDrain has the next plans leave a node out. Its place goes to others as soon as they are ready for it; requests go on meanwhile.
func (n *Node) controlDrain(r *http.Request) (any, error) {
	return n.setPhase(r, cluster.Ready, cluster.Draining, func(node cluster.Node) error {
		if !node.Works() {
			return nil
		}
		for _, worker := range n.workers() {
			if worker.id != node.ID {
				return nil
			}
		}
		return refusal(http.StatusConflict, "last_worker", "Nobody else is here to compute what node %s computes. Let another machine join first: "+
			"`polynode token create` makes the token for it.", title(node))
	})
}

// controlUndrain lets plans use a node again.
func (n *Node) controlUndrain(r *http.Request) (any, error) {
	return n.setPhase(r, cluster.Draining, cluster.Ready, func(cluster.Node) error { return nil })
}

// setPhase moves the node that a request names from a phase to another, and answers with the node.
func (n *Node) setPhase(r *http.Request, from, to cluster.Phase, check func(cluster.Node) error) (any, error) {
	var id shard.NodeID
	err := n.propose(r.Context(), func(state *cluster.State) (*cluster.Command, error) {
		node, err := nodeNamed(state, r.PathValue("id"))
		if err != nil {
			return nil, err
		}
		id = node.ID
		if node.Phase == to {
			return nil, nil
		}
		if node.Phase != from {
			return nil, refusal(http.StatusConflict, "conflict", "Node %s is %s, not %s.", title(node), node.Phase, from)
		}
		if err := check(node); err != nil {
			return nil, err
		}
		node.Phase = to
		command := cluster.PutNode(node)
		return &command, nil
	})
	if err != nil {
		return nil, err
	}
	n.log.Info("node changed its phase", "node", id, "phase", to)
	return n.statusNode(id), nil
}

// title names a node for people.
func title(node cluster.Node) string {
	if node.Name == "" || node.Name == string(node.ID) {
		return string(node.ID)
	}
	return fmt.Sprintf("%s (%.8s)", node.Name, node.ID)
}

// removeWait is how long a removal waits for a plan without the node.
const removeWait = 15 * time.Second

// Removal is what became of the wish to remove a node.
type Removal struct {
	ID        string `json:"id"`
	Forgotten bool   `json:"forgotten"` // false: it is shut out, and stays listed as gone until a plan without it is active
	Trouble   string `json:"trouble,omitempty"`
}

// controlRemove shuts a node out for good: its certificates are taken back, and it is forgotten once no plan needs it.
func (n *Node) controlRemove(r *http.Request) (any, error) {
	node, err := nodeNamed(n.cluster.State(), r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	if n.member == nil || node.ID == n.self {
		return nil, refusal(http.StatusConflict, "coordinates", "Node %s coordinates the cluster and cannot shut itself out. Run `polynode leave` on it.", title(node))
	}
	if force := r.URL.Query().Get("force") == "true"; n.alive(node.ID) && !force {
		return nil, refusal(http.StatusConflict, "alive", "Node %s is alive. Run `polynode leave` on it, which moves its work to others first, or "+
			"shut it out at once with `polynode remove --force`.", title(node))
	}
	if _, err := n.cluster.Propose(r.Context(), cluster.Revoke(node.ID, "", time.Now().Unix())); err != nil {
		return nil, err
	}
	n.log.Info("node shut out", "node", node.ID)
	ctx, cancel := context.WithTimeout(r.Context(), removeWait)
	defer cancel()
	err = n.forget(ctx, node.ID)
	if err != nil && !errors.Is(err, cluster.ErrInUse) {
		return nil, err
	}
	return Removal{ID: string(node.ID), Forgotten: err == nil, Trouble: n.troubled()}, nil
}

// forget removes a node from the agreed state as soon as no plan needs it.
func (n *Node) forget(ctx context.Context, id shard.NodeID) error {
	for {
		changed := n.cluster.Changed()
		err := n.propose(context.WithoutCancel(ctx), func(state *cluster.State) (*cluster.Command, error) {
			node, there := state.Nodes[id]
			if !there {
				return nil, nil
			}
			command := cluster.ForgetNode(node)
			return &command, nil
		})
		if !errors.Is(err, cluster.ErrInUse) {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return err
		}
	}
}

// forgetPath is where a node that leaves asks the coordinator to forget it.
const forgetPath = "/node/v1/forget"

// forgetWait is how long a node that leaves waits to be forgotten.
const forgetWait = 10 * time.Second

// serveForget forgets the node that asks. Only nodes of the cluster can call, each for itself.
func (n *Node) serveForget(w http.ResponseWriter, r *http.Request) {
	id := shard.NodeID(r.RemoteAddr) // as its certificate says
	node, there := n.cluster.State().Nodes[id]
	if there && node.Phase != cluster.Draining {
		http.Error(w, "drain the node first", http.StatusConflict)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), forgetWait)
	defer cancel()
	if err := n.forget(ctx, id); err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	n.log.Info("node left the cluster", "node", id, "name", node.Name)
	w.WriteHeader(http.StatusNoContent)
}

// askToForget asks the coordinator to forget this node.
func (n *Node) askToForget(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, forgetWait)
	defer cancel()
	leader, known := n.cluster.Leader()
	if !known {
		return cluster.ErrNotLeader
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+string(leader)+forgetPath, nil)
	if err != nil {
		return err
	}
	response, err := n.calls.Do(request)
	if err != nil {
		return fmt.Errorf("ask the coordinator: %w", err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 4<<10))
	if err == nil && response.StatusCode != http.StatusNoContent {
		return refusal(http.StatusConflict, "conflict", "The coordinator does not forget this node: %s.", strings.TrimSpace(string(text)))
	}
	return err
}
