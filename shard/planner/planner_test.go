package planner

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"polynode/shard"
)

var (
	shape13B = shard.Shape{Layers: 40, Heads: 40, HeadDim: 128, Inner: 20480, Vocab: 256000, Leaf: 128, PanelRows: 16}
	shape1B  = shard.Shape{Layers: 24, Heads: 16, HeadDim: 128, Inner: 8192, Vocab: 256000, Leaf: 128, PanelRows: 16}
)

const gib = 1 << 30

// modelOf is a model with q4 weights and f16 keys and values.
func modelOf(shape shard.Shape) Model {
	return Model{Digest: "digest", Shape: shape, Positions: 2048, BytesPerWeight: 0.5625, BytesPerKV: 2, Tied: true}
}

// problemOf is a problem of nodes on one kind of link.
func problemOf(shape shard.Shape, objective Objective, link Link, nodes ...Node) Problem {
	return Problem{
		Nodes: nodes, Links: Links{Default: link}, Model: modelOf(shape),
		Workload: DefaultWorkload(objective), Costs: DefaultCosts(),
	}
}

// office is a gigabit link.
var office = Link{RoundTripS: 0.0005, BytesPerS: 0.117e9}

// pc is a node that reads 30 GB/s.
func pc(name string, memory int64) Node {
	return Node{ID: shard.NodeID(name), MemoryBytes: memory, ReadGBs: 30, MultiplyGOPs: 600}
}

// mustPlan plans and checks what holds for every report.
func mustPlan(t testing.TB, p Problem) Report {
	t.Helper()
	report, err := Plan(p)
	if err != nil {
		t.Fatal(err)
	}
	if err := report.Plan.Validate(p.Model.Shape); err != nil {
		t.Fatal(err)
	}
	if len(report.Ranks)+len(report.Idle) != len(p.Nodes) {
		t.Errorf("%d ranks and %d idle nodes of %d", len(report.Ranks), len(report.Idle), len(p.Nodes))
	}
	for _, r := range report.Ranks {
		if r.Memory.Need() > r.Memory.Available {
			t.Errorf("%s needs %+v", r.Node, r.Memory)
		}
	}
	if sum := report.Times.Terms.Sum(); math.Abs(sum-report.Times.StepMS) > 1e-6*sum {
		t.Errorf("terms add up to %v ms, the step takes %v", sum, report.Times.StepMS)
	}
	return report
}

// Two equal nodes: splitting pays when half of the computing is more than 80 exchanges of 10 kB, here 42 ms a token.
func TestTwoEqualNodesByHand(t *testing.T) {
	for _, test := range []struct {
		readGBs float64
		stages  int
		ranks   int
	}{
		{30, 1, 2},  // alone: (12.58+1.31) G weights * 0.5625 = 7.81 GB, 260 ms; together 130 + 42
		{120, 1, 1}, // alone 65 ms; together 33 + 42
	} {
		a, b := pc("a", 16*gib), pc("b", 16*gib)
		a.ReadGBs, b.ReadGBs = test.readGBs, test.readGBs
		a.MultiplyGOPs, b.MultiplyGOPs = 1e5, 1e5
		// 10 kB at 1 Gbit/s is 80 microseconds; half the round trip is the rest of 42 ms / 80.
		p := problemOf(shape13B, Latency, Link{RoundTripS: 2 * (42e-3/80 - 80e-6), BytesPerS: 0.125e9}, a, b)
		p.Costs = Costs{ReadShare: 1, KVReadShare: 1e6, MultiplyShare: 1, AttentionShare: 1e6, SumBytes: 10e3 / 5120.}
		p.Workload.PromptShare = 0
		report := mustPlan(t, p)
		if len(report.Plan.Stages) != test.stages || len(report.Plan.Stages[0].Group) != test.ranks {
			t.Errorf("%v GB/s: plan %+v", test.readGBs, report.Plan)
		}
		solo := 7.8129e9 / (test.readGBs * 1e9) * 1e3
		if got := report.Solo.Times.StepMS; math.Abs(got-solo) > 0.01*solo {
			t.Errorf("%v GB/s: alone %v ms, by hand %v", test.readGBs, got, solo)
		}
		if test.ranks == 2 {
			// The head's exchange and the hand-out of the step are two more delays.
			want := solo/2 + 42 + 3*0.445
			if got := report.Times.StepMS; math.Abs(got-want) > 0.5 {
				t.Errorf("%v GB/s: together %v ms, by hand %v", test.readGBs, got, want)
			}
			if got := report.Times.Terms.Sync; math.Abs(got-42.445) > 0.1 {
				t.Errorf("%v GB/s: sync %v ms", test.readGBs, got)
			}
		} else if idle := report.Idle[0]; idle.Cause != Slower || idle.Slower <= 0 || idle.Slower > (solo/2+43.4)/solo-1 {
			t.Errorf("%v GB/s: idle %+v", test.readGBs, idle)
		}
	}
}

// A model that fits in none of the nodes fits in all of them; one byte less than that is refused with what is missing.
func TestRefusesWithMissingBytes(t *testing.T) {
	p := problemOf(shape13B, Latency, office, pc("a", 3*gib), pc("b", 3*gib))
	_, err := Plan(p)
	if !errors.Is(err, ErrNoPlan) || !strings.Contains(err.Error(), "are missing") || !strings.Contains(err.Error(), "a, which has most, lacks") {
		t.Error(err)
	}
	p.Nodes = append(p.Nodes, pc("c", 4*gib), pc("d", 4*gib))
	report := mustPlan(t, p)
	if len(report.Ranks) != 4 {
		t.Errorf("%d ranks", len(report.Ranks))
	}
}

func ExamplePlan() {
	fast := Link{RoundTripS: 0.0002, BytesPerS: 1.1e9}
	report, err := Plan(problemOf(shape13B, Latency, fast, pc("a", 16*gib), pc("b", 16*gib), pc("c", 6*gib)))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, r := range report.Ranks {
		fmt.Println(r.Node, r.Layers, r.Heads, r.Inner, r.Vocab)
	}
	// Output:
	// a [0, 40) [0, 14) [0, 6912) [0, 85344)
	// b [0, 40) [14, 27) [6912, 13696) [85344, 170672)
	// c [0, 40) [27, 40) [13696, 20480) [170672, 256000)
}
