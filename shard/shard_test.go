package shard

import (
	"fmt"

	"pgregory.net/rapid"
)

// polylm13B and polylm1B are the two published sizes, with the packed layout of the store.
var (
	polylm13B = Shape{Layers: 40, Heads: 40, HeadDim: 128, Inner: 20480, Vocab: 256000, Leaf: 128, PanelRows: 16}
	polylm1B  = Shape{Layers: 24, Heads: 16, HeadDim: 128, Inner: 8192, Vocab: 256000, Leaf: 128, PanelRows: 16}
	tiny      = Shape{Layers: 6, Heads: 8, HeadDim: 32, Inner: 1024, Vocab: 4090, Leaf: 32, PanelRows: 16}
)

// drawShape makes any shape, ragged ends included.
func drawShape(t *rapid.T) Shape {
	return Shape{
		Layers:    rapid.IntRange(1, 48).Draw(t, "layers"),
		Heads:     rapid.IntRange(1, 48).Draw(t, "heads"),
		HeadDim:   rapid.SampledFrom([]int{8, 16, 24, 32, 64, 80, 128}).Draw(t, "head width"),
		Inner:     rapid.IntRange(1, 4000).Draw(t, "inner"),
		Vocab:     rapid.IntRange(1, 4000).Draw(t, "vocab"),
		Leaf:      rapid.SampledFrom([]int{32, 64, 128, 256}).Draw(t, "leaf"),
		PanelRows: 16,
	}
}

// drawStages makes members with any weights for at most so many stages.
func drawStages(t *rapid.T, stagesMax int) [][]Member {
	weight := rapid.OneOf(rapid.Just(0.0), rapid.Just(1.0), rapid.Float64Range(0, 100))
	stages := make([][]Member, rapid.IntRange(1, stagesMax).Draw(t, "stages"))
	for s := range stages {
		for r := range rapid.IntRange(1, 7).Draw(t, "ranks") {
			stages[s] = append(stages[s], Member{
				Node:  NodeID(fmt.Sprintf("n%d-%d", s, r)),
				Heads: weight.Draw(t, "heads"),
				Inner: weight.Draw(t, "inner"),
				Vocab: weight.Draw(t, "vocab"),
			})
		}
	}
	return stages
}
