package planner

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"polynode/shard"
)

// idle says of every node that is not in the plan why.
func (p *Problem) idle(searches []*search, plan *shard.Plan, score float64) []Idle {
	working := map[shard.NodeID]bool{} // only looked up
	class := ""
	if plan != nil {
		for _, id := range plan.Nodes() {
			working[id] = true
		}
	}
	for i := range p.Nodes {
		if working[p.Nodes[i].ID] {
			class = p.Nodes[i].Class
		}
	}
	var idle []Idle
	for i := range p.Nodes {
		if n := &p.Nodes[i]; !working[n.ID] {
			idle = append(idle, p.idleNode(n, searches, plan != nil, class, score))
		}
	}
	slices.SortFunc(idle, func(a, b Idle) int { return cmp.Compare(a.Node, b.Node) })
	return idle
}

// idleNode says why one node is idle.
func (p *Problem) idleNode(n *Node, searches []*search, planned bool, class string, score float64) Idle {
	out := Idle{Node: n.ID}
	switch {
	case n.Witness:
		out.Cause, out.Reason = IsWitness, "it is a witness: it votes and holds no layers"
	case n.Unreachable:
		out.Cause, out.Reason = Unreachable, "it cannot be reached"
	case n.Draining:
		out.Cause, out.Reason = IsDraining, "it is being drained"
	case planned && n.Class != class:
		out.Cause = OtherClass
		out.Reason = fmt.Sprintf("its numeric class is %q, that of the plan %q, and the last bits of their sums differ", n.Class, class)
	default:
		for _, s := range searches {
			for m := range s.machines {
				if s.machines[m].id == n.ID {
					s.idleMachine(&out, m, planned, score)
				}
			}
		}
	}
	return out
}

// idleMachine says why a machine that might have helped does not.
func (s *search) idleMachine(out *Idle, m int, planned bool, score float64) {
	with := s.with[m]
	least := s.sizes.need(1, rank{inner: s.inUnit}, false)
	switch {
	case s.machines[m].memory < least:
		out.Cause = NoMemory
		out.Reason = fmt.Sprintf("the smallest share needs %s and it has %s", bytesText(least), bytesText(s.machines[m].memory))
	case !planned:
		out.Cause = NoMemory
		whole := s.wholeNeed()
		out.Reason = fmt.Sprintf("alone it lacks %s of %s", bytesText(max(0, whole-s.machines[m].memory)), bytesText(whole))
	case with < score:
		out.Cause = NoGain
		out.Reason = fmt.Sprintf("with it a token would take %.1f %% less time, which is not worth moving weights for", 100*(1-with/score))
	case with < math.Inf(1):
		out.Cause, out.Slower = Slower, with/score-1
		out.Reason = fmt.Sprintf("with it a token would take %.1f %% more time", 100*out.Slower)
	case s.alone(m):
		out.Cause, out.Reason = Unreachable, "it has no link to the other nodes"
	default:
		out.Cause, out.Reason = Slower, "it is too slow, or its memory too small, for the smallest share that helps"
	}
}

// alone reports whether a machine has no link to any other.
func (f *facts) alone(m int) bool {
	n := len(f.machines)
	for i := range n {
		if i != m && f.delay[m*n+i] < math.Inf(1) {
			return false
		}
	}
	return n > 1
}

// wholeNeed is the memory that a node needs to run the model alone.
func (f *facts) wholeNeed() float64 {
	shape := &f.problem.Model.Shape
	return f.sizes.need(shape.Layers, rank{heads: shape.Heads, inner: shape.Inner, vocab: shape.Vocab}, true)
}

// noPlan says how much memory is missing, and where.
func (p *Problem) noPlan(searches []*search) error {
	if len(searches) == 0 {
		return fmt.Errorf("%w: no node can compute: all are witnesses, draining or unreachable; add a node, or end the drain of one", ErrNoPlan)
	}
	// The class that has most is nearest to a plan.
	s := slices.MaxFunc(searches, func(a, b *search) int { return cmp.Compare(a.room(), b.room()) })
	whole, room := s.wholeNeed(), s.room()
	nearest := slices.MaxFunc(s.machines, func(a, b machine) int {
		return cmp.Or(cmp.Compare(a.memory, b.memory), cmp.Compare(b.id, a.id))
	})
	shape, m := &p.Model.Shape, &p.Model
	weights := bytesText(float64(shard.Solo("", *shape, "").WeightBytes(*shape, 0, 0, m.BytesPerWeight)))
	kv := bytesText(float64(shape.Layers*shape.Heads) * s.sizes.kvHead * s.sizes.kvTokens)
	text := fmt.Sprintf("the model needs %s (weights %s, keys and values of one context %s, the rest buffers)", bytesText(whole), weights, kv)
	if room < whole {
		text += fmt.Sprintf("; %s have room for %s together, %s are missing", nodesText(len(s.machines)), bytesText(room), bytesText(whole-room))
	} else {
		text += fmt.Sprintf("; %s have room for %s together, but not in pieces that suit, or too few can reach each other", nodesText(len(s.machines)), bytesText(room))
	}
	text += fmt.Sprintf("; %s, which has most, lacks %s to run it alone", nearest.id, bytesText(max(0, whole-nearest.memory)))
	return fmt.Errorf("%w: %s; add a node or memory, import with a smaller --quant, or use --kv-format q8", ErrNoPlan, text)
}

// room is the memory that all machines together have for shares.
func (f *facts) room() float64 {
	sum := 0.0
	for _, m := range f.machines {
		sum += max(0, m.memory-f.sizes.base)
	}
	return sum
}

func nodesText(n int) string {
	if n == 1 {
		return "1 node"
	}
	return fmt.Sprintf("%d nodes", n)
}
