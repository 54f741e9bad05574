package planner

import (
	"math"
	"testing"

	"pgregory.net/rapid"

	"polynode/shard"
)

// parts calls visit with every way to write n as a sum of so many parts, each at least least.
func parts(n, count, least int, visit func([]int)) {
	all := make([]int, count)
	var fill func(at, left int)
	fill = func(at, left int) {
		if at == count-1 {
			if left >= least {
				all[at] = left
				visit(all)
			}
			return
		}
		for v := least; v <= left; v++ {
			all[at] = v
			fill(at+1, left-v)
		}
	}
	fill(0, n)
}

// rows calls visit with every row of groups that some of n machines can form.
func rows(n int, visit func([][]int)) {
	place := make([]int, n) // 0: idle, otherwise the group
	var next func(m, groups int)
	next = func(m, groups int) {
		if m < n {
			for g := range n + 1 {
				place[m] = g
				next(m+1, max(groups, g))
			}
			return
		}
		if groups == 0 {
			return
		}
		row := make([][]int, groups)
		for m, g := range place {
			if g > 0 {
				row[g-1] = append(row[g-1], m)
			}
		}
		for _, g := range row {
			if len(g) == 0 {
				return
			}
		}
		visit(row)
	}
	next(0, 0)
}

// brute prices every plan that there is: all rows of groups, all divisions of layers, heads, FFN columns and vocabulary rows.
func brute(f *facts, visit func(layout, price)) {
	shape := &f.problem.Model.Shape
	units := func(n, size int) int { return (n + size - 1) / size }
	rows(len(f.machines), func(row [][]int) {
		parts(shape.Layers, len(row), 1, func(layers []int) {
			l := make(layout, len(row))
			var cut func(s int)
			cut = func(s int) {
				if s == len(row) {
					for i := range l {
						for _, r := range l[i].ranks {
							if f.sizes.need(l[i].layers, r, i == 0) > f.machines[r.machine].memory {
								return
							}
						}
					}
					visit(l, f.priceOf(l))
					return
				}
				n := len(row[s])
				l[s] = stage{layers[s], make([]rank, n)}
				vocab := 0
				if s == len(row)-1 {
					vocab = units(shape.Vocab, f.voUnit)
				}
				parts(units(shape.Heads, f.headUnit), n, 0, func(heads []int) {
					parts(units(shape.Inner, f.inUnit), n, 0, func(inner []int) {
						parts(vocab, n, 0, func(rows []int) {
							for i, m := range row[s] {
								l[s].ranks[i] = rank{m, heads[i] * f.headUnit, inner[i] * f.inUnit, rows[i] * f.voUnit}
							}
							cut(s + 1)
						})
					})
				})
			}
			cut(0)
		})
	})
}

// The planner finds the best of all plans where memory is no matter, comes near it where it is, and finds one where there is one.
func TestAgainstBruteForce(t *testing.T) {
	for _, test := range []struct {
		name  string
		tight bool
		most  float64 // times the best, at worst
		mean  float64 // and on average
	}{{"ample", false, 1.25, 1.01}, {"tight", true, 2, 1.1}} {
		t.Run(test.name, func(t *testing.T) {
			equal, all, worst, sum := 0, 0, 1.0, 0.0
			rapid.Check(t, func(t *rapid.T) {
				shape := shard.Shape{Layers: 3, Heads: 2, HeadDim: 32, Inner: 96, Vocab: 32, Leaf: 32, PanelRows: 16}
				p := problemWith(t, shape, rapid.IntRange(1, 3).Draw(t, "machines"), test.tight)
				f := newFacts(&p, "")
				if len(f.machines) == 0 {
					return
				}
				least := math.Inf(1)
				brute(f, func(_ layout, c price) { least = min(least, c.score) })
				s := newSearch(f)
				if len(s.pool) == 0 {
					if roomier := p; least < math.Inf(1) && !fitsWithSlack(roomier) {
						t.Errorf("no plan, and there is one of %v s", least)
					}
					return
				}
				ratio := s.pool[0].price.score / least
				if ratio < 1-1e-9 || ratio > test.most {
					t.Errorf("%v s, the best is %v: %+v", s.pool[0].price.score, least, s.pool[0].layout)
				}
				if p.Workload.Objective == Latency && p.Workload.PromptShare == 0 && !test.tight && ratio > 1+1e-9 {
					t.Errorf("%v s, the best is %v: %+v", s.pool[0].price.score, least, s.pool[0].layout)
				}
				all++
				sum += ratio
				worst = max(worst, ratio)
				if ratio < 1+1e-9 {
					equal++
				}
			})
			t.Logf("the best in %d of %d cases, worst %.3f times as slow, mean %.4f", equal, all, worst, sum/float64(all))
			if sum > test.mean*float64(all) {
				t.Errorf("on average %.3f times as slow as the best", sum/float64(all))
			}
		})
	}
}

// fitsWithSlack reports whether all would be well if each node had the memory that borders at whole units may cost.
func fitsWithSlack(p Problem) bool {
	for i := range p.Nodes {
		f := newFacts(&p, p.Nodes[i].Class)
		p.Nodes[i].MemoryBytes += int64(f.inBytes(p.Model.Shape.Layers) + float64(f.voUnit)*f.sizes.vocab)
	}
	return len(newSearch(newFacts(&p, "")).pool) > 0
}

// Four nodes and a model of few pieces.
func TestAgainstBruteForceOfFour(t *testing.T) {
	if testing.Short() {
		t.Skip("prices millions of plans")
	}
	random := mixedNodes(4, 7)
	shape := shard.Shape{Layers: 3, Heads: 3, HeadDim: 32, Inner: 128, Vocab: 48, Leaf: 32, PanelRows: 16}
	for _, byteS := range []float64{1e5, 1e7, 1e9} {
		p := problemOf(shape, Latency, Link{RoundTripS: 1e-6, BytesPerS: byteS}, random...)
		p.Model.Positions, p.Workload.Context, p.Workload.PromptShare = 64, 32, 0
		p.Costs.MessageS, p.Costs.ByteS = 0, 0
		for i := range p.Nodes {
			p.Nodes[i].ReadGBs /= 1e3
			p.Nodes[i].MultiplyGOPs /= 1e3
		}
		f := newFacts(&p, "")
		least := math.Inf(1)
		brute(f, func(_ layout, c price) { least = min(least, c.score) })
		if got := newSearch(f).pool[0]; math.Abs(got.price.score-least) > 1e-9*least {
			t.Errorf("%v bytes/s: %v s, the best is %v: %+v", byteS, got.price.score, least, got.layout)
		}
	}
}
