package planner

import (
	"math"
	"slices"
)

// group is the machines of a stage before anything is cut, with what does not depend on the cut.
type group struct {
	ranks  []rank // only the machines are set
	mesh   mesh
	first  bool
	last   bool
	heads  []float64 // by rank: seconds for each head and layer, of all passes as they weigh
	inner  []float64
	vocab  []float64
	layerS float64 // seconds for each layer when memory is no matter
	most   int     // layers for which there is memory
}

// newGroup measures a group.
func (f *facts) newGroup(machines []int, stages, at int) *group {
	g := &group{
		ranks: make([]rank, len(machines)), first: at == 0, last: at == stages-1,
		heads: make([]float64, len(machines)), inner: make([]float64, len(machines)), vocab: make([]float64, len(machines)),
	}
	w := &f.problem.Workload
	rows := 1
	if w.Objective == Throughput {
		rows = (w.Sequences + stages - 1) / stages
	} else {
		rows = w.Sequences
	}
	decode, prompt := f.decoding(rows), f.prompting()
	each, share := 1/float64(rows), w.PromptShare/float64(w.Prompt)
	for i, m := range machines {
		g.ranks[i].machine = m
		d, p := f.unit(m, decode), f.unit(m, prompt)
		g.heads[i] = each*(d.weights+d.attention) + share*(p.weights+p.attention)
		g.inner[i] = each*d.inner + share*p.inner
		g.vocab[i] = each*d.vocab + share*p.vocab
	}
	g.mesh = f.meshOf(g.ranks)
	g.layerS = f.layerSeconds(g, each, share, decode, prompt)
	g.most = f.layersMost(g)
	return g
}

// layerSeconds is what a layer costs the group when each rank may have what suits its speed.
func (f *facts) layerSeconds(g *group, each, share float64, decode, prompt pass) float64 {
	shape := &f.problem.Model.Shape
	slowest := func(n, size int, costs []float64) float64 {
		counts, _ := spread((n+size-1)/size, costs, nil)
		most := 0.0
		for i, count := range counts {
			most = max(most, float64(count*size)*costs[i])
		}
		return most
	}
	s := slowest(shape.Heads, f.headUnit, g.heads) + slowest(shape.Inner, f.inUnit, g.inner)
	if len(g.ranks) > 1 {
		row := float64(shape.Embed()) * f.problem.Costs.SumBytes
		s += 2 * (each*g.mesh.allReduce(decode.rows*row) + share*g.mesh.allReduce(prompt.rows*row))
	}
	return s
}

// layersMost is the most layers for which the group has memory, whatever way heads are divided: after them the rest of each
// rank is filled with FFN columns and vocabulary rows, and each rank may lose less than one of each to rounding. More
// memory never gives fewer layers.
func (f *facts) layersMost(g *group) int {
	lo, hi := 0, f.problem.Model.Shape.Layers
	for lo < hi {
		if mid := (lo + hi + 1) / 2; f.fits(g, mid) {
			lo = mid
		} else {
			hi = mid - 1
		}
	}
	return lo
}

// fits reports whether so many layers have room in the group.
func (f *facts) fits(g *group, layers int) bool {
	shape := &f.problem.Model.Shape
	all := rank{heads: shape.Heads, inner: shape.Inner}
	if g.last {
		all.vocab = shape.Vocab
	}
	base := f.sizes.need(0, rank{}, g.first)
	need := f.sizes.need(layers, all, g.first) - base
	if len(g.ranks) == 1 {
		return need+base <= f.machines[g.ranks[0].machine].memory
	}
	head, lost := f.headBytes(layers), f.inBytes(layers)
	if g.last {
		lost += float64(f.voUnit) * f.sizes.vocab
	}
	room, heads := 0.0, 0.0
	for _, r := range g.ranks {
		memory := f.machines[r.machine].memory - base
		room += memory - lost
		heads += math.Floor(max(0, memory) / head)
	}
	return room >= need && heads >= float64((shape.Heads+f.headUnit-1)/f.headUnit)
}

// headBytes is the memory of the heads between two borders.
func (f *facts) headBytes(layers int) float64 {
	return float64(f.headUnit*layers) * f.sizes.headLayer
}

// inBytes is the memory of the FFN columns between two borders.
func (f *facts) inBytes(layers int) float64 {
	return float64(f.inUnit) * (float64(layers)*f.sizes.inLayer + f.sizes.inOnce)
}

// cut divides the matrices of a group of so many layers among its ranks, in proportion to their speed as far as their memory
// allows. It reports whether memory got in the way, and whether there was enough.
func (f *facts) cut(g *group, layers int) (st stage, tight, ok bool) {
	st = stage{layers: layers, ranks: slices.Clone(g.ranks)}
	if len(g.ranks) == 1 {
		st.ranks[0] = f.whole(g)
		return st, false, true
	}
	room := make([]float64, len(st.ranks))
	for i, r := range st.ranks {
		room[i] = f.machines[r.machine].memory - f.sizes.need(0, rank{}, g.first)
	}
	shape := &f.problem.Model.Shape
	for _, d := range []struct {
		n, size int
		bytes   float64
		costs   []float64
		count   func(*rank) *int
		absent  bool
	}{
		{shape.Heads, f.headUnit, f.headBytes(layers), g.heads, func(r *rank) *int { return &r.heads }, false},
		{shape.Inner, f.inUnit, f.inBytes(layers), g.inner, func(r *rank) *int { return &r.inner }, false},
		{shape.Vocab, f.voUnit, float64(f.voUnit) * f.sizes.vocab, g.vocab, func(r *rank) *int { return &r.vocab }, !g.last},
	} {
		if d.absent {
			continue
		}
		caps := make([]int, len(room))
		for i := range caps {
			caps[i] = int(max(0, min(math.Floor(room[i]/d.bytes), math.MaxInt32)))
		}
		units := (d.n + d.size - 1) / d.size
		counts, enough := spread(units, d.costs, caps)
		if !enough {
			return st, true, false
		}
		ragged := units*d.size - d.n // that the last rank has less
		for i := len(counts) - 1; i >= 0; i-- {
			tight = tight || counts[i] == caps[i]
			room[i] -= float64(counts[i]) * d.bytes
			*d.count(&st.ranks[i]) = counts[i] * d.size
			if counts[i] > 0 {
				*d.count(&st.ranks[i]) -= ragged
				ragged = 0
			}
		}
	}
	return st, tight, true
}

// whole is the share of a rank that is alone in its stage.
func (f *facts) whole(g *group) rank {
	shape := &f.problem.Model.Shape
	r := rank{machine: g.ranks[0].machine, heads: shape.Heads, inner: shape.Inner}
	if g.last {
		r.vocab = shape.Vocab
	}
	return r
}

// spread divides units among machines that need costs[i] for each, so that the slowest is done as early as can be; of equal
// ones the first gets more. caps, if any, bound what each may get; too tight ones make it fail.
func spread(units int, costs []float64, caps []int) ([]int, bool) {
	counts := make([]int, len(costs))
	capOf := func(i int) int {
		if caps == nil {
			return units
		}
		return min(caps[i], units)
	}
	room := 0
	for i := range costs {
		room += capOf(i)
	}
	if room < units {
		return counts, false
	}
	// Everybody gets what it can do until the time at which all would be done if units were divisible. The best division
	// takes at least that long, so nobody gets too much.
	level := fill(float64(units), costs, capOf)
	left := units
	for i, cost := range costs {
		counts[i] = max(0, min(capOf(i), int(math.Floor(level/cost))))
		left -= counts[i]
	}
	for ; left < 0; left++ { // rounding
		worst := 0
		for i := range counts {
			if float64(counts[i])*costs[i] >= float64(counts[worst])*costs[worst] {
				worst = i
			}
		}
		counts[worst]--
	}
	for ; left > 0; left-- {
		best := -1
		for i := range counts {
			if counts[i] < capOf(i) && (best < 0 || float64(counts[i]+1)*costs[i] < float64(counts[best]+1)*costs[best]) {
				best = i
			}
		}
		counts[best]++
	}
	return counts, true
}

// fill is the time at which divisible units are done, when nobody takes more than its cap.
func fill(units float64, costs []float64, capOf func(int) int) float64 {
	full := make([]bool, len(costs))
	for {
		speed := 0.0
		for i, cost := range costs {
			if !full[i] {
				speed += 1 / cost
			}
		}
		if speed == 0 {
			return math.Inf(1)
		}
		level, again := units/speed, false
		for i, cost := range costs {
			if c := float64(capOf(i)); !full[i] && level/cost > c {
				full[i], again = true, true
				units -= c
			}
		}
		if !again {
			return level
		}
	}
}
