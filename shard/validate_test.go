package shard

import (
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestValidateRefuses(t *testing.T) {
	for _, test := range []struct {
		name  string
		want  string // part of the error
		spoil func(*Plan)
	}{
		{"no stages", "no stages", func(p *Plan) { p.Stages = nil }},
		{"empty group", "stage 0: heads: nobody has [0, 8)", func(p *Plan) { p.Stages[0].Group = nil }},
		{"layers begin late", "stage 0: layers [1, 3)", func(p *Plan) { p.Stages[0].Layers.Lo = 1 }},
		{"layers overlap", "stage 1: layers [2, 6)", func(p *Plan) { p.Stages[1].Layers.Lo-- }},
		{"layers missing at the end", "layers [5, 6) belong to no stage", func(p *Plan) { p.Stages[1].Layers.Hi-- }},
		{"layers beyond the model", "stage 1: layers [3, 7)", func(p *Plan) { p.Stages[1].Layers.Hi++ }},
		{"delay below zero", "stage 0: -1 bytes of delay", func(p *Plan) { p.Stages[0].DelayBytes = -1 }},
		{"delay beyond reason", "stage 1: 1099511627777 bytes of delay", func(p *Plan) { p.Stages[1].DelayBytes = DelayBytesMax + 1 }},
		{"stage without layers", "stage 1: layers [3, 3)", func(p *Plan) { p.Stages[1].Layers.Hi = 3 }},
		{"heads overlap", "stage 0 rank 1: heads [3, 8)", func(p *Plan) { p.Stages[0].Group[1].Heads.Lo-- }},
		{"heads missing", "stage 0 rank 1: heads [5, 8): nobody has [4, 5)", func(p *Plan) { p.Stages[0].Group[1].Heads.Lo++ }},
		{"heads missing at the end", "stage 0: heads: nobody has [7, 8)", func(p *Plan) { p.Stages[0].Group[1].Heads.Hi-- }},
		{"heads beyond the model", "stage 0 rank 1: heads [4, 9) outside", func(p *Plan) { p.Stages[0].Group[1].Heads.Hi++ }},
		{"negative", "stage 0 rank 0: heads [-1, 4) outside", func(p *Plan) { p.Stages[0].Group[0].Heads.Lo = -1 }},
		{"backwards", "stage 0 rank 0: heads [4, 0) outside", func(p *Plan) { p.Stages[0].Group[0].Heads = Slice{4, 0} }},
		{"columns within a leaf", "stage 0 rank 0: FFN columns [0, 528): border 528 is not a multiple of 32", func(p *Plan) {
			p.Stages[0].Group[0].Inner.Hi, p.Stages[0].Group[1].Inner.Lo = 528, 528
		}},
		{"rows within a panel", "stage 1 rank 0: vocabulary rows [0, 2056): border 2056 is not a multiple of 16", func(p *Plan) {
			p.Stages[1].Group[0].Vocab.Hi, p.Stages[1].Group[1].Vocab.Lo = 2056, 2056
		}},
		{"vocabulary in the first stage", "stage 0 rank 0: vocabulary rows [0, 16) outside [0, 0)", func(p *Plan) {
			p.Stages[0].Group[0].Vocab = Slice{0, 16}
		}},
		{"vocabulary missing", "stage 1: vocabulary rows: nobody has [2048, 4090)", func(p *Plan) { p.Stages[1].Group[1].Vocab = Slice{} }},
		{"node twice", "stage 1 rank 0: node a has a rank already", func(p *Plan) { p.Stages[1].Group[0].Node = "a" }},
		{"no node", "stage 1 rank 1: no node", func(p *Plan) { p.Stages[1].Group[1].Node = "" }},
	} {
		plan, err := Build(tiny, "digest", [][]Member{{{Node: "a"}, {Node: "b"}}, {{Node: "c"}, {Node: "d"}}})
		if err != nil {
			t.Fatal(err)
		}
		test.spoil(plan)
		err = plan.Validate(tiny)
		if !errors.Is(err, ErrPlan) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
}

func TestValidateAllows(t *testing.T) {
	for name, change := range map[string]func(*Plan){
		"slices in any order": func(p *Plan) {
			group := p.Stages[0].Group
			group[0].Heads, group[1].Heads = group[1].Heads, group[0].Heads
		},
		"an empty slice in the middle": func(p *Plan) {
			p.Stages[0].Group = append(p.Stages[0].Group, Rank{Node: "e", Heads: Slice{2, 2}, Inner: Slice{0, 0}})
		},
	} {
		plan, err := Build(tiny, "digest", [][]Member{{{Node: "a"}, {Node: "b"}}, {{Node: "c"}, {Node: "d"}}})
		if err != nil {
			t.Fatal(err)
		}
		change(plan)
		if err := plan.Validate(tiny); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestShapeLimits(t *testing.T) {
	for name, change := range map[string]func(*Shape){
		"no layers":  func(s *Shape) { s.Layers = 0 },
		"negative":   func(s *Shape) { s.Vocab = -1 },
		"large":      func(s *Shape) { s.Inner = sizeMax + 1 },
		"large leaf": func(s *Shape) { s.Leaf = unitMax + 1 },
		"no panel":   func(s *Shape) { s.PanelRows = 0 },
	} {
		shape := tiny
		change(&shape)
		if err := Solo("a", shape, "digest").Validate(shape); !errors.Is(err, ErrPlan) {
			t.Errorf("%s: %v", name, err)
		}
	}
	largest := Shape{sizeMax, sizeMax, sizeMax - 1, sizeMax, sizeMax, unitMax - 1, unitMax - 3}
	if err := Solo("a", largest, "digest").Validate(largest); err != nil {
		t.Errorf("the largest shape: %v", err)
	}
}

// A plan with one border moved away from its neighbour owns something twice or not at all, and is refused.
func TestValidateMovedBorder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		shape := drawShape(t)
		plan, err := Build(shape, "digest", drawStages(t, min(shape.Layers, 5)))
		if err != nil {
			t.Fatal(err)
		}
		stage := &plan.Stages[rapid.IntRange(0, len(plan.Stages)-1).Draw(t, "stage")]
		rank := &stage.Group[rapid.IntRange(0, len(stage.Group)-1).Draw(t, "rank")]
		cuts := []*Slice{&stage.Layers, &rank.Heads, &rank.Inner, &rank.Vocab}
		cut := cuts[rapid.IntRange(0, len(cuts)-1).Draw(t, "slice")]
		border := &cut.Lo
		if cut.Empty() || rapid.Bool().Draw(t, "high") {
			border = &cut.Hi
		}
		*border += rapid.IntRange(1, 64).Draw(t, "by") * rapid.SampledFrom([]int{-1, 1}).Draw(t, "sign")
		if err := plan.Validate(shape); !errors.Is(err, ErrPlan) {
			t.Fatalf("%+v: %v", plan, err)
		}
	})
}
