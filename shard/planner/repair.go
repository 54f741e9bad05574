package planner

import (
	"math"
	"slices"

	"polynode/shard"
)

// repairs are plans for the machines that change a broken plan as little as they can, best first: the ranks that are gone are
// replaced by idle machines, or the others of their stage share what they had; where that is not possible, or there are few machines,
// layers also move between the stages.
// What they look like depends on the plan and the machines only, not on what lies on disks.
func (f *facts) repairs(plan *shard.Plan) []choice {
	at := make(map[shard.NodeID]int, len(f.machines)) // only looked up
	for i, m := range f.machines {
		at[m.id] = i
	}
	b := broken{facts: f.holdingShares(plan), idle: make([]bool, len(f.machines))}
	for i := range b.idle {
		b.idle[i] = true
	}
	for s := range plan.Stages {
		var here []int
		for _, r := range plan.Stages[s].Group {
			m, ok := at[r.Node]
			if !ok {
				m = gone
				b.lost++
			} else {
				b.idle[m] = false
			}
			here = append(here, m)
		}
		b.machines = append(b.machines, here)
		b.likes = append(b.likes, plan.Stages[s].Group)
		b.layers = append(b.layers, plan.Stages[s].Layers.Len())
	}
	if b.lost == 0 {
		return nil
	}
	b.replace()
	b.shrink()
	if len(b.found) == 0 || len(at) <= rearrangeMax {
		b.rearrange()
	}
	slices.SortStableFunc(b.found, func(x, y choice) int {
		switch {
		case better(&x.price, &y.price):
			return -1
		case better(&y.price, &x.price):
			return 1
		}
		return 0
	})
	return b.found
}

// rearrangeMax is the most machines among which a broken plan may be arranged anew though a smaller change would do. It is
// faster afterwards, and takes more room on disks before.
const rearrangeMax = 32

// holdingShares are the same facts, as if there were nothing on the disks but the shares of a plan.
func (f *facts) holdingShares(plan *shard.Plan) *facts {
	out, problem := *f, *f.problem
	problem.Nodes = slices.Clone(problem.Nodes)
	for i := range problem.Nodes {
		n := &problem.Nodes[i]
		n.Holds = nil
		if s, r, ok := plan.Find(n.ID); ok {
			n.Holds = []Holding{HoldingOf(plan, s, r)}
		}
	}
	out.problem = &problem
	return &out
}

// gone stands for a machine that is no longer there.
const gone = -1

// broken is a plan some of whose machines are gone.
type broken struct {
	*facts
	machines [][]int // by stage and rank
	likes    [][]shard.Rank
	layers   []int
	idle     []bool // by machine
	lost     int
	found    []choice
}

// replace puts idle machines where some are gone: for one, each of a few in turn.
func (b *broken) replace() {
	var newcomers []int
	for m, idle := range b.idle {
		if idle {
			newcomers = append(newcomers, m)
		}
	}
	tries := len(newcomers) - b.lost + 1
	for first := range min(tries, 2*newcomersMax) {
		machines := clone(b.machines)
		next := first
		for s := range machines {
			for i, m := range machines[s] {
				if m == gone {
					machines[s][i] = newcomers[next]
					next++
				}
			}
		}
		b.fit(machines, b.likes)
	}
}

// shrink lets the others of a stage share what those that are gone had.
func (b *broken) shrink() {
	machines, likes := make([][]int, len(b.machines)), make([][]shard.Rank, len(b.machines))
	for s := range b.machines {
		for i, m := range b.machines[s] {
			if m != gone {
				machines[s] = append(machines[s], m)
				likes[s] = append(likes[s], b.likes[s][i])
			}
		}
		if len(machines[s]) == 0 {
			return
		}
	}
	b.fit(machines, likes)
}

// fit keeps the plan in which every stage has the layers that it had, if there is memory.
func (b *broken) fit(machines [][]int, likes [][]shard.Rank) {
	l := make(layout, len(machines))
	meshes := make([]mesh, len(machines))
	for s := range machines {
		g := b.newGroup(machines[s], len(machines), s)
		if g.most < b.layers[s] {
			return
		}
		st, _, ok := b.cut(g, b.layers[s])
		if !ok {
			return
		}
		l[s], meshes[s] = st, g.mesh
	}
	b.keep(candidate{l, b.priceLayout(l, meshes)}, b.planLike(l, likes), machines)
}

// rearrange moves layers between the stages that are left, and as a last resort puts all machines into one group or into a row.
func (b *broken) rearrange() {
	var left [][]int
	var all []int
	for s := range b.machines {
		here := slices.DeleteFunc(slices.Clone(b.machines[s]), func(m int) bool { return m == gone })
		if len(here) > 0 {
			left = append(left, here)
			all = append(all, here...)
		}
	}
	if len(all) == 0 {
		return
	}
	tries := [][][]int{left, {all}}
	if len(all) <= b.problem.Model.Shape.Layers {
		row := make([][]int, len(all))
		for i, m := range all {
			row[i] = []int{m}
		}
		tries = append(tries, row)
	}
	for _, machines := range tries {
		if c, ok := b.arrange(machines); ok {
			b.keep(c, b.plan(c.layout), machines)
		}
	}
}

// keep notes a plan that works.
func (b *broken) keep(c candidate, plan *shard.Plan, machines [][]int) {
	if !(c.price.score < math.Inf(1)) || plan.Validate(b.problem.Model.Shape) != nil {
		return
	}
	found := choice{best: best{c, machines}, plan: plan}
	if b.settle(&found) {
		b.found = append(b.found, found)
	}
}
