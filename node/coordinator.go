package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"polynode/cluster"
	"polynode/engine"
	"polynode/engine/pipeline"
	"polynode/model/store"
	"polynode/shard"
	"polynode/shard/planner"
)

// Times of the coordinator.
const (
	replanPause  = time.Second            // at most between two looks at everything
	retryPause   = 200 * time.Millisecond // after a plan that could not be taken into use; twice as long after each further one
	retryMax     = 5 * time.Second
	assignWait   = 10 * time.Second      // for the ranks of a plan to meet
	prepareWait  = time.Hour             // for slices to be fetched
	farPlanDelay = 50 * time.Millisecond // so that changes that come together make one plan
)

// coordinate does the coordinator's duties while this node has them: it keeps a plan active that suits the nodes that are here, and serves
// requests on it. It is level-triggered: whatever woke it, it looks at the state as it is.
func (n *Node) coordinate(ctx context.Context) {
	var tending sync.WaitGroup
	c := &coordinator{node: n, suspects: newSuspects()}
	tending.Go(func() { n.tend(ctx) })
	tending.Go(func() { n.gather(ctx) })
	tending.Go(func() { n.tendSuspects(ctx, c.suspects) })
	defer tending.Wait()
	c.seen = c.changed()
	err := c.choose(ctx)
	if err == nil {
		err = c.step(ctx) // the first plan: who started this node wants to know what is wrong with it
	}
	c.complain(err)
	if n.mayGrow(err) {
		n.established(nil)
	}
	n.established(err)
	defer c.end()
	for ctx.Err() == nil {
		c.complain(err)
		c.wait(ctx, err != nil)
		c.seen = c.changed()
		if ctx.Err() == nil {
			if c.service == nil {
				err = c.choose(ctx)
			}
			if c.service != nil {
				err = c.step(ctx)
			}
		}
	}
}

// mayGrow reports whether others that join can mend what keeps this node from serving: a model that is too large for it is what clusters
// are for.
func (n *Node) mayGrow(err error) bool {
	return n.member != nil && (errors.Is(err, ErrMemory) || errors.Is(err, planner.ErrNoPlan))
}

// complain says once why there is no plan to serve with.
func (c *coordinator) complain(err error) {
	c.node.setTrouble(err)
	if err == nil {
		c.complaint = ""
	} else if c.complaint != err.Error() {
		c.complaint = err.Error()
		c.node.log.Warn("there is no plan to serve with yet", "cause", err)
	}
}

// coordinator is one term of coordinating.
type coordinator struct {
	node      *Node
	service   *service
	serving   bool
	complaint string          // that was logged last
	broken    bool            // a step failed: the plan has to be taken into use anew, or another one
	failures  int             // in a row
	seen      <-chan struct{} // closed when others are here than before the last look
	settled   settled
	suspects  *suspects
	change    *change // of the model; nil while none is under way
}

// wait returns when there may be something to do.
func (c *coordinator) wait(ctx context.Context, failed bool) {
	n := c.node
	c.failures++
	if !failed {
		c.failures = 0
	}
	timer := time.NewTimer(retryAfter(c.failures))
	defer timer.Stop()
	_, learned := n.known.look()
	var lost <-chan error
	if c.service != nil {
		lost = c.service.line.lost
	}
	fetched, idle := c.changes()
	select {
	case err := <-lost:
		n.log.Warn("a step failed", "cause", err)
		c.broken = true
		c.blame(ctx, c.service.plan, err)
	case wish := <-n.wishes:
		c.beginChange(ctx, wish)
	case err := <-fetched:
		c.haveFetched(err)
	case <-idle:
		c.takeChange(ctx)
	case <-c.seen:
		c.failures = 0 // what was wrong may be so no more
	case <-learned:
	case <-c.suspects.back:
		c.failures = 0
	case <-timer.C:
	case <-ctx.Done():
	}
}

// changed is closed when the nodes that are here may be others.
func (c *coordinator) changed() <-chan struct{} {
	if c.node.member == nil {
		return nil
	}
	return c.node.member.Members().Changed()
}

// choose decides which model is served: that of the active plan, or that of this node's settings.
func (c *coordinator) choose(ctx context.Context) error {
	n := c.node
	state := n.cluster.State()
	var m *store.Model
	var name string
	var err error
	if plan := state.Plan; plan != nil && !n.decides(state) {
		m, err = n.description(ctx, plan.Model)
		name = state.Models[plan.Model].Name
	} else {
		m, name, err = n.models.wanted()
	}
	if err != nil {
		return err
	}
	if err := n.enlist(ctx, m, name); err != nil {
		return err
	}
	if known, there := state.Models[m.Digest().String()]; there {
		name = known.Name
	}
	c.service, err = n.newService(m, name)
	return err
}

// decides reports whether the settings of this node say what is served, though a plan says something: a model was named, and the node is alone.
// Among several it would be a matter of who happens to coordinate.
func (n *Node) decides(state *cluster.State) bool {
	return n.config.Model != "" && len(state.Nodes) == 1
}

// step makes the plan that suits the nodes that are here now, and takes it into use if it is not in use already. What could not be done is
// still to do, although nobody came or went.
func (c *coordinator) step(ctx context.Context) (err error) {
	s := c.service
	defer func() {
		if err != nil {
			c.node.planned = considered{}
		}
	}()
	workers := c.settled.look(time.Now(), c.suspects.without(c.node.workers()))
	if s.plan == nil {
		c.node.awaitReports(ctx, workers)
	} else if c.node.all(s.plan.Nodes(), workers) {
		workers = c.node.known.introduced(time.Now(), workers, s.plan.Nodes())
	}
	if s.plan != nil && !c.broken && c.node.suits(s.plan, workers) {
		return nil
	}
	if s.plan != nil && slices.ContainsFunc(s.plan.Nodes(), func(id shard.NodeID) bool { return !c.node.alive(id) }) {
		s.line.giveUp() // the step that runs waits for somebody who is gone
		c.broken = true
	}
	next, err := c.node.planFor(s, workers)
	if err != nil {
		return err
	}
	if s.plan != nil && !c.broken && samePlaces(next, s.plan) {
		return nil
	}
	return c.activate(ctx, next, workers)
}

// activate has the cluster agree on a plan and hands it to its ranks.
func (c *coordinator) activate(ctx context.Context, plan *shard.Plan, workers []machine) error {
	n, s := c.node, c.service
	blocks, err := n.blocksFor(s.model, plan, workers)
	if err != nil {
		return err
	}
	var working []shard.NodeID
	if s.plan != nil {
		working = s.plan.Nodes()
	}
	ctx, stop := n.whileHere(ctx, plan, working...)
	defer stop()
	preparing, well := ctx, func() {}
	if s.plan != nil && !c.broken {
		preparing, well = s.line.whileWell(ctx) // weights may take an hour to come, and the plan that is active must be mended meanwhile
	}
	epoch, err := n.cluster.Activate(preparing, plan, func(ctx context.Context, plan *shard.Plan) error { return n.prepareAll(ctx, plan) })
	well()
	if err != nil {
		return err
	}
	plan.Epoch = epoch
	assigning, cancel := context.WithTimeout(ctx, assignWait)
	defer cancel()
	err = s.line.replace(epoch, n.predicted(plan), func() (*pipeline.Pipeline, error) {
		return pipeline.New(assigning, engine.Place{Generation: n.cluster.State().Generation, Plan: plan, Blocks: blocks, KVFormat: n.config.KVFormat}, n.ranks(plan))
	}, func() {
		if s.engine != nil {
			s.engine.SetPlan(epoch, blocks)
		}
	})
	if err != nil {
		c.broken = true
		c.blame(ctx, plan, err)
		return fmt.Errorf("take plan of epoch %d into use: %w", epoch, err)
	}
	s.plan, s.blocks, c.broken = plan, blocks, false
	n.log.Info("plan active", "epoch", uint64(epoch), "nodes", len(plan.Nodes()), "stages", len(plan.Stages), "blocks", blocks)
	n.describe(s)
	if c.serving {
		return nil
	}
	if err := s.open(ctx, epoch); err != nil { // its engine outlives ctx
		return err
	}
	c.serving = true
	n.front.serve(s)
	return nil
}

// end stops serving. Running requests end with an error that their clients see.
func (c *coordinator) end() {
	c.endChange(changeFailed, cluster.ErrNotLeader)
	select {
	case <-c.node.wishes: // nobody is here to grant it
		c.node.changed(changeFailed, cluster.ErrNotLeader)
	default:
	}
	if c.service == nil {
		return
	}
	c.node.front.stop(c.service)
	if err := c.service.close(); err != nil {
		c.node.log.Warn("stop serving", "err", err)
	}
}

// samePlaces reports whether two plans differ in their epoch at most.
func samePlaces(a, b *shard.Plan) bool {
	return a.Model == b.Model && slices.EqualFunc(a.Stages, b.Stages, func(x, y shard.Stage) bool {
		return x.Layers == y.Layers && slices.Equal(x.Group, y.Group)
	})
}

// ranks are the ranks of a plan as this node reaches them.
func (n *Node) ranks(plan *shard.Plan) [][]pipeline.Rank {
	var ranks [][]pipeline.Rank
	for _, stage := range plan.Stages {
		var group []pipeline.Rank
		for _, rank := range stage.Group {
			if rank.Node == n.self {
				group = append(group, n.worker.Near())
			} else {
				group = append(group, pipeline.NewFar(n.network, rank.Node))
			}
		}
		ranks = append(ranks, group)
	}
	return ranks
}

// errNoWorker reports a cluster without a node that computes.
var errNoWorker = errors.New("no node that computes is here")

// errLone reports a node that nobody can join, because it has no address for other nodes.
var errLone = errors.New("this node has no address for other nodes; start it with --listen")
