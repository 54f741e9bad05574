package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"golang.org/x/sync/errgroup"

	"polynode/shard"
)

// ErrPrepare reports a node that cannot take its place in a plan. The text has that node's own words.
var ErrPrepare = errors.New("prepare plan")

// preparePath is where a coordinator asks a node to get ready for a plan.
const preparePath = "/node/v1/prepare"

// planMax bounds a plan between nodes, in bytes.
const planMax = 4 << 20

// prepareAll makes all nodes of a plan ready for it: weights on their disks.
func (n *Node) prepareAll(ctx context.Context, plan *shard.Plan) error {
	ctx, cancel := context.WithTimeout(ctx, prepareWait)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	for _, node := range plan.Nodes() {
		group.Go(func() error {
			if node == n.self {
				return n.prepare(ctx, plan)
			}
			return n.askToPrepare(ctx, node, plan)
		})
	}
	return group.Wait()
}

// askToPrepare asks another node.
func (n *Node) askToPrepare(ctx context.Context, node shard.NodeID, plan *shard.Plan) error {
	body, err := json.Marshal(plan)
	if err == nil {
		_, err = n.ask(ctx, node, preparePath, body)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrPrepare, err)
	}
	return nil
}

// servePrepare answers a coordinator. Only nodes of the cluster can call.
func (n *Node) servePrepare(w http.ResponseWriter, r *http.Request) {
	var plan shard.Plan
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, planMax)).Decode(&plan); err != nil {
		http.Error(w, "the plan cannot be read: "+err.Error(), http.StatusBadRequest)
		return
	}
	if err := n.prepare(r.Context(), &plan); err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
