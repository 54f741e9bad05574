package kernels

import "testing"

// Where no leaf comes near its limit the tier does the tile itself: the other tests cannot tell it from the generic tier, to which it
// may always leave one. The matrix is so wide that a tile takes several calls.
func TestTierMultipliesItself(t *testing.T) {
	forEachTier(t, func(t *testing.T) {
		if active == Generic {
			t.Skip("it is the other one")
		}
		for _, f := range allFormats {
			m := randomMatrix(t, newRand(1), f, 17, (callBlocksNEON+7)*BlockK, 96, 4, true)
			for tokens := 1; tokens <= tileT; tokens++ {
				x := activations(tokens, m.K, func() float32 { return 1 })
				for p := range Panels(m.Rows) {
					if !mulTile(make([]int32, tokens*m.Rows)[p*PanelRows:], m.Rows, &m, x, p, 0, tokens) {
						t.Errorf("%s: panel %d of %d tokens is left to the generic tier", f, p, tokens)
					}
				}
				if tokens == 7 {
					checkProduct(t, &m, x, 0)
				}
			}
		}
	})
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
					x.Reset(tokens, k)
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
