package node

import (
	"context"
	"sync"

	"polynode/cluster"
	"polynode/model"
	"polynode/model/fetch"
	"polynode/model/store"
	"polynode/shard"
	"polynode/shard/planner"
	"polynode/transport"
)

// prepare gets this node's slices for a plan.
func (n *Node) prepare(ctx context.Context, plan *shard.Plan) error {
	stage, rank, ok := plan.Find(n.self)
	if !ok {
		return cluster.ErrUnknown
	}
	return n.obtain(ctx, plan.Model, planner.HoldingOf(plan, stage, rank), purpose{pace: n.pacer.plans})
}

// description gets what a coordinator needs of a model that it has no slices of: its shape and its tokenizer.
func (n *Node) description(ctx context.Context, digest string) (*store.Model, error) {
	return n.models.get(ctx, digest, func(model.Config) ([]model.Piece, error) { return nil, nil }, n.sources(), purpose{})
}

// sources are the other nodes that are here.
func (n *Node) sources() sources {
	from := sources{network: n.network, dropped: func(node string, err error) {
		n.log.Warn("a node gives no weights any more", "node", node, "cause", err)
	}}
	for id := range n.cluster.State().Nodes {
		if id != n.self && n.alive(id) {
			from.nodes = append(from.nodes, string(id))
		}
	}
	return from
}

// giveWeights serves the slices that this node has to others.
func (n *Node) giveWeights(ctx context.Context) error {
	library, err := OpenLibrary(n.config.Data)
	if err != nil {
		return err
	}
	server := &fetch.Server{Dir: library.Dir, Pace: n.pacer.given}
	giving, stop := context.WithCancel(context.WithoutCancel(ctx))
	var given sync.WaitGroup
	given.Go(func() {
		for {
			conn, err := n.network.Accept(giving, transport.ClassWeights)
			if err != nil {
				return
			}
			given.Go(func() {
				if err := server.Serve(giving, conn); err != nil && giving.Err() == nil {
					n.log.Warn("give weights", "node", conn.Peer(), "cause", err)
				}
			})
		}
	})
	n.later(func(context.Context) error {
		stop()
		given.Wait()
		return library.Close()
	})
	return nil
}
