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
			parts := a.runs[run].parts
			head, stretch := within/parts, within%parts
			for block := stretch * a.stretch; block < min((stretch+1)*a.stretch, kernels.KeyBlocks(b.runs[run].keys)); block++ {
				if u := (unit{run, head, block}); met[u] || head >= heads {
					t.Fatalf("part %d meets %v again", part, u)
				} else {
					met[u] = true
				}
			}
		}
		total := 0
		for i := range b.runs {
			total += heads * kernels.KeyBlocks(b.runs[i].keys)
			if a.runs[i].parts > 1 { // its results end within the buffer
				a.of(i, heads-1, &b.runs[i], headDim)
			}
		}
		if len(met) != total {
			t.Fatalf("%d key blocks are met, want %d", len(met), total)
		}
		if want := min(total, attendParts*workers); len(b.runs)*heads < want && a.parts < want/2 {
			t.Fatalf("%d parts for %d workers and %d key blocks", a.parts, workers, total)
		}
	})
}
