package kernels

import (
	"bytes"
	"math"
	"testing"
)

// floatOps are the operations whose result for an element depends on that element alone.
var floatOps = map[string]func(x []float32) []byte{
	"exp":      func(x []float32) []byte { ExpAll(x); return guarded[float32]{all: x}.bits() },
	"gelu":     func(x []float32) []byte { GELU(x); return guarded[float32]{all: x}.bits() },
	"gelu-erf": func(x []float32) []byte { GELUErf(x); return guarded[float32]{all: x}.bits() },
	"f16": func(x []float32) []byte {
		b := make([]byte, 2*len(x))
		storeVector(KVF16, b, x)
		return b
	},
}

// checkFloats compares every tier with the generic one on many floats at once.
func checkFloats(t *testing.T, floats []float32) {
	t.Helper()
	for name, op := range floatOps {
		results := map[Tier][]byte{}
		forEachTier(t, func(*testing.T) { results[Active()] = op(append([]float32(nil), floats...)) })
		for tier, got := range results {
			want := results[Generic]
			if bytes.Equal(got, want) {
				continue
			}
			size := len(want) / len(floats)
			for i, x := range floats {
				if g, w := got[i*size:(i+1)*size], want[i*size:(i+1)*size]; !bytes.Equal(g, w) {
					t.Fatalf("%s of %g (%#x) on %s: %x, want %x", name, x, math.Float32bits(x), tier, g, w)
				}
			}
		}
	}
}

// The tiers are the generic one on floats from the whole number line; with a step of 1 this took 7 minutes and passed.
func TestTiersOnAllKindsOfFloats(t *testing.T) {
	var floats []float32
	eachFloat(19937, func(x float32) { floats = append(floats, x) })
	checkFloats(t, floats)
}

// And where float16 are rounded: at the midpoints of neighbours and beside them.
func TestTiersRoundHalvesAlike(t *testing.T) {
	var floats []float32
	for h := uint16(0); h <= 0x7c00; h++ {
		low, high := F16ToF32(h), F16ToF32(h+1)
		if h == 0x7bff {
			high = 65536
		}
		middle := (low + high) / 2
		for _, x := range []float32{low, middle, math.Nextafter32(middle, 0), math.Nextafter32(middle, math.MaxFloat32)} {
			floats = append(floats, x, -x)
		}
	}
	checkFloats(t, floats)
}

// Every float16 is widened alike.
func TestTiersWidenHalvesAlike(t *testing.T) {
	halves, got := make([]byte, 2<<16), make([]float32, 1<<16)
	for h := range got {
		putU16(halves[2*h:], uint16(h))
	}
	forEachTier(t, func(t *testing.T) {
		loadVector(KVF16, got, halves)
		for h, v := range got {
			if want := F16ToF32(uint16(h)); !sameBits(v, want) {
				t.Fatalf("float16 %#04x is %g, want %g", h, v, want)
			}
		}
	})
}
