package planner

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"polynode/shard"
)

// holdShares puts the shares of a plan, and the spares for it, on the disks of a problem.
func holdShares(p *Problem, plan *shard.Plan, spares []Spare) {
	for i := range p.Nodes {
		n := &p.Nodes[i]
		n.Holds = nil
		if s, r, ok := plan.Find(n.ID); ok {
			n.Holds = append(n.Holds, HoldingOf(plan, s, r))
		}
		for _, spare := range spares {
			if spare.Node == n.ID {
				n.Holds = append(n.Holds, spare.Want)
			}
		}
	}
}

// A plan stays when the facts change a little, and goes when they change much.
func TestKeepsThePlan(t *testing.T) {
	p := problemOf(shape13B, Latency, Link{RoundTripS: 1e-4, BytesPerS: 1.2e9}, pc("a", 16*gib), pc("b", 16*gib), pc("c", 16*gib))
	p.Gain = GainDefault
	first := mustPlan(t, p)
	holdShares(&p, first.Plan, nil)
	p.Current = first.Plan

	p.Nodes[0].ReadGBs *= 1.04
	second := mustPlan(t, p)
	if !second.Kept || !reflect.DeepEqual(second.Plan, first.Plan) || second.MoveBytes != 0 {
		t.Errorf("4 %% faster: %s, %+v", second.Reason, second.Plan)
	}
	p.Nodes[0].ReadGBs *= 3
	third := mustPlan(t, p)
	if third.Kept || third.MoveBytes == 0 || !strings.Contains(third.Reason, "less time than the current plan") {
		t.Errorf("3 times as fast: %s, moves %d", third.Reason, third.MoveBytes)
	}
	p.Model.Digest = "another"
	if fourth := mustPlan(t, p); fourth.Kept || !strings.Contains(fourth.Reason, "another model") {
		t.Errorf("another model: %s", fourth.Reason)
	}
}

// Of equally good plans the one whose slices lie on the right disks wins, and a node keeps the end of the matrices that it has.
func TestMovesTheFewestBytes(t *testing.T) {
	nodes := []Node{pc("a", 16*gib), pc("b", 16*gib), pc("c", 16*gib)}
	p := problemOf(shape13B, Latency, Link{RoundTripS: 0.02, BytesPerS: 1e8}, nodes...) // too far apart to share
	p.Gain = GainDefault
	all := Holding{
		Layers: shard.Slice{Hi: 40}, Heads: shard.Slice{Hi: 40}, Inner: shard.Slice{Hi: 20480}, Vocab: shard.Slice{Hi: 256000}, Embed: true,
	}
	p.Nodes[1].Holds = []Holding{all}
	if report := mustPlan(t, p); report.Plan.Stages[0].Group[0].Node != "b" || report.MoveBytes != 0 {
		t.Errorf("%+v, moves %d", report.Plan, report.MoveBytes)
	}
	p.Links.Default = Link{RoundTripS: 1e-5, BytesPerS: 1e10}
	for i, at := range []int{2, 0, 1} { // a has the last third, b the first, c the middle
		p.Nodes[i].Holds = []Holding{{
			Layers: shard.Slice{Hi: 40}, Heads: shard.Slice{Lo: at * 13, Hi: at*13 + 14}, Inner: shard.Slice{Lo: at * 6784, Hi: at*6784 + 6912},
			Vocab: shard.Slice{Lo: at * 85328, Hi: at*85328 + 85344}, Embed: true,
		}}
	}
	report := mustPlan(t, p)
	var order []string
	for _, r := range report.Ranks {
		order = append(order, string(r.Node))
	}
	whole := all.Bytes(&p.Model)
	if !slices.Equal(order, []string{"b", "c", "a"}) || report.MoveBytes > whole/50 {
		t.Errorf("order %v, moves %d of %d bytes", order, report.MoveBytes, whole)
	}
}

func TestMissingBytes(t *testing.T) {
	m := modelOf(shape1B)
	full := func(s shard.Shape) Holding {
		return Holding{Layers: shard.Slice{Hi: s.Layers}, Heads: shard.Slice{Hi: s.Heads}, Inner: shard.Slice{Hi: s.Inner}, Vocab: shard.Slice{Hi: s.Vocab}}
	}(shape1B)
	solo := shard.Solo("a", shape1B, "")
	if got, want := full.Bytes(&m), solo.WeightBytes(shape1B, 0, 0, m.BytesPerWeight); got != want {
		t.Errorf("all is %d bytes, want %d", got, want)
	}
	half := full
	half.Layers = shard.Slice{Lo: 6, Hi: 18}
	half.Vocab = shard.Slice{}
	rest := full
	rest.Layers = shard.Slice{Hi: 12}
	if got, want := m.MissingBytes(full, []Holding{half, rest}), half.Bytes(&m)/2; got != want {
		t.Errorf("6 of 24 layers are missing: %d bytes, want %d", got, want)
	}
	embedding := full
	embedding.Embed = true
	if got := m.MissingBytes(embedding, []Holding{full}); got != 0 {
		t.Errorf("the embedding of a tied model is its head, and %d bytes are missing", got)
	}
	m.Tied = false
	if got, want := m.MissingBytes(embedding, []Holding{full}), int64(256000*2048*0.5625); got != want {
		t.Errorf("the embedding is %d bytes, want %d", got, want)
	}
}

// Whichever node dies, the next plan finds everything on the disks.
func TestSparesMakeDeathsCheap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawProblem(t, 6, rapid.Bool().Draw(t, "tight"))
		p.Gain = GainDefault
		report, err := Plan(p)
		if err != nil {
			return
		}
		spares, err := PlaceSpares(p, report.Plan)
		if err != nil {
			t.Fatal(err)
		}
		if (spares.Tolerance == 0) != (spares.Reason != "") || len(spares.Next)+len(spares.Exposed) != len(report.Ranks) {
			t.Fatalf("%+v", spares)
		}
		holdShares(&p, report.Plan, spares.Spares)
		p.Current = report.Plan
		for _, next := range spares.Next {
			after := p
			after.Nodes = slices.Clone(p.Nodes)
			for i := range after.Nodes {
				after.Nodes[i].Unreachable = after.Nodes[i].Unreachable || after.Nodes[i].ID == next.Dead
			}
			report, err := Plan(after)
			if err != nil {
				t.Fatalf("%s is dead: %v", next.Dead, err)
			}
			if report.MoveBytes != 0 {
				t.Errorf("%s is dead: %d bytes to fetch: %s", next.Dead, report.MoveBytes, report.Reason)
			}
			if _, _, ok := report.Plan.Find(next.Dead); ok {
				t.Errorf("%s is dead and in the plan", next.Dead)
			}
		}
	})
}

func TestSparesSayWhatIsMissing(t *testing.T) {
	link := Link{RoundTripS: 1e-5, BytesPerS: 1e10}
	for _, test := range []struct {
		name   string
		change func(*Problem)
		reason string
	}{
		{"one node", func(p *Problem) { p.Nodes = p.Nodes[:1] }, "no other node"},
		{"memory", func(p *Problem) {
			for i := range p.Nodes {
				p.Nodes[i].MemoryBytes = 4 * gib
			}
		}, "does not fit into the memory"},
		{"disk", func(p *Problem) {
			for i := range p.Nodes {
				p.Nodes[i].DiskBytes = 4 * gib
			}
		}, "the disk of"},
	} {
		p := problemOf(shape13B, Latency, link, pc("a", 16*gib), pc("b", 16*gib), pc("c", 16*gib))
		test.change(&p)
		report := mustPlan(t, p)
		spares, err := PlaceSpares(p, report.Plan)
		if err != nil || spares.Tolerance != 0 || !strings.Contains(spares.Reason, test.reason) {
			t.Errorf("%s: %+v, %v", test.name, spares, err)
		}
	}
}

// A cluster of a thousand is provided for as well.
func TestSparesOfMany(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	p := problemOf(shape13B, Throughput, office, mixedNodes(300, 3)...)
	report := mustPlan(t, p)
	spares, err := PlaceSpares(p, report.Plan)
	if err != nil || spares.Tolerance != 1 {
		t.Errorf("%d ranks: %+v, %v", len(report.Ranks), spares.Reason, err)
	}
}

func TestIdleReasons(t *testing.T) {
	nodes := []Node{pc("a", 16*gib), pc("b", 16*gib), pc("tiny", 1<<20), pc("drained", 16*gib), pc("far", 16*gib), pc("other", 4*gib), pc("lonely", 3*gib)}
	nodes = append(nodes, Node{ID: "votes", Witness: true})
	nodes[3].Draining, nodes[4].Unreachable, nodes[5].Class = true, true, "gpu"
	p := problemOf(shape13B, Latency, office, nodes...)
	for _, n := range nodes[:6] {
		p.Links.Pairs = append(p.Links.Pairs, Pair{A: "lonely", B: n.ID})
	}
	want := map[shard.NodeID]Cause{
		"tiny": NoMemory, "drained": IsDraining, "far": Unreachable, "other": OtherClass, "lonely": Unreachable, "votes": IsWitness,
	}
	report := mustPlan(t, p)
	for _, idle := range report.Idle {
		if want[idle.Node] != idle.Cause || idle.Reason == "" {
			t.Errorf("%+v, want %q", idle, want[idle.Node])
		}
	}
	if len(report.Idle) != len(want) {
		t.Errorf("%d idle nodes, want %d", len(report.Idle), len(want))
	}
}

func TestValidateRefuses(t *testing.T) {
	good := problemOf(shape13B, Latency, office, pc("a", gib), pc("b", gib))
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for i, spoil := range []func(*Problem){
		func(p *Problem) { p.Nodes = nil },
		func(p *Problem) { p.Nodes = mixedNodes(NodesMax+1, 1) },
		func(p *Problem) { p.Nodes[1].ID = "a" },
		func(p *Problem) { p.Nodes[1].ID = "" },
		func(p *Problem) { p.Nodes[1].MemoryBytes = -1 },
		func(p *Problem) { p.Nodes[1].ReadGBs = 0 },
		func(p *Problem) { p.Links.Default.BytesPerS = -1 },
		func(p *Problem) { p.Links.Pairs = []Pair{{A: "a", B: "x", Link: office}} },
		func(p *Problem) { p.Links.Pairs = []Pair{{A: "a", B: "a", Link: office}} },
		func(p *Problem) { p.Coordinator = "x" },
		func(p *Problem) { p.Gain = 1 },
		func(p *Problem) { p.Workload.Objective = "speed" },
		func(p *Problem) { p.Workload.Context = 4096 },
		func(p *Problem) { p.Workload.Sequences = 0 },
		func(p *Problem) { p.Model.BytesPerWeight = 0 },
		func(p *Problem) { p.Costs.ReadShare = 0 },
		func(p *Problem) { p.Costs.LayerS = -1 },
	} {
		p := good
		p.Nodes = slices.Clone(good.Nodes)
		spoil(&p)
		if _, err := Plan(p); err == nil || !strings.Contains(fmt.Sprint(err), ErrProblem.Error()) {
			t.Errorf("case %d: %v", i, err)
		}
	}
}
