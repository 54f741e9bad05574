package planner

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"polynode/shard"
)

// nearEqual is the share of the score by which a plan may be worse than the best one if it moves fewer bytes. It is never more than the
// gain for which plans are replaced.
const nearEqual = 0.01

// choose picks, of the plans that are nearly as good as the best, the one that moves the fewest bytes, then the one with the fewest
// nodes.
func (s *search) choose() (choice, bool) {
	if len(s.pool) == 0 {
		return choice{}, false
	}
	near := math.Inf(1)
	holds := s.problem.holdsOf()
	var choices []choice
	for _, b := range s.pool {
		if b.price.score > near {
			break
		}
		c := choice{search: s, best: s.exchange(b)}
		c.plan = s.plan(c.layout)
		if !s.settle(&c) {
			continue
		}
		near = min(near, c.price.score*(1+min(nearEqual, s.problem.Gain)))
		c.move = s.problem.moveBytes(c.plan, holds)
		choices = append(choices, c)
	}
	if len(choices) == 0 {
		return choice{}, false
	}
	return slices.MinFunc(choices, func(a, b choice) int {
		return cmp.Or(cmp.Compare(a.move, b.move), cmp.Compare(a.nodes(), b.nodes()), cmp.Compare(a.price.score, b.price.score))
	}), true
}

// settle takes a choice's shares and price from its plan. The plan lays shares out by what lies on disks, and so the ragged end of a matrix
// may be another rank's than the search thought. It reports whether the plan fits, as it has to: every rank has room for whole pieces.
func (f *facts) settle(c *choice) bool {
	l, reason := f.layoutOf(c.plan)
	if reason != "" {
		return false
	}
	c.layout, c.price = l, f.priceOf(l)
	return true
}

// nodes is how many take part.
func (b *best) nodes() int {
	n := 0
	for _, g := range b.machines {
		n += len(g)
	}
	return n
}

// keep returns the current plan as the choice if it can go on and the chosen one does not gain enough. If nodes of the current plan
// are gone but it can be repaired without fetching anything, the repaired plan is the choice: it can work at once, and from there a
// better one can be made ready at leisure.
func (p *Problem) keep(chosen choice, searches []*search, report *Report) choice {
	if p.Current == nil {
		return chosen
	}
	reason := ""
	for _, s := range searches {
		l, why := s.layoutOf(p.Current)
		if why == "" {
			return p.keepCurrent(chosen, choice{search: s, plan: p.Current, best: best{candidate: candidate{layout: l, price: s.priceOf(l)}}}, report)
		}
		// The class in which most of the plan lives knows best why it cannot go on.
		if reason == "" || s.machines[0].id == p.Current.Stages[0].Group[0].Node {
			reason = why
		}
	}
	report.Reason = "the current plan cannot go on: " + reason
	if repaired, ok := p.repaired(searches); ok {
		report.Reason += "; this one needs no transfer"
		report.Repaired = true
		return repaired
	}
	return chosen
}

// keepCurrent compares the chosen plan with the current one.
func (p *Problem) keepCurrent(chosen, current choice, report *Report) choice {
	current.move = p.moveBytes(p.Current, p.holdsOf())
	gain := 1 - chosen.price.score/current.price.score
	if gain >= p.Gain && gain > 1e-9 {
		report.Reason = fmt.Sprintf("%.1f %% less time than the current plan", 100*gain)
		return chosen
	}
	report.Kept = true
	report.Reason = "no plan found is better than the current one"
	if gain > 1e-9 {
		report.Reason = fmt.Sprintf("the best plan found takes %.1f %% less time than the current one, and %.1f %% are asked for", 100*gain, 100*p.Gain)
	}
	return current
}

// repaired is the best repair of the current plan for which nothing has to be fetched.
func (p *Problem) repaired(searches []*search) (choice, bool) {
	if p.Current.Model != p.Model.Digest || p.Current.Validate(p.Model.Shape) != nil {
		return choice{}, false
	}
	holds := p.holdsOf()
	for _, s := range searches {
		for _, c := range s.repairs(p.Current) {
			if p.moveBytes(c.plan, holds) == 0 {
				c.search = s
				return c, true
			}
		}
	}
	return choice{}, false
}

// layoutOf is a plan as the search sees it, or the reason why the machines cannot run it.
func (f *facts) layoutOf(plan *shard.Plan) (l layout, reason string) {
	if plan.Model != f.problem.Model.Digest {
		return nil, "it is for another model"
	}
	if err := plan.Validate(f.problem.Model.Shape); err != nil {
		return nil, err.Error()
	}
	at := make(map[shard.NodeID]int, len(f.machines)) // only looked up
	for i, m := range f.machines {
		at[m.id] = i
	}
	l = make(layout, len(plan.Stages))
	for s := range plan.Stages {
		l[s].layers = plan.Stages[s].Layers.Len()
		for _, r := range plan.Stages[s].Group {
			m, ok := at[r.Node]
			if !ok {
				return nil, fmt.Sprintf("node %s takes no part any more", r.Node)
			}
			share := rank{machine: m, heads: r.Heads.Len(), inner: r.Inner.Len(), vocab: r.Vocab.Len()}
			if need := f.sizes.need(l[s].layers, share, s == 0); need > f.machines[m].memory {
				return nil, fmt.Sprintf("node %s lacks %s of memory for its share", r.Node, bytesText(need-f.machines[m].memory))
			}
			l[s].ranks = append(l[s].ranks, share)
		}
	}
	return l, ""
}

// priceOf predicts a layout.
func (f *facts) priceOf(l layout) price {
	meshes := make([]mesh, len(l))
	for s := range l {
		meshes[s] = f.meshOf(l[s].ranks)
	}
	return f.priceLayout(l, meshes)
}
