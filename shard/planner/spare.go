package planner

import (
	"fmt"

	"polynode/shard"
)

// Spare is a part of the model that a node should keep on its disk besides its share, so that it can take over when another
// node dies.
type Spare struct {
	Node  shard.NodeID `json:"node"`
	Dead  shard.NodeID `json:"dead"` // whose death it is for
	Want  Holding      `json:"holding"`
	Bytes int64        `json:"bytes"` // of it that the node has no use for otherwise
}

// Spares say what should lie on which disks, and what may then happen.
type Spares struct {
	Spares    []Spare        `json:"spares"`
	Tolerance int            `json:"fault_tolerance"`   // 1: any node may die, and the next plan needs no transfer; 0: not so
	Reason    string         `json:"reason,omitempty"`  // why it is 0
	Next      []Next         `json:"next,omitempty"`    // the plan after each death that is provided for
	Exposed   []shard.NodeID `json:"exposed,omitempty"` // nodes whose death is not
}

// Next is the plan that is ready for the death of a node.
type Next struct {
	Dead shard.NodeID `json:"dead"`
	Plan *shard.Plan  `json:"plan"`
}

// PlaceSpares decides which slices each node keeps besides those of its share of the plan, so that after the death of any one
// node there is a plan for which nothing has to be fetched. Plan, given the broken plan as the current one, chooses that plan. What
// lies on a disk already and has no use in this is taken to be deleted when room is needed.
func PlaceSpares(p Problem, plan *shard.Plan) (Spares, error) {
	if err := p.Validate(); err != nil {
		return Spares{}, err
	}
	if err := plan.Validate(p.Model.Shape); err != nil {
		return Spares{}, err
	}
	d := disks{problem: &p, needed: map[shard.NodeID][]Holding{}, used: map[shard.NodeID]int64{}, node: map[shard.NodeID]*Node{}}
	for i := range p.Nodes {
		d.node[p.Nodes[i].ID] = &p.Nodes[i]
	}
	class := ""
	for s := range plan.Stages {
		for r, rank := range plan.Stages[s].Group {
			n, ok := d.node[rank.Node]
			if !ok {
				return Spares{}, fmt.Errorf("%w: place spares: node %s of the plan is not listed", ErrProblem, rank.Node)
			}
			class = n.Class
			d.add(rank.Node, HoldingOf(plan, s, r))
		}
	}
	out := Spares{Tolerance: 1}
	for _, dead := range plan.Nodes() {
		next, spares, reason := d.provide(plan, dead, class)
		if reason != "" {
			out.Tolerance = 0
			out.Exposed = append(out.Exposed, dead)
			if out.Reason == "" {
				out.Reason = reason
			}
			continue
		}
		out.Spares = append(out.Spares, spares...)
		out.Next = append(out.Next, Next{dead, next})
	}
	return out, nil
}

// disks is what each node has to keep so far. The maps are only looked up.
type disks struct {
	problem *Problem
	node    map[shard.NodeID]*Node
	needed  map[shard.NodeID][]Holding
	used    map[shard.NodeID]int64
}

func (d *disks) add(id shard.NodeID, h Holding) {
	d.used[id] += d.problem.Model.MissingBytes(h, d.needed[id])
	d.needed[id] = append(d.needed[id], h)
}

// provide finds the best plan without a node whose slices have room on the disks, and adds them.
func (d *disks) provide(plan *shard.Plan, dead shard.NodeID, class string) (next *shard.Plan, spares []Spare, reason string) {
	f := factsOf(d.problem, func(n *Node) bool { return n.usable() && n.Class == class && n.ID != dead })
	if len(f.machines) == 0 {
		return nil, nil, fmt.Sprintf("there is no other node that could do the work of %s", dead)
	}
	repairs := f.repairs(plan)
	for _, c := range repairs {
		spares, reason = d.room(c.plan, dead)
		if reason == "" {
			for _, s := range spares {
				d.add(s.Node, s.Want)
			}
			return c.plan, spares, ""
		}
	}
	if len(repairs) == 0 {
		reason = fmt.Sprintf("without %s the model does not fit into the memory of the others", dead)
	}
	return nil, nil, reason
}

// room lists the spares that a plan needs, or says which disk has no room for them.
func (d *disks) room(next *shard.Plan, dead shard.NodeID) (spares []Spare, reason string) {
	for s := range next.Stages {
		for r, rank := range next.Stages[s].Group {
			want := HoldingOf(next, s, r)
			bytes := d.problem.Model.MissingBytes(want, d.needed[rank.Node])
			if bytes == 0 {
				continue
			}
			if disk := d.node[rank.Node].DiskBytes; disk > 0 && d.used[rank.Node]+bytes > disk {
				return nil, fmt.Sprintf("for the death of %s the disk of %s lacks %s", dead, rank.Node, bytesText(float64(d.used[rank.Node]+bytes-disk)))
			}
			spares = append(spares, Spare{Node: rank.Node, Dead: dead, Want: want, Bytes: bytes})
		}
	}
	return spares, ""
}
