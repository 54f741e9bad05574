package shard

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// ErrPlan reports a plan, or a wish for one, that the model cannot be cut by.
var ErrPlan = errors.New("plan")

// Validate proves that the plan computes the whole model and nothing twice: the stages own every layer in order, and
// in each stage the ranks own every head and FFN column exactly once, as they do every vocabulary row in the last
// stage. Borders must lie where packed weights may be cut. Slices of a group may lie in any order. A node has one rank
// at most. The error wraps ErrPlan and names the stage and the rank.
func (p *Plan) Validate(shape Shape) error {
	if err := shape.Validate(); err != nil {
		return err
	}
	if len(p.Stages) == 0 {
		return fmt.Errorf("%w: no stages", ErrPlan)
	}
	seen := map[NodeID]bool{}
	layer := 0
	for s := range p.Stages {
		stage := &p.Stages[s]
		if stage.Layers.Lo != layer || stage.Layers.Empty() || stage.Layers.Hi > shape.Layers {
			return fmt.Errorf("%w: stage %d: layers %v, want a run from %d in %d layers", ErrPlan, s, stage.Layers, layer, shape.Layers)
		}
		layer = stage.Layers.Hi
		if stage.DelayBytes < 0 || stage.DelayBytes > DelayBytesMax {
			return fmt.Errorf("%w: stage %d: %d bytes of delay, limit %d", ErrPlan, s, stage.DelayBytes, int64(DelayBytesMax))
		}
		for r, rank := range stage.Group {
			if rank.Node == "" {
				return fmt.Errorf("%w: stage %d rank %d: no node", ErrPlan, s, r)
			}
			if seen[rank.Node] {
				return fmt.Errorf("%w: stage %d rank %d: node %s has a rank already", ErrPlan, s, r, rank.Node)
			}
			seen[rank.Node] = true
		}
		if err := stage.validate(shape, p.Last(s)); err != nil {
			return fmt.Errorf("%w: stage %d%w", ErrPlan, s, err)
		}
	}
	if layer != shape.Layers {
		return fmt.Errorf("%w: layers %v belong to no stage", ErrPlan, Slice{layer, shape.Layers})
	}
	return nil
}

// validate checks what the group owns of each matrix.
func (s *Stage) validate(shape Shape, last bool) error {
	vocab := 0
	if last {
		vocab = shape.Vocab
	}
	err := covers(s.Group, "heads", shape.Heads, shape.HeadUnit(), func(r Rank) Slice { return r.Heads })
	if err == nil {
		err = covers(s.Group, "FFN columns", shape.Inner, shape.InnerUnit(), func(r Rank) Slice { return r.Inner })
	}
	if err == nil {
		err = covers(s.Group, "vocabulary rows", vocab, shape.VocabUnit(), func(r Rank) Slice { return r.Vocab })
	}
	return err
}

// covers checks that the slices of a group own [0, n) exactly once and have legal borders. Its errors go on where
// the caller's "stage 3" ends.
func covers(group []Rank, what string, n, unit int, of func(Rank) Slice) error {
	var order []int
	for r := range group {
		cut := of(group[r])
		if cut.Lo < 0 || cut.Hi < cut.Lo || cut.Hi > n {
			return fmt.Errorf(" rank %d: %s %v outside [0, %d)", r, what, cut, n)
		}
		for _, border := range []int{cut.Lo, cut.Hi} {
			if border%unit != 0 && border != n {
				return fmt.Errorf(" rank %d: %s %v: border %d is not a multiple of %d", r, what, cut, border, unit)
			}
		}
		if !cut.Empty() {
			order = append(order, r)
		}
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(of(group[a]).Lo, of(group[b]).Lo) })
	at := 0
	for _, r := range order {
		cut := of(group[r])
		if cut.Lo > at {
			return fmt.Errorf(" rank %d: %s %v: nobody has %v", r, what, cut, Slice{at, cut.Lo})
		}
		if cut.Lo < at {
			return fmt.Errorf(" rank %d: %s %v: another rank has them up to %d", r, what, cut, at)
		}
		at = cut.Hi
	}
	if at != n {
		return fmt.Errorf(": %s: nobody has %v", what, Slice{at, n})
	}
	return nil
}
