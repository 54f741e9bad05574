package node

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"polynode/cluster"
	"polynode/shard"
	"polynode/shard/planner"
)

// Times of gathering.
const (
	gatherPause  = time.Second            // between two rounds of questions
	gatherSoon   = 200 * time.Millisecond // while somebody new is here whose links are not known
	gatherFirst  = time.Second            // that the first plan of a coordinator waits for reports at most
	spareAgain   = 30 * time.Second       // after which wishes are sent again
	spareSettled = 2 * time.Second        // for which nothing has to have changed before: what a new plan needs comes first
	agreeAgain   = time.Minute            // between two corrections of a node's agreed facts
)

// gather asks all nodes how they are, for as long as this one coordinates, and has them keep spares.
func (n *Node) gather(ctx context.Context) {
	if n.member == nil {
		return
	}
	g := gatherer{node: n, agreed: map[shard.NodeID]time.Time{}}
	for ctx.Err() == nil {
		seen := n.member.Members().Changed()
		n.known.lose(n.alive)
		g.round(ctx)
		wait := gatherPause
		if g.strangers() {
			wait = gatherSoon
		}
		select {
		case <-time.After(wait):
		case <-seen:
		case <-ctx.Done():
		}
	}
}

// gatherer is one term of it.
type gatherer struct {
	node   *Node
	agreed map[shard.NodeID]time.Time // when the agreed facts of a node were last mended
	told   spareKey                   // what the last wishes for spares were made from
	toldAt time.Time
	key    spareKey // what the next ones would be made from
	since  time.Time
	judged shard.Epoch // whose steps were compared with what was expected
}

// round asks everybody once.
func (g *gatherer) round(ctx context.Context) {
	n := g.node
	state := n.cluster.State()
	wish := reportWish{}
	if state.Plan != nil {
		wish.Model = state.Plan.Model
	}
	var asking sync.WaitGroup
	for id, node := range state.Nodes {
		if node.Phase == cluster.Gone || !n.alive(id) {
			continue
		}
		asking.Go(func() {
			if report, err := n.askReport(ctx, id, wish); err == nil {
				n.known.take(time.Now(), id, node.Facts, report)
			}
		})
	}
	asking.Wait()
	g.agree(ctx)
	g.spare(ctx)
	g.judge()
}

// askReport asks one node.
func (n *Node) askReport(ctx context.Context, id shard.NodeID, wish reportWish) (nodeReport, error) {
	if id == n.self {
		return n.reportNow(wish), nil
	}
	ctx, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	var report nodeReport
	body, err := json.Marshal(wish)
	if err != nil {
		return report, err
	}
	text, err := n.ask(ctx, id, reportPath, body)
	if err == nil {
		err = json.Unmarshal(text, &report)
	}
	if err == nil {
		err = report.Facts.Check()
	}
	return report, err
}

// strangers reports whether somebody is here whose links nobody knows, and has not been for long.
func (g *gatherer) strangers() bool {
	n := g.node
	var here []shard.NodeID
	for id := range n.cluster.State().Nodes {
		if n.alive(id) {
			here = append(here, id)
		}
	}
	k := n.known
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	return slices.ContainsFunc(here, func(id shard.NodeID) bool {
		if k.met[id].IsZero() {
			k.met[id] = now
		}
		others := slices.DeleteFunc(slices.Clone(here), func(o shard.NodeID) bool { return o == id })
		return !k.measured(id, others) && now.Sub(k.met[id]) < 2*introduceWait
	})
}

// agree has the cluster agree on what nodes measured when they started, so that the next coordinator begins with it.
func (g *gatherer) agree(ctx context.Context) {
	n := g.node
	for id, node := range n.cluster.State().Nodes {
		report, there := n.known.report(id)
		same := sameFacts(node.Facts, report.Facts) && node.Facts.Version == report.Facts.Version && node.Facts.Cores == report.Facts.Cores
		if !there || same || time.Since(g.agreed[id]) < agreeAgain {
			continue
		}
		g.agreed[id] = time.Now()
		node.Facts = report.Facts
		proposing, cancel := context.WithTimeout(ctx, askWait)
		if _, err := n.cluster.Propose(proposing, cluster.PutNode(node)); err != nil && ctx.Err() == nil {
			n.log.Info("agree on the facts of a node: tried again", "node", id, "cause", err)
		}
		cancel()
	}
}

// spareKey is what spares are placed by.
type spareKey struct {
	epoch    shard.Epoch
	revision uint64
	workers  string
}

// spare tells every node which slices it should keep besides those of its place.
func (g *gatherer) spare(ctx context.Context) {
	n := g.node
	s, plan := n.serving(), n.Info().plan
	workers := n.workers()
	if s == nil || plan == nil || !n.all(plan.Nodes(), workers) {
		return
	}
	revision, _ := n.known.look()
	key := spareKey{epoch: plan.Epoch, revision: revision}
	for _, w := range workers {
		key.workers += string(w.id) + " "
	}
	if now := time.Now(); key != g.key {
		g.key, g.since = key, now
		return
	} else if now.Sub(g.since) < spareSettled || key == g.told && now.Sub(g.toldAt) < spareAgain {
		return
	}
	g.told, g.toldAt = key, time.Now()
	spares, err := planner.PlaceSpares(n.problem(s.model, plan, workers), plan)
	if err != nil {
		n.log.Info("place spare slices: tried again", "cause", err)
		return
	}
	var asking sync.WaitGroup
	for _, w := range workers {
		wish := keepWish{Model: plan.Model}
		for _, spare := range spares.Spares {
			if spare.Node == w.id && len(wish.Holds) < keepMax && !slices.Contains(wish.Holds, spare.Want) {
				wish.Holds = append(wish.Holds, spare.Want)
			}
		}
		asking.Go(func() { n.wishFor(ctx, w.id, wish) })
	}
	asking.Wait()
}

// wishFor sends a wish for spares to one node. What is lost is sent again later.
func (n *Node) wishFor(ctx context.Context, id shard.NodeID, wish keepWish) {
	if id == n.self {
		n.keeper.want(wish)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	body, err := json.Marshal(wish)
	if err == nil {
		_, err = n.ask(ctx, id, keepPath, body)
	}
	if err != nil && ctx.Err() == nil {
		n.log.Info("ask for spare slices: tried again", "node", id, "cause", err)
	}
}

// judge compares what the ranks' steps took with what was expected of them, once under each plan.
func (g *gatherer) judge() {
	n := g.node
	s, plan := n.serving(), n.Info().plan
	if s == nil || plan == nil || len(plan.Nodes()) < 2 || g.judged == plan.Epoch {
		return
	}
	times := n.rankTimes(s, plan)
	if len(times) < len(plan.Nodes()) {
		return // not all have decoded enough
	}
	g.judged = plan.Epoch
	for _, finding := range n.known.judge(times) {
		n.log.Warn("a node is not as fast as it says, or faster: its shares are corrected", "cause", finding)
	}
}

// rankTimes are the ranks of a plan that have decoded enough under it.
func (n *Node) rankTimes(s *service, plan *shard.Plan) []rankTime {
	_, ranks, err := planner.Predict(n.problem(s.model, plan, n.machinesFor(n.cluster.State(), plan)), plan)
	if err != nil {
		return nil
	}
	var times []rankTime
	for _, r := range ranks {
		report, there := n.known.report(r.Node)
		d := report.Decoded
		if !there || d.Epoch != plan.Epoch || d.Steps < factorSteps {
			continue
		}
		computing := float64(d.Computing().Microseconds()) / 1e3 / float64(d.Steps)
		expected := r.Terms.Weights + r.Terms.Attention + r.Terms.Head + float64(r.Layers.Len())*1e3*planner.DefaultCosts().LayerS
		if computing > 0 && expected > 0 {
			times = append(times, rankTime{r.Node, computing, expected})
		}
	}
	return times
}

// awaitReports waits until all of some nodes have said how they are, but not for long.
func (n *Node) awaitReports(ctx context.Context, workers []machine) {
	if n.member == nil {
		return
	}
	timer := time.NewTimer(gatherFirst)
	defer timer.Stop()
	for {
		_, changed := n.known.look()
		if !slices.ContainsFunc(workers, func(w machine) bool { _, there := n.known.report(w.id); return !there }) {
			return
		}
		select {
		case <-changed:
		case <-timer.C:
			return
		case <-ctx.Done():
			return
		}
	}
}
