package shard

import "fmt"

// Member is a node that takes part in a stage, and how much of it the node should get compared with the other members.
// Weights of zero all around mean equal parts.
type Member struct {
	Node                NodeID
	Heads, Inner, Vocab float64
}

// Build makes a plan of one stage per list of members. Layers are divided in proportion to what the members of each
// stage weigh together (Heads and Inner), at least one each; heads, FFN columns and, in the last stage, vocabulary
// rows in proportion to the members' weights. The plan is valid, or the error wraps ErrPlan. Its epoch is zero.
func Build(shape Shape, model string, stages [][]Member) (*Plan, error) {
	if err := shape.Validate(); err != nil {
		return nil, err
	}
	if len(stages) < 1 || len(stages) > shape.Layers {
		return nil, fmt.Errorf("%w: %d stages for %d layers", ErrPlan, len(stages), shape.Layers)
	}
	plan := &Plan{Model: model, Stages: make([]Stage, len(stages))}
	for s, layers := range cutLayers(shape.Layers, stages) {
		plan.Stages[s].Layers = layers
		plan.Stages[s].Group = cutGroup(shape, stages[s], plan.Last(s))
	}
	if err := plan.Validate(shape); err != nil {
		return nil, err
	}
	return plan, nil
}

// Solo is the plan of one node that computes everything.
func Solo(node NodeID, shape Shape, model string) *Plan {
	return &Plan{Model: model, Stages: []Stage{{
		Layers: Slice{0, shape.Layers},
		Group: []Rank{{
			Node:  node,
			Heads: Slice{0, shape.Heads},
			Inner: Slice{0, shape.Inner},
			Vocab: Slice{0, shape.Vocab},
		}},
	}}}
}

// cutLayers gives each stage its layers; a stage that would get none takes one from the stage that has most.
func cutLayers(layers int, stages [][]Member) []Slice {
	weights := make([]float64, len(stages))
	for s, members := range stages {
		for _, m := range members {
			weights[s] += m.Heads + m.Inner
		}
	}
	counts := apportion(layers, weights)
	for s := range counts {
		if counts[s] > 0 {
			continue
		}
		most := 0
		for i := range counts {
			if counts[i] > counts[most] {
				most = i
			}
		}
		counts[most]--
		counts[s]++
	}
	cuts := make([]Slice, len(stages))
	at := 0
	for s, count := range counts {
		cuts[s] = Slice{at, at + count}
		at += count
	}
	return cuts
}

// cutGroup divides the matrices of one stage among its members.
func cutGroup(shape Shape, members []Member, last bool) []Rank {
	group := make([]Rank, len(members))
	weights := make([]float64, len(members))
	cut := func(n, unit int, weight func(Member) float64) []Slice {
		for i, m := range members {
			weights[i] = weight(m)
		}
		return Cut(n, unit, weights)
	}
	heads := cut(shape.Heads, shape.HeadUnit(), func(m Member) float64 { return m.Heads })
	inner := cut(shape.Inner, shape.InnerUnit(), func(m Member) float64 { return m.Inner })
	vocab := cut(shape.Vocab, shape.VocabUnit(), func(m Member) float64 { return m.Vocab })
	for i, m := range members {
		group[i] = Rank{Node: m.Node, Heads: heads[i], Inner: inner[i]}
		if last {
			group[i].Vocab = vocab[i]
		}
	}
	return group
}
