package node

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"polynode/cluster"
	"polynode/configs"
	"polynode/shard"
	"polynode/shard/planner"
)

// ID is the id of a node, under this roof for the verbs.
type ID = shard.NodeID

// ClusterPlan is the active plan of a running cluster: what was expected of it, and what it does.
type ClusterPlan struct {
	Epoch    uint64                  `json:"epoch"`
	Model    string                  `json:"model"`
	Names    map[shard.NodeID]string `json:"names"` // of the nodes, for people
	Report   PlanReport              `json:"report"`
	Measured Measured                `json:"measured"`
	Ranks    []MeasuredRank          `json:"measured_ranks"`    // stage by stage and rank by rank
	Rate     float64                 `json:"tokens_per_second"` // sampled lately, over all sequences
	Spares   *PlanSpares             `json:"spares,omitempty"`  // absent where it is not known
	Trouble  string                  `json:"trouble,omitempty"` // why there is no plan that suits the nodes that are here
}

// MeasuredRank is what steps of the active plan took one rank in which every sequence got one token, in milliseconds a step.
type MeasuredRank struct {
	Node   shard.NodeID `json:"node"`
	Steps  int64        `json:"steps"`
	StepMS float64      `json:"step_ms"`
	Layers float64      `json:"layers_ms"` // weights and attention
	Head   float64      `json:"head_ms"`
	Sync   float64      `json:"sync_ms"` // within the stage: other ranks' computing that it waited for included
	Hop    float64      `json:"hop_ms"`  // for the stage before
	Other  float64      `json:"other_ms"`
	Factor float64      `json:"factor"` // how much longer its steps take than its facts would have it; plans are made with that
}

// measuredRanks are the ranks of a plan that have said what they measured.
func (n *Node) measuredRanks(plan *shard.Plan) []MeasuredRank {
	ranks := []MeasuredRank{}
	for _, id := range plan.Nodes() {
		report, _ := n.known.report(id)
		d := report.Decoded
		if id == n.self {
			d = n.rank.Decoded()
		}
		r := MeasuredRank{Node: id, Factor: n.known.factorOf(id)}
		if d.Epoch == plan.Epoch && d.Steps > 0 {
			ms := func(t time.Duration) float64 { return float64(t.Microseconds()) / 1e3 / float64(d.Steps) }
			r.Steps, r.StepMS, r.Layers, r.Head, r.Sync, r.Hop = d.Steps, ms(d.Time), ms(d.Layers), ms(d.Head), ms(d.Sync), ms(d.Hop)
			r.Other = max(0, r.StepMS-r.Layers-r.Head-r.Sync-r.Hop)
		}
		ranks = append(ranks, r)
	}
	return ranks
}

// unplanned says that nothing is planned yet.
const unplanned = "There is no active plan yet"

func (n *Node) controlPlan(*http.Request) (any, error) {
	s, plan := n.serving(), n.Info().plan
	if s == nil || plan == nil {
		why := unplanned + "."
		if trouble := n.troubled(); trouble != "" {
			why = fmt.Sprintf("%s: %s.", unplanned, trouble)
		}
		return nil, refusal(http.StatusServiceUnavailable, "no_plan", "%s", why)
	}
	state := n.cluster.State()
	out := ClusterPlan{
		Epoch: uint64(plan.Epoch), Model: s.name, Names: map[shard.NodeID]string{}, Measured: s.watch.of(plan.Epoch),
		Rate: s.engine.Stats().TokensPerSecond, Trouble: n.troubled(), Ranks: n.measuredRanks(plan),
	}
	for id, node := range state.Nodes {
		out.Names[id] = node.Name
	}
	problem := n.problem(s.model, plan, n.machinesFor(state, plan))
	out.Report = n.reportOf(problem, plan)
	out.Report.Idle = n.idle(state, plan, out.Report.Idle)
	if spares, err := n.sparesOf(problem, plan); err == nil {
		out.Spares = &spares
	}
	return out, nil
}

// machinesFor are the workers and, whatever became of them, the nodes of a plan.
func (n *Node) machinesFor(state *cluster.State, plan *shard.Plan) []machine {
	machines := n.workers()
	for _, id := range plan.Nodes() {
		if node, there := state.Nodes[id]; there && !n.all([]shard.NodeID{id}, machines) {
			machines = append(machines, machine{id, node.Facts})
		}
	}
	return machines
}

// remember keeps what the planner said last.
func (n *Node) remember(report planner.Report) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.report = report
}

// predicted is how long the planner thinks that a step of a plan takes for one sequence; zero if it was not asked.
func (n *Node) predicted(plan *shard.Plan) time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.report.Plan == nil || !samePlaces(n.report.Plan, plan) {
		return 0
	}
	return time.Duration(n.report.Times.StepMS * float64(time.Millisecond))
}

// reportOf is what the planner said of a plan, priced anew. Of a plan that was made without a choice, nothing but prices is known.
func (n *Node) reportOf(problem planner.Problem, plan *shard.Plan) PlanReport {
	n.mu.Lock()
	report := n.report
	n.mu.Unlock()
	if report.Plan == nil || !samePlaces(report.Plan, plan) {
		report = PlanReport{Objective: problem.Workload.Objective}
	}
	report.Plan = plan
	for i := range problem.Nodes { // a lone node need not have been measured, and its time is its own affair
		node := &problem.Nodes[i]
		if node.Witness {
			continue
		}
		if !(node.ReadGBs > 0) || !(node.MultiplyGOPs > 0) {
			return report
		}
	}
	if times, ranks, err := planner.Predict(problem, plan); err == nil {
		report.Times, report.Ranks = times, ranks
	}
	return report
}

// idle says of every node without a place why it has none.
func (n *Node) idle(state *cluster.State, plan *shard.Plan, known []planner.Idle) []planner.Idle {
	idle := []planner.Idle{}
	for _, id := range slices.Sorted(maps.Keys(state.Nodes)) {
		node := state.Nodes[id]
		if _, _, there := plan.Find(id); there {
			continue
		}
		entry := planner.Idle{Node: id}
		at := slices.IndexFunc(known, func(i planner.Idle) bool { return i.Node == id })
		switch {
		case node.Phase == cluster.Gone:
			entry.Cause, entry.Reason = planner.Unreachable, "it was removed"
		case !n.alive(id):
			entry.Cause, entry.Reason = planner.Unreachable, "it is not here"
		case !node.Works():
			entry.Cause, entry.Reason = planner.IsWitness, "it is a witness: it votes and computes nothing"
		case node.Phase == cluster.Draining:
			entry.Cause, entry.Reason = planner.IsDraining, "it is drained"
		case at >= 0:
			entry = known[at]
		default:
			entry.Reason = "it waits for the next plan"
		}
		idle = append(idle, entry)
	}
	return idle
}

// toleranceNodesMax is up to how many nodes the fault tolerance is worked out whenever somebody looks.
const toleranceNodesMax = 32

// tolerance is how many nodes may die without a loss, and why not more. It is nil where this node does not know.
func (n *Node) tolerance(plan *shard.Plan) (*int, string) {
	s := n.serving()
	if s == nil || plan == nil {
		return nil, ""
	}
	state := n.cluster.State()
	machines := n.machinesFor(state, plan)
	if len(machines) > toleranceNodesMax {
		return nil, ""
	}
	spares, err := n.sparesOf(n.problem(s.model, plan, machines), plan)
	if err != nil {
		return nil, ""
	}
	return &spares.Tolerance, spares.Reason
}

// sparesOf is what should lie on which disks, and whether a node may die now: what is still on its way counts for nothing.
func (n *Node) sparesOf(problem planner.Problem, plan *shard.Plan) (planner.Spares, error) {
	spares, err := planner.PlaceSpares(problem, plan)
	if err != nil || spares.Tolerance == 0 {
		return spares, err
	}
	for _, spare := range spares.Spares {
		at := slices.IndexFunc(problem.Nodes, func(p planner.Node) bool { return p.ID == spare.Node })
		missing := problem.Model.MissingBytes(spare.Want, problem.Nodes[at].Holds)
		if missing == 0 {
			continue
		}
		spares.Tolerance = 0
		spares.Reason = fmt.Sprintf("spare slices are still on their way: %s lacks %s of what it takes to do without %s", spare.Node, configs.Bytes(missing), spare.Dead)
		if report, _ := n.known.report(spare.Node); report.Spares != "" {
			spares.Reason += "; it says: " + report.Spares
		}
		break
	}
	return spares, nil
}
