package kernels

import (
	"fmt"
	"testing"
)

// The leaves of models, of one block and of four, are quantised by the tier itself: a tier that left all to the generic one would pass the
// tests of the bits.
func TestTierQuantisesItself(t *testing.T) {
	forEachTier(t, func(t *testing.T) {
		if active == Generic {
			t.Skip("it is the other one")
		}
		for _, leaf := range []int{BlockK, 4 * BlockK} {
			for _, tokens := range []int{1, 3, 8, 11} {
				t.Run(fmt.Sprintf("leaf=%d/t=%d", leaf, tokens), func(t *testing.T) { checkOwnQuants(t, leaf, tokens) })
			}
		}
	})
}

// checkOwnQuants has the tier quantise the second half of the last of so many rows.
func checkOwnQuants(t *testing.T, leaf, tokens int) {
	t.Helper()
	const k, half = 10240, 5120 // more than one call into assembly
	rng := newRand(uint64(leaf + tokens))
	want := activations(tokens, k, leaf, func() float32 { return float32(rng.NormFloat64()) })
	got := new(Activations)
	got.Reset(tokens, k, leaf)
	for _, x := range [][]int32{got.sum, got.start} {
		clear(x)
	}
	row := tokens - 1
	if n := leadQuantise(got, row, half/BlockK, want.Row(row)[half:]); n != half {
		t.Fatalf("the tier quantised %d of %d inputs", n, half)
	}
	for b := range k / BlockK {
		unit, at := want.unit(b, row), want.scaleAt(b*BlockK/leaf, row)
		if b < half/BlockK {
			if got.sum[unit] != 0 || got.start[unit] != 0 {
				t.Fatalf("block %d, in front of the first, has a sum", b)
			}
			continue
		}
		if got.quant[unit] != want.quant[unit] || got.sum[unit] != want.sum[unit] || got.start[unit] != want.start[unit] {
			t.Fatalf("block %d differs", b)
		}
		if !sameBits(got.scale[at], want.scale[at]) {
			t.Fatalf("scale of block %d is %g, want %g", b, got.scale[at], want.scale[at])
		}
	}
}
