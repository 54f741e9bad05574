package planner

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"polynode/shard"
)

// mixedNodes makes so many nodes of all sorts.
func mixedNodes(n int, seed uint64) []Node {
	random := rand.New(rand.NewPCG(seed, uint64(n)))
	nodes := make([]Node, n)
	for i := range nodes {
		nodes[i] = Node{
			ID: shard.NodeID(fmt.Sprintf("n%03d", i)), MemoryBytes: int64((1 + 15*random.Float64()) * gib),
			ReadGBs: 5 + 45*random.Float64(), MultiplyGOPs: 50 + 950*random.Float64(),
		}
	}
	return nodes
}

func BenchmarkPlan(b *testing.B) {
	for _, objective := range []Objective{Latency, Throughput} {
		for _, n := range []int{4, 8, 100, 1000} {
			for _, sort := range []string{"equal", "mixed"} {
				b.Run(fmt.Sprintf("%s/%s/nodes=%d", objective, sort, n), func(b *testing.B) {
					nodes := mixedNodes(n, 1)
					if sort == "equal" {
						for i := range nodes {
							nodes[i] = pc(string(nodes[i].ID), 8*gib)
						}
					}
					p := problemOf(shape13B, objective, office, nodes...)
					b.ReportAllocs()
					var report Report
					for b.Loop() {
						report = mustPlan(b, p)
					}
					b.ReportMetric(float64(report.Searched), "plans")
					b.ReportMetric(report.Times.TokensPerS, "tokens/s")
					b.ReportMetric(report.Times.Score, "score-ms")
					b.ReportMetric(float64(len(report.Ranks)), "ranks")
				})
			}
		}
	}
}

// A cluster that was planned is planned again, with its slices on its disks, when a node is gone.
func BenchmarkReplan(b *testing.B) {
	for _, n := range []int{4, 8, 100, 1000} {
		b.Run(fmt.Sprintf("nodes=%d", n), func(b *testing.B) {
			p := problemOf(shape13B, Throughput, office, mixedNodes(n, 1)...)
			p.Gain = GainDefault
			before := mustPlan(b, p)
			spares, err := PlaceSpares(p, before.Plan)
			if err != nil {
				b.Fatal(err)
			}
			holdShares(&p, before.Plan, spares.Spares)
			p.Current = before.Plan
			for i := range p.Nodes {
				p.Nodes[i].Unreachable = p.Nodes[i].ID == before.Ranks[0].Node
			}
			var after Report
			for b.Loop() {
				after = mustPlan(b, p)
			}
			b.ReportMetric(float64(after.MoveBytes), "moved-bytes")
			b.ReportMetric(after.Times.TokensPerS/before.Times.TokensPerS, "speed")
		})
	}
}

func BenchmarkPlaceSpares(b *testing.B) {
	for _, n := range []int{8, 100, 1000} {
		b.Run(fmt.Sprintf("nodes=%d", n), func(b *testing.B) {
			p := problemOf(shape13B, Throughput, office, mixedNodes(n, 1)...)
			plan := mustPlan(b, p).Plan
			for b.Loop() {
				if _, err := PlaceSpares(p, plan); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
