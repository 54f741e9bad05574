package node

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"polynode/cluster"
	"polynode/configs"
	"polynode/engine"
	"polynode/kernels"
	"polynode/model"
	"polynode/model/store"
	"polynode/shard"
	"polynode/shard/planner"
)

// Links between nodes are taken for these until they are measured: a quiet network of 1 Gbit/s.
var linkDefault = planner.Link{RoundTripS: 0.5e-3, BytesPerS: 117e6}

// machine is a node that may compute.
type machine struct {
	id    shard.NodeID
	facts cluster.Facts
}

// workers are the nodes that are ready, compute and are alive, by id.
func (n *Node) workers() []machine {
	var list []machine
	for id, node := range n.cluster.State().Nodes {
		if node.Phase == cluster.Ready && node.Works() && n.alive(id) {
			list = append(list, machine{id, n.known.factsOf(id, node.Facts)})
		}
	}
	slices.SortFunc(list, func(a, b machine) int { return cmp.Compare(a.id, b.id) })
	return list
}

// alive reports whether a node is here, as far as this one sees.
func (n *Node) alive(id shard.NodeID) bool {
	if id == n.self || n.member == nil {
		return id == n.self
	}
	_, alive := n.member.Members().Alive()[id]
	return alive
}

// all reports whether every one of some nodes is among the workers.
func (n *Node) all(nodes []shard.NodeID, workers []machine) bool {
	for _, id := range nodes {
		if !slices.ContainsFunc(workers, func(w machine) bool { return w.id == id }) {
			return false
		}
	}
	return true
}

// suits reports whether a plan was made for these workers: then there is nothing to decide.
func (n *Node) suits(plan *shard.Plan, workers []machine) bool {
	return n.all(plan.Nodes(), workers) && n.considered(workers)
}

// considered is what a plan was made from.
type considered struct {
	workers  []machine
	revision uint64 // of what is known of nodes and links
	repaired bool   // the plan is only the quickest way out
	at       time.Time
}

// Times of thinking again though everybody is here.
const (
	secondThought  = 20 * time.Second // after a plan that was the quickest way out
	patientReplans = time.Minute      // between two plans for no other reason than what was measured
)

// considered reports whether the workers are those that the last plan was made from, and nothing was learned since that is worth a thought.
func (n *Node) considered(workers []machine) bool {
	p := &n.planned
	age := time.Since(p.at)
	if !slices.EqualFunc(p.workers, workers, func(a, b machine) bool { return a.id == b.id }) || p.repaired && age > secondThought {
		return false
	}
	revision, _ := n.known.look()
	return revision == p.revision || age < patientReplans
}

// planFor chooses the plan for the workers that are here. With one there is nothing to choose.
func (n *Node) planFor(s *service, workers []machine) (*shard.Plan, error) {
	shape, digest := model.Shape(s.model), s.model.Digest().String()
	if len(workers) == 0 {
		return nil, errNoWorker
	}
	revision, _ := n.known.look()
	alike := slices.EqualFunc(n.planned.workers, workers, func(a, b machine) bool { return a.id == b.id })
	again := alike && !n.planned.repaired
	n.planned = considered{workers: workers, revision: revision, at: time.Now()}
	if len(workers) == 1 {
		return shard.Solo(workers[0].id, shape, digest), nil
	}
	problem := n.problem(s.model, n.currentPlan(s), workers)
	if again { // what was measured may be so no more when the next plan has moved its weights
		problem.Gain *= 2
	}
	report, err := n.plan(problem)
	n.remember(report)
	if err != nil {
		return nil, err
	}
	n.planned.repaired = report.Repaired
	n.log.Info("plan chosen", "nodes", len(report.Plan.Nodes()), "kept", report.Kept, "cause", report.Reason, "to fetch", report.MoveBytes)
	for _, idle := range report.Idle {
		n.log.Info("node has no place in the plan", "node", idle.Node, "cause", idle.Reason)
	}
	return report.Plan, nil
}

// currentPlan is what the next plan is to differ from as little as is worth it, whatever became of its nodes: the plan that this node has
// activated, or that a coordinator before it had.
func (n *Node) currentPlan(s *service) *shard.Plan {
	if s.plan != nil {
		return s.plan
	}
	if plan := n.cluster.State().Plan; plan != nil && plan.Model == s.model.Digest().String() {
		return plan
	}
	return nil
}

// problem is what the planner has to know to replace a plan; nil if there is none that could go on.
func (n *Node) problem(m *store.Model, current *shard.Plan, workers []machine) planner.Problem {
	config := m.Config()
	p := planner.Problem{
		Links: n.known.allLinks(),
		Model: planner.Model{
			Digest: m.Digest().String(), Shape: model.Shape(m), Positions: config.Positions,
			BytesPerWeight: bytesPerWeight(m), BytesPerKV: n.bytesPerKV(), Tied: config.TiedHead,
		},
		Workload: planner.DefaultWorkload(planner.Latency), Costs: planner.DefaultCosts(),
		Coordinator: n.self, Gain: planner.GainDefault, Current: current,
	}
	p.Workload.StepTokens = n.config.StepTokens
	for _, w := range workers {
		report, _ := n.known.report(w.id)
		if report.Model != p.Model.Digest {
			report.Holds, report.Disk = nil, 0
		}
		p.Nodes = append(p.Nodes, planner.Node{
			ID: w.id, MemoryBytes: n.plannable(config, w.facts.MemoryBytes), ReadGBs: float64(w.facts.BytesPerSecond) / 1e9,
			MultiplyGOPs: float64(w.facts.OpsPerSecond) / 1e9, Class: numericClass, Holds: report.Holds, DiskBytes: report.Disk,
		})
	}
	if !n.all([]shard.NodeID{n.self}, workers) { // it coordinates all the same, and tokens come from it
		p.Nodes = append(p.Nodes, planner.Node{ID: n.self, Witness: true})
	}
	listed := func(id shard.NodeID) bool {
		return slices.ContainsFunc(p.Nodes, func(n planner.Node) bool { return n.ID == id })
	}
	p.Links.Pairs = slices.DeleteFunc(p.Links.Pairs, func(l planner.Pair) bool { return !listed(l.A) || !listed(l.B) })
	return p
}

// plannable is the part of a node's memory that plans may use: what is left when a rank has been given its room, which keeps a reserve and a
// tenth of what it has for keys and values, and holds logits.
func (n *Node) plannable(config model.Config, memory int64) int64 {
	context := 2 * float64(config.Positions*config.Layers*config.Embed) * n.bytesPerKV()
	return max(0, memory-reserveBytes-int64(context*(1-freeShare)/freeShare)-stepBytes(config, 0))
}

// numericClass is that of all kernel tiers: they give the same bits.
const numericClass = "cpu"

// bytesPerWeight is what the matrices take, on average.
func bytesPerWeight(m *store.Model) float64 {
	var bytes, weights int64
	manifest := m.Manifest()
	for i := range manifest.Tensors {
		if t := &manifest.Tensors[i]; t.Format != store.Plain {
			bytes, weights = bytes+t.Bytes, weights+int64(t.Rows)*int64(t.K)
		}
	}
	return float64(bytes) / float64(weights)
}

// bytesPerKV is what one key or value takes.
func (n *Node) bytesPerKV() float64 {
	format, err := kernels.ParseKVFormat(n.config.KVFormat)
	if err != nil {
		return 4
	}
	const heads, width = 1, 128
	return float64(kernels.KVBlockBytes(format, heads, width)) / (2 * heads * width * kernels.BlockTokens)
}

// blocksFor is how many blocks of keys and values every rank of a plan can keep.
func (n *Node) blocksFor(m *store.Model, plan *shard.Plan, workers []machine) (int, error) {
	format, err := kernels.ParseKVFormat(n.config.KVFormat)
	if err != nil {
		return 0, err
	}
	least := 0
	for stage := range plan.Stages {
		for rank, r := range plan.Stages[stage].Group {
			blocks, err := n.blocksOf(m, plan, stage, rank, format, workers)
			if err != nil {
				return 0, fmt.Errorf("node %s: %w", r.Node, err)
			}
			if least == 0 || blocks < least {
				least = blocks
			}
		}
	}
	return least, nil
}

// blocksOf is how many blocks one rank can keep.
func (n *Node) blocksOf(m *store.Model, plan *shard.Plan, stage, rank int, format kernels.KVFormat, workers []machine) (int, error) {
	config := m.Config()
	share, err := model.ShareOf(plan, stage, rank)
	if err != nil {
		return 0, err
	}
	node := plan.Stages[stage].Group[rank].Node
	available, err := n.memoryOf(node, workers)
	if err != nil {
		return 0, err
	}
	weights := m.Size()
	if len(plan.Nodes()) > 1 {
		weights = plan.WeightBytes(model.Shape(m), stage, rank, bytesPerWeight(m))
	}
	perContext := (config.Positions + engine.BlockTokens - 1) / engine.BlockTokens
	budget := kvBudget{
		available:  available,
		weights:    weights,
		buffers:    stepBytes(config, n.config.StepTokens),
		blockBytes: max(int64(model.CacheBlockBytes(config, share, format)), 1),
		blocksMax:  perContext*n.config.Sequences + blocksReserved,
		blocksMin:  perContext + blocksReserved,
		wanted:     configs.Bytes(float64(n.config.KVMemory) * kvShare(config, share)),
	}
	return budget.blocks()
}

// kvShare is the part of all keys and values that a rank keeps.
func kvShare(config model.Config, share model.Share) float64 {
	return float64(share.Layers.Len()*share.Heads.Len()) / float64(config.Layers*config.Heads)
}

// memoryOf is what a model may use on a node: measured now on this one, as it said on others.
func (n *Node) memoryOf(node shard.NodeID, workers []machine) (int64, error) {
	if node == n.self {
		return n.available()
	}
	for _, w := range workers {
		if w.id == node {
			return w.facts.MemoryBytes, nil
		}
	}
	return 0, fmt.Errorf("%w: node %s", cluster.ErrUnknown, node)
}
