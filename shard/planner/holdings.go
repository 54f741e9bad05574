package planner

import (
	"cmp"
	"math"
	"slices"

	"polynode/shard"
)

// HoldingOf is what a rank of a plan needs on its disk.
func HoldingOf(plan *shard.Plan, stage, rank int) Holding {
	s := &plan.Stages[stage]
	r := &s.Group[rank]
	return Holding{Layers: s.Layers, Heads: r.Heads, Inner: r.Inner, Vocab: r.Vocab, Embed: plan.First(stage)}
}

// Bytes is what the holding takes of a disk.
func (h Holding) Bytes(m *Model) int64 { return m.MissingBytes(h, nil) }

// MissingBytes is how much of want is in none of the holdings: what has to be fetched.
func (m *Model) MissingBytes(want Holding, holds []Holding) int64 {
	embed := float64(m.Shape.Embed())
	weights := float64(missing(holds, want.Layers, want.Heads, headsOf)) * 4 * float64(m.Shape.HeadDim) * embed
	weights += float64(missing(holds, want.Layers, want.Inner, innerOf)) * 2 * embed
	// The head and the embedding are one tensor in a tied model, so one brings the other.
	head, tokens := want.Vocab.Len(), 0
	if !want.Vocab.Empty() {
		head = lengthOf(uncovered(want.Vocab, heldRows(holds, m.Tied, false)))
	}
	if want.Embed {
		all := shard.Slice{Hi: m.Shape.Vocab}
		tokens = lengthOf(uncovered(all, heldRows(holds, m.Tied, true)))
		if m.Tied {
			head = 0
		}
	}
	weights += float64(head+tokens) * embed
	return int64(math.Ceil(weights * m.BytesPerWeight))
}

func headsOf(h *Holding) shard.Slice { return h.Heads }
func innerOf(h *Holding) shard.Slice { return h.Inner }

// heldRows lists the rows of the head, or of the embedding, that are on the disk.
func heldRows(holds []Holding, tied, embedding bool) []shard.Slice {
	var rows []shard.Slice
	for i := range holds {
		if h := &holds[i]; h.Embed && (embedding || tied) {
			rows = append(rows, shard.Slice{Hi: math.MaxInt})
		} else if !embedding || tied {
			rows = append(rows, h.Vocab)
		}
	}
	return rows
}

// missing counts, over some layers, the heads or columns of want that no holding has.
func missing(holds []Holding, layers, want shard.Slice, of func(*Holding) shard.Slice) int {
	if want.Empty() {
		return 0
	}
	borders := []int{layers.Lo, layers.Hi}
	for i := range holds {
		for _, at := range []int{holds[i].Layers.Lo, holds[i].Layers.Hi} {
			if layers.Lo < at && at < layers.Hi {
				borders = append(borders, at)
			}
		}
	}
	slices.Sort(borders)
	count := 0
	var held []shard.Slice
	for i := range len(borders) - 1 {
		run := shard.Slice{Lo: borders[i], Hi: borders[i+1]}
		if run.Empty() {
			continue
		}
		held = held[:0]
		for j := range holds {
			if holds[j].Layers.Lo <= run.Lo && run.Hi <= holds[j].Layers.Hi {
				held = append(held, of(&holds[j]))
			}
		}
		count += run.Len() * lengthOf(uncovered(want, held))
	}
	return count
}

// uncovered is what remains of a slice when others are taken away. It sorts the others.
func uncovered(want shard.Slice, held []shard.Slice) []shard.Slice {
	slices.SortFunc(held, func(a, b shard.Slice) int { return cmp.Compare(a.Lo, b.Lo) })
	var rest []shard.Slice
	at := want.Lo
	for _, h := range held {
		if h.Empty() || h.Hi <= at {
			continue
		}
		if h.Lo >= want.Hi {
			break
		}
		if h.Lo > at {
			rest = append(rest, shard.Slice{Lo: at, Hi: h.Lo})
		}
		at = h.Hi
	}
	if at < want.Hi {
		rest = append(rest, shard.Slice{Lo: at, Hi: want.Hi})
	}
	return rest
}

// lengthOf is the length of some slices together.
func lengthOf(parts []shard.Slice) int {
	n := 0
	for _, p := range parts {
		n += p.Len()
	}
	return n
}

// moveBytes is what the nodes of a plan have to fetch, in all.
func (p *Problem) moveBytes(plan *shard.Plan, holds func(shard.NodeID) []Holding) int64 {
	sum := int64(0)
	for s := range plan.Stages {
		for r := range plan.Stages[s].Group {
			sum += p.Model.MissingBytes(HoldingOf(plan, s, r), holds(plan.Stages[s].Group[r].Node))
		}
	}
	return sum
}

// holdsOf looks up what is on the disks of the nodes.
func (p *Problem) holdsOf() func(shard.NodeID) []Holding {
	at := make(map[shard.NodeID]int, len(p.Nodes)) // only looked up
	for i := range p.Nodes {
		at[p.Nodes[i].ID] = i
	}
	return func(id shard.NodeID) []Holding {
		if i, ok := at[id]; ok {
			return p.Nodes[i].Holds
		}
		return nil
	}
}
