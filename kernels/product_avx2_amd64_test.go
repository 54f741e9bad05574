package kernels

import (
	"slices"
	"testing"
)

// The tier does every tame tile itself, whole panels and partial ones, in one call and in several: a tier that left all to the
// generic one would pass the tests of the bits.
func TestAVX2TilesAreItsOwn(t *testing.T) {
	if !slices.Contains(Tiers(), AVX2) {
		t.Skip("no AVX2 here")
	}
	for _, f := range allFormats {
		for n := 1; n <= tileT; n++ {
			for _, k := range []int{100, 5000, 9000} {
				const rows, stride = PanelRows + 5, PanelRows + 8
				rng := newRand(uint64(n*k) + uint64(f))
				m := randomSlicable(rng, f, rows, k, 96)
				m.Exponent = 8
				x := activations(n, k, func() float32 { return float32(rng.NormFloat64()) })
				got, want := make([]int32, n*stride), make([]int32, n*stride)
				for i := range got {
					got[i], want[i] = guard, guard
				}
				var work tile
				work.leaf = newLeafRounder(&m)
				for p := range Panels(rows) {
					if !mulTileAVX2(got[p*PanelRows:], stride, &m, x, p, 0, n) {
						t.Fatalf("%s, %d columns of %d: panel %d is left to the generic tier", f, n, k, p)
					}
					work.mul(want[p*PanelRows:], stride, &m, x, p, 0)
				}
				if !slices.Equal(got, want) {
					t.Errorf("%s, %d columns of %d: not what the generic tier computes", f, n, k)
				}
			}
		}
	}
}
