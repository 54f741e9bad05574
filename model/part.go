package model

import (
	"fmt"

	"polynode/shard"
)

// Share is the part of a model that one rank computes.
type Share struct {
	Layers      shard.Slice
	Heads       shard.Slice // attention heads of each layer
	Inner       shard.Slice // FFN columns of each layer
	Vocab       shard.Slice // rows of the head, in the last stage
	First, Last bool        // whether the stage embeds tokens, whether it makes logits
}

// WholeShare is the share of a rank that computes everything.
func WholeShare(c Config) Share {
	return Share{
		Layers: shard.Slice{Hi: c.Layers},
		Heads:  shard.Slice{Hi: c.Heads},
		Inner:  shard.Slice{Hi: c.Inner},
		Vocab:  shard.Slice{Hi: c.Vocab},
		First:  true, Last: true,
	}
}

// ShareOf is the share of one rank of a valid plan.
func ShareOf(plan *shard.Plan, stage, rank int) (Share, error) {
	if stage < 0 || stage >= len(plan.Stages) || rank < 0 || rank >= len(plan.Stages[stage].Group) {
		return Share{}, fmt.Errorf("share of stage %d rank %d: the plan has no such rank", stage, rank)
	}
	r := plan.Stages[stage].Group[rank]
	return Share{
		Layers: plan.Stages[stage].Layers,
		Heads:  r.Heads, Inner: r.Inner, Vocab: r.Vocab,
		First: stage == 0, Last: stage == len(plan.Stages)-1,
	}, nil
}

// Shape is what the arithmetic of splitting needs of the model behind a source.
func Shape(src Source) shard.Shape {
	c := src.Config()
	return shard.Shape{
		Layers: c.Layers, Heads: c.Heads, HeadDim: c.HeadDim(), Inner: c.Inner, Vocab: c.Vocab,
		Leaf: src.Leaf(), PanelRows: panelRows,
	}
}
