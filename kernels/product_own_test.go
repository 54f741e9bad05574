package kernels

import (
	"slices"
	"testing"
)

// Where no leaf comes near its limit the tier does every tile itself, whole panels and partial ones, in one call and in several: a
// tier that left all to the generic one would pass the tests of the bits.
func TestTierMultipliesItself(t *testing.T) {
	forEachTier(t, func(t *testing.T) {
		if active == Generic {
			t.Skip("it is the other one")
		}
		for _, f := range allFormats {
			for n := 1; n <= tileT; n++ {
				for _, k := range []int{100, 3500, 5000, 9000} {
					checkOwnTiles(t, f, n, k)
				}
			}
		}
	})
}

func checkOwnTiles(t *testing.T, f Format, n, k int) {
	t.Helper()
	const rows, stride = 2*PanelRows + 5, 2*PanelRows + 8
	rng := newRand(uint64(n*k) + uint64(f))
	m := randomSlicable(rng, f, rows, k, 96)
	m.Exponent = 8
	x := activations(n, k, m.Leaf, func() float32 { return float32(rng.NormFloat64()) })
	got, want := make([]int32, n*stride), make([]int32, n*stride)
	for i := range got {
		got[i], want[i] = guard, guard
	}
	work := tile{leaf: newLeafRounder(&m)}
	for p := range Panels(rows) {
		if !mulTile(got[p*PanelRows:], stride, &m, x, p, 1, 0, n, newLeafRounder(&m)) {
			t.Fatalf("%s, %d columns of %d: panel %d is left to the generic tier", f, n, k, p)
		}
		work.mul(want[p*PanelRows:], stride, &m, x, p, 0)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s, %d columns of %d: not what the generic tier computes", f, n, k)
	}
	if panelsTogether(&m) < Panels(rows) {
		return
	}
	for i := range got {
		got[i] = guard
	}
	if !mulTile(got, stride, &m, x, 0, Panels(rows), 0, n, newLeafRounder(&m)) {
		t.Fatalf("%s, %d columns of %d: all panels at once are left to the generic tier", f, n, k)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s, %d columns of %d: all panels at once are not what the generic tier computes", f, n, k)
	}
}

// A single contribution that is too large, wherever it is in a tile, sends the tile to the generic tier.
func TestOneClampOfATile(t *testing.T) {
	forEachTier(t, func(t *testing.T) {
		const tokens, k = 7, 64
		for _, f := range allFormats {
			for row := range PanelRows {
				w := make([]float32, PanelRows*k)
				for i := range w {
					w[i] = 1e-4
					if i/k == row {
						w[i] = 1
					}
				}
				m := pack(t, f, w, PanelRows, k, 32, 19)
				for token := range tokens {
					x := new(Activations)
					x.Reset(tokens, k, m.Leaf)
					for r := range tokens {
						for i := range x.Row(r) {
							x.Row(r)[i] = 1e-4
						}
					}
					x.Row(token)[1] = 8000
					x.Quantise(0, tokens)
					out := make([]int32, tokens*PanelRows)
					if n := MulPanels(out, PanelRows, &m, x, 0, 1); n != 1 {
						t.Fatalf("%s: %d clamps, want that of row %d, token %d", f, n, row, token)
					}
				}
			}
		}
	})
}
