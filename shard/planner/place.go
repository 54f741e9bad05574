package planner

import (
	"cmp"
	"slices"

	"polynode/shard"
)

// planLike turns a layout into a plan whose ranks lie in the order of the shares that they had in another plan; likes has them by stage
// and rank.
func (f *facts) planLike(l layout, likes [][]shard.Rank) *shard.Plan {
	shape := &f.problem.Model.Shape
	return f.assemble(l, func(s int) (heads, inner, vocab []shard.Slice) {
		divide := func(n, size int, countOf func(rank) int, was func(shard.Rank) shard.Slice) []shard.Slice {
			p := &placing{n: n, size: size}
			var row []int
			for i, r := range l[s].ranks {
				p.counts = append(p.counts, (countOf(r)+size-1)/size)
				row = append(row, i)
			}
			slices.SortStableFunc(row, func(a, b int) int { return cmp.Compare(was(likes[s][a]).Lo, was(likes[s][b]).Lo) })
			return p.slices(row)
		}
		return divide(shape.Heads, f.headUnit, func(r rank) int { return r.heads }, func(r shard.Rank) shard.Slice { return r.Heads }),
			divide(shape.Inner, f.inUnit, func(r rank) int { return r.inner }, func(r shard.Rank) shard.Slice { return r.Inner }),
			divide(shape.Vocab, f.voUnit, func(r rank) int { return r.vocab }, func(r shard.Rank) shard.Slice { return r.Vocab })
	})
}

// plan turns a layout into a plan. Which heads, columns and rows a rank gets, of the number that it is to get, is chosen so that it has
// as many of them on its disk as possible.
func (f *facts) plan(l layout) *shard.Plan {
	shape := &f.problem.Model.Shape
	layer := 0
	return f.assemble(l, func(s int) (heads, inner, vocab []shard.Slice) {
		ranks, layers := l[s].ranks, shard.Slice{Lo: layer, Hi: layer + l[s].layers}
		layer = layers.Hi
		heads = f.place(ranks, layers, shape.Heads, f.headUnit, func(r rank) int { return r.heads }, headsOf)
		inner = f.place(ranks, layers, shape.Inner, f.inUnit, func(r rank) int { return r.inner }, innerOf)
		if s == len(l)-1 {
			vocab = f.place(ranks, shard.Slice{Hi: 1}, shape.Vocab, f.voUnit, func(r rank) int { return r.vocab }, nil)
		}
		return heads, inner, vocab
	})
}

// assemble makes the plan of a layout whose matrices are divided stage by stage.
func (f *facts) assemble(l layout, divide func(stage int) (heads, inner, vocab []shard.Slice)) *shard.Plan {
	plan := &shard.Plan{Model: f.problem.Model.Digest, Stages: make([]shard.Stage, len(l))}
	layer := 0
	for s := range l {
		heads, inner, vocab := divide(s)
		group := make([]shard.Rank, len(l[s].ranks))
		for i, r := range l[s].ranks {
			group[i] = shard.Rank{Node: f.machines[r.machine].id, Heads: heads[i], Inner: inner[i]}
			if s == len(l)-1 {
				group[i].Vocab = vocab[i]
			}
		}
		slices.SortStableFunc(group, func(a, b shard.Rank) int {
			return cmp.Or(cmp.Compare(a.Heads.Lo, b.Heads.Lo), cmp.Compare(a.Inner.Lo, b.Inner.Lo), cmp.Compare(a.Vocab.Lo, b.Vocab.Lo))
		})
		plan.Stages[s] = shard.Stage{Layers: shard.Slice{Lo: layer, Hi: layer + l[s].layers}, Group: group}
		if len(group) > 2 { // two have no use for a second step
			m := f.meshOf(l[s].ranks)
			plan.Stages[s].DelayBytes = m.delayBytes()
		}
		layer += l[s].layers
	}
	return plan
}

// placeMax bounds the search for the places of newcomers in a group.
const placeMax = 20_000

// place divides [0, n) among ranks that get so many each. of says what a holding has of this dimension; nil is the rows of the head.
func (f *facts) place(ranks []rank, layers shard.Slice, n, size int, countOf func(rank) int, of func(*Holding) shard.Slice) []shard.Slice {
	p := &placing{n: n, size: size, counts: make([]int, len(ranks)), miss: make([]func(shard.Slice) int, len(ranks))}
	centres := make([]float64, len(ranks))
	var fixed, loose []int
	for i, r := range ranks {
		p.counts[i] = (countOf(r) + size - 1) / size
		holds := f.problem.Nodes[f.machines[r.machine].node].Holds
		if of == nil {
			holds = wholeLayer(holds, f.problem.Model.Tied)
			p.miss[i] = func(want shard.Slice) int { return missing(holds, layers, want, headsOf) }
			centres[i] = centre(holds, layers, headsOf)
		} else {
			p.miss[i] = func(want shard.Slice) int { return missing(holds, layers, want, of) }
			centres[i] = centre(holds, layers, of)
		}
		if centres[i] >= 0 && p.counts[i] > 0 {
			fixed = append(fixed, i)
		} else {
			loose = append(loose, i)
		}
	}
	// Who has something stays in the order of what it has; the others go where they are least in the way.
	slices.SortStableFunc(fixed, func(a, b int) int { return cmp.Compare(centres[a], centres[b]) })
	if len(fixed) == 0 {
		return p.slices(loose)
	}
	row := fixed
	for _, i := range loose {
		if len(loose)*len(ranks)*len(ranks) > placeMax {
			row = append(row, i)
			continue
		}
		row = p.insert(row, i)
	}
	return p.slices(row)
}

// placing is one dimension of a stage while it is being divided.
type placing struct {
	n, size int
	counts  []int                   // by rank, in units
	miss    []func(shard.Slice) int // by rank, how much of a slice it lacks
}

// insert puts a rank into the row where the whole row lacks least; at the end if that is as good.
func (p *placing) insert(row []int, rank int) []int {
	if len(row) == 0 || p.counts[rank] == 0 {
		return append(row, rank)
	}
	bestAt, least := 0, -1
	for at := len(row); at >= 0; at-- {
		lacking := p.lacking(slices.Insert(slices.Clone(row), at, rank))
		if least < 0 || lacking < least {
			bestAt, least = at, lacking
		}
	}
	return slices.Insert(row, bestAt, rank)
}

// lacking is what all ranks lack when they are in this order.
func (p *placing) lacking(row []int) int {
	sum := 0
	for i, s := range p.slices(row) {
		if !s.Empty() {
			sum += p.miss[i](s)
		}
	}
	return sum
}

// slices are the parts of [0, n) by rank, when they lie in this order.
func (p *placing) slices(row []int) []shard.Slice {
	parts := make([]shard.Slice, len(p.counts))
	at := 0
	for _, i := range row {
		end := min(at+p.counts[i]*p.size, p.n)
		parts[i] = shard.Slice{Lo: at, Hi: end}
		at = end
	}
	return parts
}

// centre is the middle of what the holdings have, weighted by its amount; -1 if they have nothing.
func centre(holds []Holding, layers shard.Slice, of func(*Holding) shard.Slice) float64 {
	sum, weight := 0.0, 0.0
	for i := range holds {
		h := &holds[i]
		part := of(h)
		overlap := min(h.Layers.Hi, layers.Hi) - max(h.Layers.Lo, layers.Lo)
		if overlap > 0 && !part.Empty() {
			w := float64(overlap) * float64(part.Len())
			sum += w * float64(part.Lo+part.Hi) / 2
			weight += w
		}
	}
	if weight == 0 {
		return -1
	}
	return sum / weight
}

// wholeLayer presents the rows of the head that are held as the heads of a model with one layer.
func wholeLayer(holds []Holding, tied bool) []Holding {
	var out []Holding
	for _, rows := range heldRows(holds, tied, false) {
		if !rows.Empty() {
			out = append(out, Holding{Layers: shard.Slice{Hi: 1}, Heads: rows})
		}
	}
	return out
}
