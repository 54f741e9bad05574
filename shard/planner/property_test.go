package planner

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"polynode/shard"
)

// drawProblem makes a small model and some slow nodes, so that computing and talking take about as long as each other. tight
// gives nodes that are often too small for the model.
func drawProblem(t *rapid.T, nodesMax int, tight bool) Problem {
	shape := shard.Shape{
		Layers: rapid.IntRange(1, 5).Draw(t, "layers"), Heads: rapid.IntRange(1, 6).Draw(t, "heads"), HeadDim: 32,
		Inner: rapid.IntRange(1, 300).Draw(t, "inner"), Vocab: rapid.IntRange(1, 900).Draw(t, "vocab"), Leaf: 32, PanelRows: 16,
	}
	return problemWith(t, shape, rapid.IntRange(1, nodesMax).Draw(t, "nodes"), tight)
}

func problemWith(t *rapid.T, shape shard.Shape, nodes int, tight bool) Problem {
	p := problemOf(shape, rapid.SampledFrom([]Objective{Latency, Throughput}).Draw(t, "objective"), Link{})
	p.Model.Positions = 64
	p.Model.Tied = rapid.Bool().Draw(t, "tied")
	p.Workload.Context, p.Workload.Prompt, p.Workload.StepTokens = 32, 64, 1
	p.Workload.PromptShare = rapid.SampledFrom([]float64{0, 0.25, 2}).Draw(t, "prompt share")
	p.Costs.LayerS, p.Costs.StepS = 1e-6, 1e-5
	whole := newFacts(&p, "").wholeNeed()
	for i := range nodes {
		n := Node{
			ID: shard.NodeID(fmt.Sprintf("n%d", i)), MemoryBytes: 1 << 40,
			ReadGBs:      rapid.SampledFrom([]float64{0.01, 0.1, 0.1, 0.15, 1}).Draw(t, "GB/s"),
			MultiplyGOPs: rapid.SampledFrom([]float64{0.3, 1, 1, 2, 30}).Draw(t, "GOP/s"),
		}
		if tight {
			n.MemoryBytes = int64(whole * rapid.SampledFrom([]float64{0.03, 0.2, 0.35, 0.5, 0.6, 0.8, 1.1}).Draw(t, "memory"))
			n.Class = rapid.SampledFrom([]string{"", "", "", "", "", "b"}).Draw(t, "class")
			n.Witness = rapid.IntRange(0, 19).Draw(t, "witness") == 0
			n.Draining = rapid.IntRange(0, 19).Draw(t, "draining") == 0
			n.Unreachable = rapid.IntRange(0, 19).Draw(t, "unreachable") == 0
		}
		p.Nodes = append(p.Nodes, n)
	}
	link := func(name string) Link {
		if rapid.IntRange(0, 9).Draw(t, name) == 0 {
			return Link{}
		}
		return Link{
			RoundTripS: rapid.SampledFrom([]float64{0, 1e-5, 1e-4, 1e-3}).Draw(t, "round trip"),
			BytesPerS:  rapid.SampledFrom([]float64{1e6, 1e7, 1e8, 1e10}).Draw(t, "bytes/s"),
		}
	}
	p.Links.Default = link("default link")
	for range rapid.IntRange(0, 3).Draw(t, "links") {
		a, b := rapid.IntRange(0, nodes-1).Draw(t, "a"), rapid.IntRange(0, nodes-1).Draw(t, "b")
		if a != b {
			p.Links.Pairs = append(p.Links.Pairs, Pair{p.Nodes[a].ID, p.Nodes[b].ID, link("link")})
		}
	}
	if rapid.Bool().Draw(t, "has coordinator") {
		p.Coordinator = p.Nodes[rapid.IntRange(0, nodes-1).Draw(t, "coordinator")].ID
	}
	return p
}

// Whatever the facts, a plan is whole, fits, is no slower than the best single node, and speaks of every node.
func TestPlanProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawProblem(t, 9, true)
		report, err := Plan(p)
		if errors.Is(err, ErrNoPlan) {
			if report.Plan != nil || len(report.Idle) != len(p.Nodes) || report.Solo != nil {
				t.Fatalf("no plan, but %+v", report)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := report.Plan.Validate(p.Model.Shape); err != nil {
			t.Fatal(err)
		}
		classes := map[string]bool{}
		for _, r := range report.Ranks {
			i := slices.IndexFunc(p.Nodes, func(n Node) bool { return n.ID == r.Node })
			if !p.Nodes[i].usable() {
				t.Errorf("%+v is in the plan", p.Nodes[i])
			}
			classes[p.Nodes[i].Class] = true
			if r.Memory.Need() > p.Nodes[i].MemoryBytes {
				t.Errorf("%+v needs %+v", p.Nodes[i], r.Memory)
			}
		}
		if len(classes) != 1 || len(report.Ranks)+len(report.Idle) != len(p.Nodes) {
			t.Errorf("classes %v, %d ranks, %d idle", classes, len(report.Ranks), len(report.Idle))
		}
		if report.Solo != nil && report.Times.Score > report.Solo.Times.Score*(1+1e-9) {
			t.Errorf("%v ms, alone %v", report.Times.Score, report.Solo.Times.Score)
		}
		times, ranks, err := Predict(p, report.Plan)
		if err != nil || !reflect.DeepEqual(times, report.Times) || !reflect.DeepEqual(ranks, report.Ranks) {
			t.Errorf("predicted %+v\n%+v\nreported %+v\n%+v, %v", times, ranks, report.Times, report.Ranks, err)
		}
		for _, idle := range report.Idle {
			if idle.Cause == "" || idle.Reason == "" || idle.Cause == Slower && idle.Slower < 0 {
				t.Errorf("%+v", idle)
			}
		}
	})
}

// The order in which nodes are listed does not matter.
func TestOrderOfNodesDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawProblem(t, 9, true)
		want, wantErr := Plan(p)
		p.Nodes = rapid.Permutation(p.Nodes).Draw(t, "order")
		got, err := Plan(p)
		if !reflect.DeepEqual(got, want) || fmt.Sprint(err) != fmt.Sprint(wantErr) {
			t.Errorf("%+v %v\n%+v %v", got, err, want, wantErr)
		}
	})
}

// Names do not matter: other ones give a plan of the same speed.
func TestNamesDoNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawProblem(t, 5, true)
		want, wantErr := Plan(p)
		names := map[shard.NodeID]shard.NodeID{"": ""}
		order := rapid.Permutation(p.Nodes).Draw(t, "order")
		nodes := slices.Clone(p.Nodes)
		for i := range nodes {
			names[nodes[i].ID] = order[i].ID
			nodes[i].ID = order[i].ID
		}
		pairs := slices.Clone(p.Links.Pairs)
		for i := range pairs {
			pairs[i].A, pairs[i].B = names[pairs[i].A], names[pairs[i].B]
		}
		p.Nodes, p.Links.Pairs, p.Coordinator = nodes, pairs, names[p.Coordinator]
		got, err := Plan(p)
		if (err == nil) != (wantErr == nil) || math.Abs(got.Times.Score-want.Times.Score) > 1e-9*want.Times.Score {
			t.Errorf("%v ms %v, with other names %v ms %v", want.Times.Score, wantErr, got.Times.Score, err)
		}
	})
}

// What fits goes on fitting when nodes get more memory.
func TestMoreMemoryNeverHurts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawProblem(t, 6, true)
		if _, err := Plan(p); err != nil {
			return
		}
		for i := range p.Nodes {
			p.Nodes[i].MemoryBytes += rapid.Int64Range(0, 1<<20).Draw(t, "more")
		}
		if _, err := Plan(p); err != nil {
			t.Errorf("with more memory: %v", err)
		}
	})
}

// Faster nodes and links never make the best plan slower.
func TestMonotoneInSpeed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		// Ragged ends would be somebody else's after the change.
		shape := shard.Shape{
			Layers: rapid.IntRange(1, 5).Draw(t, "layers"), Heads: rapid.IntRange(1, 6).Draw(t, "heads"), HeadDim: 32,
			Inner: 32 * rapid.IntRange(1, 9).Draw(t, "inner"), Vocab: 16 * rapid.IntRange(1, 50).Draw(t, "vocab"), Leaf: 32, PanelRows: 16,
		}
		p := problemWith(t, shape, rapid.IntRange(1, 5).Draw(t, "nodes"), false)
		p.Workload.PromptShare, p.Workload.Objective, p.Workload.Sequences = 0, Latency, 1
		before := planScore(t, p)
		for i := range p.Nodes {
			p.Nodes[i].ReadGBs *= rapid.SampledFrom([]float64{1, 1, 1.3, 2}).Draw(t, "faster")
			p.Nodes[i].MultiplyGOPs *= rapid.SampledFrom([]float64{1, 1, 1.3, 2}).Draw(t, "faster")
		}
		p.Links.Default.BytesPerS *= 2
		for i := range p.Links.Pairs {
			p.Links.Pairs[i].Link.RoundTripS /= 2
		}
		if after := planScore(t, p); after > before*(1+1e-9) {
			t.Errorf("%v ms, with everything faster %v", before, after)
		}
	})
}

func planScore(t *rapid.T, p Problem) float64 {
	report, err := Plan(p)
	if err != nil {
		t.Fatal(err)
	}
	return report.Times.Score
}

// The search among many is nearly as good as looking at all ways.
func TestWideSearchIsNearlyExact(t *testing.T) {
	worst, sum, n := 1.0, 0.0, 0
	rapid.Check(t, func(t *rapid.T) {
		p := drawProblem(t, 5, rapid.Bool().Draw(t, "tight"))
		f := newFacts(&p, "")
		exact := newSearch(f)
		wide := emptySearch(f)
		wide.wide()
		if len(exact.pool) == 0 {
			return
		}
		if len(wide.pool) == 0 {
			t.Skip("only the exact search finds a plan")
		}
		ratio := wide.pool[0].price.score / exact.pool[0].price.score
		worst, sum, n = max(worst, ratio), sum+ratio, n+1
		if ratio < 1-1e-9 {
			t.Errorf("better than the best: %v", ratio)
		}
	})
	t.Logf("worst %.3f, mean %.4f of %d", worst, sum/float64(max(n, 1)), n)
	if mean := sum / float64(max(n, 1)); mean > 1.05 {
		t.Errorf("on average %.3f times as slow as the best, worst %.3f", mean, worst)
	}
}
