package kernels

import (
	"math"
	"slices"
	"testing"
)

// What the tiers rely on: levels ascend, fit 7 bits, and with 64 added are positive; two products with quants fit 16 bits.
func TestQ4Levels(t *testing.T) {
	if !slices.IsSorted(q4Levels[:]) {
		t.Error("levels do not ascend")
	}
	for n, level := range q4Levels {
		if level < -63 || level > 63 {
			t.Errorf("level %d is %d", n, level)
		}
		if max(level, -level) < q4Levels[q4Zero] {
			t.Errorf("level %d is nearer to zero than level %d", n, q4Zero)
		}
		if got := specQ4(byte(n)); got != float32(level) {
			t.Errorf("level %d is %d, the specification says %g", n, level, got)
		}
	}
}

// The packer's cells lead to a level that is nearest, on borders and outside the table too.
func TestQ4NearestLevel(t *testing.T) {
	rng := newRand(6)
	for i := range 20000 {
		inv := float32(math.Ldexp(1, rng.IntN(40)-15))
		x := float32(i-10000) / 128 // -78 to 78, in steps that meet every border
		cell := cellQ4(x/inv, inv)
		level := q4Levels[nearestQ4[cell]]
		if levelQ4[cell] != int32(level) {
			t.Fatalf("cell %d: level %d and quant %d differ", cell, levelQ4[cell], nearestQ4[cell])
		}
		for _, other := range q4Levels {
			if math.Abs(float64(x)-float64(other)) < math.Abs(float64(x)-float64(level)) {
				t.Fatalf("%g goes to level %d, but %d is nearer", x, level, other)
			}
		}
	}
}
