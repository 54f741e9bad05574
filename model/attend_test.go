package model

import (
	"testing"

	"pgregory.net/rapid"

	"polynode/kernels"
)

// Every head of every run meets each of its key blocks in exactly one part, and few parts mean many keys in each.
func TestAttendancePlanCoversEveryKeyBlock(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b Batch
		for range rapid.IntRange(1, 5).Draw(t, "sequences") {
			n := rapid.SampledFrom([]int{1, 1, 5, 16, 33, 200}).Draw(t, "tokens")
			b.Append(make([]int32, n), rapid.IntRange(0, 2048-n).Draw(t, "start"), nil)
		}
		const headDim = 16
		heads, workers := rapid.IntRange(1, 5).Draw(t, "heads"), rapid.IntRange(1, 16).Draw(t, "workers")
		var a attendance
		a.plan(&b, heads, headDim, workers)
		type unit struct{ run, head, block int }
		met := map[unit]bool{}
		for part := range a.parts {
			run, within := a.find(part)
			cut := a.runs[run]
			first, stretch := within/cut.stretches*cut.heads, within%cut.stretches
			for head := first; head < min(first+cut.heads, heads); head++ {
				for block := stretch * a.stretch; block < min((stretch+1)*a.stretch, kernels.KeyBlocks(b.runs[run].keys)); block++ {
					if u := (unit{run, head, block}); met[u] {
						t.Fatalf("part %d meets %v again", part, u)
					} else {
						met[u] = true
					}
				}
			}
		}
		total := 0
		for i := range b.runs {
			blocks := heads * kernels.KeyBlocks(b.runs[i].keys)
			total += blocks
			if r := a.runs[i]; r.stretches > 1 && !r.keeps {
				t.Fatalf("run %d is cut and keeps nothing", i)
			} else if r.keeps && r.result+blocks*b.runs[i].rows*kernels.PartFloats(headDim) > len(a.results) {
				t.Fatalf("the results of run %d end behind the buffer", i)
			}
		}
		if len(met) != total {
			t.Fatalf("%d key blocks are met, want %d", len(met), total)
		}
		if want := min(total/attendHeadsMost, attendParts*workers); a.parts < want/2 {
			t.Fatalf("%d parts for %d workers and %d key blocks", a.parts, workers, total)
		}
	})
}
