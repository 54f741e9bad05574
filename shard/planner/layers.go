package planner

import (
	"math"
	"slices"
)

// candidate is a layout with its price.
type candidate struct {
	layout layout
	price  price
}

// arrange makes the best layout that is known of some machines in groups, one for each stage. It fails when they have too little
// memory, when some cannot talk to each other, and when one of them would have nothing to do.
func (f *facts) arrange(machines [][]int) (candidate, bool) {
	groups := make([]*group, len(machines))
	most := 0
	for s := range machines {
		groups[s] = f.newGroup(machines[s], len(machines), s)
		if groups[s].most < 1 || !(groups[s].layerS < math.Inf(1)) {
			return candidate{}, false
		}
		most += groups[s].most
	}
	if len(groups) > f.problem.Model.Shape.Layers || most < f.problem.Model.Shape.Layers {
		return candidate{}, false
	}
	counts := f.layersBySum(groups)
	best, tight, ok := f.build(groups, counts)
	if f.problem.Workload.Objective == Throughput && len(groups) > 1 {
		even := f.layersByMost(groups)
		if other, othersTight, okToo := f.build(groups, even); okToo && (!ok || better(&other.price, &best.price)) {
			best, tight, ok, counts = other, othersTight, true, even
		}
	}
	if !ok {
		return candidate{}, false
	}
	if len(groups) > 1 && (tight || f.problem.Workload.Objective == Throughput) {
		best = f.shift(groups, counts, best)
	}
	for s := range best.layout {
		for _, r := range best.layout[s].ranks {
			if r.heads+r.inner+r.vocab == 0 {
				return candidate{}, false
			}
		}
	}
	return best, best.price.score < math.Inf(1) // which a value that is no number is not
}

// better compares scores; what differs by rounding only is no better.
func better(a, b *price) bool { return a.score < b.score*(1-1e-12) }

// build cuts groups of so many layers each and prices them.
func (f *facts) build(groups []*group, counts []int) (c candidate, tight, ok bool) {
	c.layout = make(layout, len(groups))
	meshes := make([]mesh, len(groups))
	for s, g := range groups {
		st, tightHere, fits := f.cut(g, counts[s])
		if !fits {
			return c, true, false
		}
		tight = tight || tightHere
		c.layout[s], meshes[s] = st, g.mesh
	}
	c.price = f.priceLayout(c.layout, meshes)
	return c, tight, true
}

// layersBySum gives layers to the fastest stages, as many as have room: the sum of the stages' times is least.
func (f *facts) layersBySum(groups []*group) []int {
	counts, left := onesOf(groups, f.problem.Model.Shape.Layers)
	for left > 0 {
		best := -1
		for s, g := range groups {
			if counts[s] < g.most && (best < 0 || g.layerS < groups[best].layerS) {
				best = s
			}
		}
		more := min(left, groups[best].most-counts[best])
		counts[best] += more
		left -= more
	}
	return counts
}

// layersByMost gives each layer to the stage that is done with it first: the slowest stage's time is least.
func (f *facts) layersByMost(groups []*group) []int {
	counts, left := onesOf(groups, f.problem.Model.Shape.Layers)
	offset := f.headSeconds(groups[len(groups)-1])
	for ; left > 0; left-- {
		best, soonest := -1, math.Inf(1)
		for s, g := range groups {
			done := float64(counts[s]+1) * g.layerS
			if s == len(groups)-1 {
				done += offset
			}
			if counts[s] < g.most && done < soonest {
				best, soonest = s, done
			}
		}
		counts[best]++
	}
	return counts
}

// headSeconds is what the last stage needs from its last layer to logits.
func (f *facts) headSeconds(g *group) float64 {
	speed := 0.0
	for _, s := range g.vocab {
		speed += 1 / s
	}
	return float64(f.problem.Model.Shape.Vocab) / speed
}

// onesOf gives each stage one layer.
func onesOf(groups []*group, layers int) (counts []int, left int) {
	counts = slices.Repeat([]int{1}, len(groups))
	return counts, layers - len(groups)
}

// shiftsMax bounds the attempts to improve the layers of one layout.
const shiftsMax = 64

// shift moves layers from stage to stage for as long as that helps: where memory is short the time of a layer depends on how many
// there are.
func (f *facts) shift(groups []*group, counts []int, best candidate) candidate {
	tries, triesMax := 0, shiftsMax
	for _, g := range groups {
		triesMax = min(triesMax, shiftsMax/len(groups), 16*shiftsMax/len(g.ranks))
	}
	for improved := true; improved; {
		improved = false
		for from := range groups {
			for to := range groups {
				if from == to || counts[from] < 2 || counts[to] >= groups[to].most || tries >= triesMax {
					continue
				}
				tries++
				counts[from]--
				counts[to]++
				if c, _, ok := f.build(groups, counts); ok && better(&c.price, &best.price) {
					best, improved = c, true
					continue
				}
				counts[from]++
				counts[to]--
			}
		}
	}
	return best
}
