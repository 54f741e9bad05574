package planner

import (
	"cmp"
	"slices"

	"polynode/shard"
)

// exchange puts machines where they have most of what is needed on their disks, each in the place of another one of its kind, so
// that the price stays the same.
func (s *search) exchange(b best) best {
	shape := &s.problem.Model.Shape
	type fit struct {
		stage, machine int
		bytes          int64 // on the disk of what the stage as a whole needs
	}
	var fits []fit
	layer := 0
	for st := range b.layout {
		all := Holding{
			Layers: shard.Slice{Lo: layer, Hi: layer + b.layout[st].layers}, Heads: shard.Slice{Hi: shape.Heads}, Inner: shard.Slice{Hi: shape.Inner},
			Embed: st == 0,
		}
		if st == len(b.layout)-1 {
			all.Vocab = shard.Slice{Hi: shape.Vocab}
		}
		layer = all.Layers.Hi
		whole := all.Bytes(&s.problem.Model)
		for m := range s.machines {
			if holds := s.problem.Nodes[s.machines[m].node].Holds; len(holds) > 0 {
				if bytes := whole - s.problem.Model.MissingBytes(all, holds); bytes > 0 {
					fits = append(fits, fit{st, m, bytes})
				}
			}
		}
	}
	if len(fits) == 0 {
		return b
	}
	slices.SortStableFunc(fits, func(x, y fit) int { return cmp.Compare(y.bytes, x.bytes) })
	// Each machine goes where it has most, as long as a place of its kind is free.
	out := best{candidate{cloneLayout(b.layout), b.price}, clone(b.machines)}
	taken := make([]bool, len(s.machines))
	done := make([][]bool, len(out.layout))
	for st := range done {
		done[st] = make([]bool, len(out.layout[st].ranks))
	}
	place := func(st, m int) bool {
		for i, r := range b.layout[st].ranks {
			if !done[st][i] && s.kinds[r.machine] == s.kinds[m] {
				done[st][i], taken[m] = true, true
				out.layout[st].ranks[i].machine = m
				return true
			}
		}
		return false
	}
	for _, f := range fits {
		if !taken[f.machine] {
			place(f.stage, f.machine)
		}
	}
	for st := range out.layout {
		for m := range s.machines {
			if !taken[m] && slices.Contains(done[st], false) {
				place(st, m)
			}
		}
		for i, r := range out.layout[st].ranks {
			out.machines[st][i] = r.machine
		}
	}
	return out
}
