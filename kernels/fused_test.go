package kernels

import (
	"bytes"
	"testing"
)

// The fused functions give the bits of their steps, in any cut of the columns.
func TestFusedAreTheirSteps(t *testing.T) {
	forEachTier(t, func(t *testing.T) {
		rng := newRand(12)
		for _, k := range []int{1, 31, 32, 33, 100, 2048, 2049, 4200} {
			for _, tokens := range []int{1, 3, 9} {
				leaf := BlockK * (1 + rng.IntN(5))
				if tokens == 3 {
					leaf = 2 * fusedColumns // more than is taken together
				}
				steps := activations(tokens, k, leaf, func() float32 { return 0 })
				fused := activations(tokens, k, leaf, func() float32 { return 77 })
				w, b, row := normals(rng, k, 1), normals(rng, k, 1), normals(rng, k, 1)
				for r := range tokens {
					sums := guardedSums(rng, k).inside()
					LayerNorm(steps.Row(r), row, w, b, 1e-5)
					fused.SetNorm(r, row, w, b, 1e-5)
					if r%2 == 0 {
						Finish(steps.Row(r), sums, 12, b)
						gelu := []func([]float32){GELU, GELUErf}[r/2%2]
						gelu(steps.Row(r))
						cut := rng.IntN((k+leaf-1)/leaf) * leaf
						fused.SetGELU(r, 0, sums[:cut], 12, b[:cut], r/2%2 == 1)
						fused.SetGELU(r, cut, sums[cut:], 12, b[cut:], r/2%2 == 1)
					}
				}
				steps.Quantise(0, tokens)
				if !bytes.Equal(int8Form(steps), int8Form(fused)) {
					t.Fatalf("(%d, %d) leaf %d: the fused functions differ from their steps", tokens, k, leaf)
				}
			}
		}
	})
}

func TestFusedRefuseWrongRanges(t *testing.T) {
	x := activations(2, 140, 64, func() float32 { return 1 })
	row := make([]float32, 140)
	for name, call := range map[string]func(){
		"row":       func() { x.SetGELU(2, 0, make([]int32, 64), 0, nil, false) },
		"start":     func() { x.SetGELU(0, 32, make([]int32, 32), 0, nil, false) },
		"end":       func() { x.SetGELU(0, 0, make([]int32, 96), 0, nil, false) },
		"behind K":  func() { x.SetGELU(0, 128, make([]int32, 64), 0, nil, false) },
		"norm":      func() { x.SetNorm(0, row[:139], row, row, 1) },
		"norm row":  func() { x.SetNorm(2, row, row, row, 1) },
		"no weight": func() { x.SetNorm(0, row, nil, row, 1) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			call()
		}()
	}
}

func TestFusedAllocateNothing(t *testing.T) {
	forEachTier(t, func(t *testing.T) {
		x := activations(1, 1000, 128, func() float32 { return 1 })
		row, sums := make([]float32, 1000), make([]int32, 1000)
		if n := testing.AllocsPerRun(10, func() {
			x.SetNorm(0, row, row, row, 1e-5)
			x.SetGELU(0, 0, sums, 3, row, false)
			x.SetGELU(0, 0, sums, 3, nil, true)
		}); n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
}
