package shard

import (
	"encoding/json"
	"errors"
	"reflect"
	"testing"

	"pgregory.net/rapid"
)

func TestShapeUnits(t *testing.T) {
	for _, test := range []struct {
		shape        Shape
		heads, inner int
	}{
		{polylm13B, 1, 128},
		{polylm1B, 1, 128},
		{tiny, 1, 32},
		{Shape{HeadDim: 80, Leaf: 128, PanelRows: 16}, 8, 128},
		{Shape{HeadDim: 8, Leaf: 32, PanelRows: 16}, 4, 32},
		{Shape{HeadDim: 128, Leaf: 32, PanelRows: 48}, 3, 96},
	} {
		if heads, inner := test.shape.HeadUnit(), test.shape.InnerUnit(); heads != test.heads || inner != test.inner {
			t.Errorf("%+v: units %d heads, %d columns, want %d, %d", test.shape, heads, inner, test.heads, test.inner)
		}
	}
}

func TestSolo(t *testing.T) {
	for _, shape := range []Shape{polylm13B, polylm1B, tiny} {
		plan := Solo("n1", shape, "digest")
		if err := plan.Validate(shape); err != nil {
			t.Errorf("%+v: %v", shape, err)
		}
		built, err := Build(shape, "digest", [][]Member{{{Node: "n1"}}})
		if err != nil || !reflect.DeepEqual(plan, built) {
			t.Errorf("Solo = %+v, Build = %+v, %v", plan, built, err)
		}
	}
}

func TestBuildUneven(t *testing.T) {
	plan, err := Build(polylm13B, "digest", [][]Member{
		{{Node: "a", Heads: 3, Inner: 3}, {Node: "b", Heads: 1, Inner: 1}},
		{{Node: "c", Heads: 1, Inner: 3, Vocab: 0}, {Node: "d", Heads: 1, Inner: 1, Vocab: 1}},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []Stage{
		{Layers: Slice{0, 23}, Group: []Rank{
			{Node: "a", Heads: Slice{0, 30}, Inner: Slice{0, 15360}},
			{Node: "b", Heads: Slice{30, 40}, Inner: Slice{15360, 20480}},
		}},
		{Layers: Slice{23, 40}, Group: []Rank{
			{Node: "c", Heads: Slice{0, 20}, Inner: Slice{0, 15360}},
			{Node: "d", Heads: Slice{20, 40}, Inner: Slice{15360, 20480}, Vocab: Slice{0, 256000}},
		}},
	}
	if !reflect.DeepEqual(plan.Stages, want) {
		t.Errorf("stages %+v, want %+v", plan.Stages, want)
	}
}

func TestBuildProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		shape := drawShape(t)
		stages := drawStages(t, min(shape.Layers, 5))
		plan, err := Build(shape, "digest", stages)
		if err != nil {
			t.Fatal(err)
		}
		counts := ownership(plan, shape)
		for what, owners := range counts {
			for i, n := range owners {
				if n != 1 {
					t.Fatalf("%s %d has %d owners in %+v", what, i, n, plan)
				}
			}
		}
		again, _ := Build(shape, "digest", stages)
		if !reflect.DeepEqual(plan, again) {
			t.Fatal("two calls, two plans")
		}
	})
}

// ownership counts the owners of each layer's heads and columns and of each vocabulary row, one by one.
func ownership(plan *Plan, shape Shape) map[string][]int {
	heads := make([]int, shape.Layers*shape.Heads)
	inner := make([]int, shape.Layers*shape.Inner)
	vocab := make([]int, shape.Vocab)
	for _, stage := range plan.Stages {
		for _, rank := range stage.Group {
			for layer := stage.Layers.Lo; layer < stage.Layers.Hi; layer++ {
				for i := rank.Heads.Lo; i < rank.Heads.Hi; i++ {
					heads[layer*shape.Heads+i]++
				}
				for i := rank.Inner.Lo; i < rank.Inner.Hi; i++ {
					inner[layer*shape.Inner+i]++
				}
			}
			for i := rank.Vocab.Lo; i < rank.Vocab.Hi; i++ {
				vocab[i]++
			}
		}
	}
	return map[string][]int{"head": heads, "column": inner, "vocabulary row": vocab}
}

func TestBuildRefuses(t *testing.T) {
	for name, stages := range map[string][][]Member{
		"no stages":                 {},
		"more stages than layers":   {{{Node: "a"}}, {{Node: "b"}}, {{Node: "c"}}, {{Node: "d"}}, {{Node: "e"}}, {{Node: "f"}}, {{Node: "g"}}},
		"a stage without members":   {{{Node: "a"}}, {}},
		"a node twice":              {{{Node: "a"}, {Node: "a"}}},
		"a node without a name":     {{{Node: ""}}},
		"a node twice, far from it": {{{Node: "a"}, {Node: "b"}}, {{Node: "b"}}},
	} {
		if plan, err := Build(tiny, "digest", stages); !errors.Is(err, ErrPlan) {
			t.Errorf("%s: %+v, %v", name, plan, err)
		}
	}
	if _, err := Build(Shape{}, "digest", [][]Member{{{Node: "a"}}}); !errors.Is(err, ErrPlan) {
		t.Errorf("empty shape: %v", err)
	}
}

func TestFindAndNodes(t *testing.T) {
	plan, err := Build(tiny, "digest", [][]Member{{{Node: "a"}, {Node: "b"}}, {{Node: "c"}}})
	if err != nil {
		t.Fatal(err)
	}
	if got := plan.Nodes(); !reflect.DeepEqual(got, []NodeID{"a", "b", "c"}) {
		t.Errorf("nodes %v", got)
	}
	if stage, rank, ok := plan.Find("b"); stage != 0 || rank != 1 || !ok {
		t.Errorf("b is at %d, %d, %v", stage, rank, ok)
	}
	if stage, rank, ok := plan.Find("c"); stage != 1 || rank != 0 || !ok {
		t.Errorf("c is at %d, %d, %v", stage, rank, ok)
	}
	if _, _, ok := plan.Find("d"); ok {
		t.Error("d found")
	}
	if !plan.First(0) || plan.First(1) || plan.Last(0) || !plan.Last(1) {
		t.Error("first and last stage mixed up")
	}
}

func TestCloneSharesNothing(t *testing.T) {
	plan := Solo("a", tiny, "digest")
	clone := plan.Clone()
	clone.Epoch, clone.Stages[0].Layers.Hi, clone.Stages[0].Group[0].Node = 9, 1, "b"
	if !reflect.DeepEqual(plan, Solo("a", tiny, "digest")) {
		t.Errorf("the clone changed the plan: %+v", plan)
	}
}

func TestPlanJSON(t *testing.T) {
	plan := Solo("a", tiny, "digest")
	plan.Epoch = 1<<63 + 1
	data, err := json.Marshal(plan)
	if err != nil {
		t.Fatal(err)
	}
	var back Plan
	if err := json.Unmarshal(data, &back); err != nil || !reflect.DeepEqual(*plan, back) {
		t.Errorf("%s came back as %+v, %v", data, back, err)
	}
}
