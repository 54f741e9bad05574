package kernels

import (
	"fmt"
	"math"
	"slices"
	"testing"
)

// checkAgainstGeneric multiplies on every other tier and compares with the generic one, which the specification holds. It is for products
// too large for the specification.
func checkAgainstGeneric(t *testing.T, m *Matrix, x *Activations) {
	t.Helper()
	before := Active()
	defer Use(before)
	multiply := func(tier Tier) (out []int32, clamped int) {
		if err := Use(tier); err != nil {
			t.Fatal(err)
		}
		out = make([]int32, x.T()*m.Rows)
		for i := range out {
			out[i] = guard
		}
		return out, MulPanels(out, m.Rows, m, x, 0, Panels(m.Rows))
	}
	want, clamps := multiply(Generic)
	for _, tier := range Tiers() {
		got, n := multiply(tier)
		if n != clamps {
			t.Errorf("%s %s (%d, %d) leaf %d: %d clamps, want %d", tier, m.Format, m.Rows, m.K, m.Leaf, n, clamps)
		}
		for i, v := range want {
			if got[i] != v {
				t.Fatalf("%s %s (%d, %d) leaf %d: token %d of %d, row %d is %d, want %d",
					tier, m.Format, m.Rows, m.K, m.Leaf, i/m.Rows, x.T(), i%m.Rows, got[i], v)
			}
		}
	}
}

// Rows so long that a tier takes them in several pieces, with leaves that do and do not divide a piece, one of them longer than any
// piece. A NaN in the last piece comes after sums that were already written.
func TestProductOfLongRows(t *testing.T) {
	for _, f := range allFormats {
		for _, leaf := range []int{32, 32 * 7, 128, 32 * 500} {
			for _, spoilt := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/leaf=%d/spoilt=%t", f, leaf, spoilt), func(t *testing.T) {
					const rows, k, tokens = 21, 32*800 + 5, 9
					rng := newRand(uint64(leaf))
					m := randomSlicable(rng, f, rows, k, leaf)
					m.Exponent = 4
					x := activations(tokens, k, leaf, func() float32 { return float32(rng.NormFloat64()) })
					if spoilt {
						x.Row(tokens - 1)[k-1] = float32(math.NaN())
						x.Row(2)[k/2] = float32(math.Inf(-1))
						x.Quantise(0, tokens)
					}
					checkAgainstGeneric(t, &m, x)
				})
			}
		}
	}
}

// More panels and tokens than are taken together.
func TestProductOfManyBlocks(t *testing.T) {
	for _, f := range allFormats {
		const k = 1 << 14
		rng := newRand(uint64(f))
		whole := randomSlicable(rng, f, 16*40, k, 128)
		x := new(Activations)
		x.Reset(1, k, 128)
		panels, columns := blockSizes(&whole, x)
		m, err := whole.SliceRows(0, min(16*(panels+1)+3, whole.Rows)/16*16)
		if err != nil {
			t.Fatal(err)
		}
		tokens := 2*columns + 3
		if Panels(m.Rows) <= panels || tokens > 200 {
			t.Fatalf("%s: %d panels and %d columns at once are too many for this test", f, panels, columns)
		}
		checkAgainstGeneric(t, &m, activations(tokens, k, 128, func() float32 { return float32(rng.NormFloat64()) }))
	}
}

// Panels that do not follow each other, because columns lie between them that belong to other ranks.
func TestProductOfColumns(t *testing.T) {
	forEachTier(t, func(t *testing.T) {
		for _, f := range allFormats {
			rng := newRand(uint64(f))
			whole := randomMatrix(t, rng, f, 83, 500, 64, 12, true)
			for _, cut := range [][2]int{{0, 128}, {128, 320}, {320, 500}} {
				m, err := whole.SliceK(cut[0], cut[1])
				if err != nil {
					t.Fatal(err)
				}
				for _, tokens := range []int{1, 3, 8} {
					checkProduct(t, &m, activations(tokens, m.K, 64, func() float32 { return float32(rng.NormFloat64()) }), 0)
				}
			}
		}
	})
}

// Weights at any address.
func TestProductOfUnalignedWeights(t *testing.T) {
	forEachTier(t, func(t *testing.T) {
		for _, f := range allFormats {
			rng := newRand(uint64(f))
			m := randomMatrix(t, rng, f, 19, 100, 64, 9, false)
			x := activations(10, 100, 64, nowAndThen(rng))
			for offset := range 5 {
				m.Data = slices.Clip(append(make([]byte, offset, offset+len(m.Data)), m.Data...)[offset:])
				checkProduct(t, &m, x, offset)
			}
		}
	})
}
