package kernels

import (
	"math"
	"math/big"
	"testing"
)

func TestF16ToF32IsTheDefinition(t *testing.T) {
	for h := range 1 << 16 {
		got, want := F16ToF32(uint16(h)), specF16(uint16(h))
		if !sameBits(got, want) {
			t.Fatalf("float16 %#04x is %g (%#x), want %g", h, got, math.Float32bits(got), want)
		}
	}
}

func TestF16RoundTrip(t *testing.T) {
	for h := range 1 << 16 {
		want := uint16(h)
		if h&0x7fff > 0x7c00 { // a NaN keeps its sign only
			want = uint16(h)&0x8000 | 0x7e00
		}
		if got := F32ToF16(F16ToF32(uint16(h))); got != want {
			t.Fatalf("float16 %#04x comes back as %#04x", h, got)
		}
	}
}

// Between each pair of neighbouring float16 lie a midpoint, which goes to the even one, and its neighbours in float32.
func TestF32ToF16RoundsToNearestEven(t *testing.T) {
	for h := uint16(0); h < 0x7c00; h++ {
		low := float64(F16ToF32(h))
		high := float64(F16ToF32(h + 1))
		if h == 0x7bff {
			high = 65536 // where Inf stands in the order
		}
		middle := float32((low + high) / 2) // exact
		even := h + h&1
		for _, c := range []struct {
			x    float32
			want uint16
		}{
			{middle, even},
			{math.Nextafter32(middle, 0), h},
			{math.Nextafter32(middle, math.MaxFloat32), h + 1},
			{math.Nextafter32(float32(low), math.MaxFloat32), h},
		} {
			if got := F32ToF16(c.x); got != c.want {
				t.Fatalf("%g (%#x) becomes %#04x, want %#04x", c.x, math.Float32bits(c.x), got, c.want)
			}
			if got := F32ToF16(-c.x); got != c.want|0x8000 {
				t.Fatalf("%g becomes %#04x, want %#04x", -c.x, got, c.want|0x8000)
			}
		}
	}
	for x, want := range map[float32]uint16{
		0x1p-25: 0, 0x1.8p-25: 1, 0x1p-149: 0, math.MaxFloat32: 0x7c00, 65519.996: 0x7bff, 65520: 0x7c00, 1e10: 0x7c00,
	} {
		if got := F32ToF16(x); got != want {
			t.Errorf("%g becomes %#04x, want %#04x", x, got, want)
		}
	}
	inf := float32(math.Inf(1))
	if F32ToF16(inf) != 0x7c00 || F32ToF16(-inf) != 0xfc00 {
		t.Error("infinity changes")
	}
}

func TestBF16(t *testing.T) {
	for h := range 1 << 16 {
		want := uint16(h)
		if h&0x7fff > 0x7f80 {
			want = want&0x8000 | 0x7fc0
		}
		if got := F32ToBF16(BF16ToF32(uint16(h))); got != want {
			t.Fatalf("bfloat16 %#04x comes back as %#04x", h, got)
		}
	}
	rng := newRand(1)
	for range 100000 {
		bits := rng.Uint32()
		if rng.IntN(2) == 0 { // near the midpoint
			bits = bits&0xffff0000 | uint32(0x7ffe+rng.IntN(5))
		}
		x := math.Float32frombits(bits)
		if x != x {
			continue
		}
		if got, want := F32ToBF16(x), specBF16(x); got != want {
			t.Fatalf("%g (%#x) becomes %#04x, want %#04x", x, bits, got, want)
		}
	}
}

// specBF16 rounds through arbitrary precision: 8 bits of mantissa, or fewer below the normal range.
func specBF16(x float32) uint16 {
	if math.IsInf(float64(x), 0) {
		return uint16(math.Float32bits(x) >> 16)
	}
	sign := uint16(math.Float32bits(x) >> 16 & 0x8000)
	magnitude := math.Abs(float64(x))
	unit := math.Ldexp(1, max(math.Ilogb(max(magnitude, 0x1p-133)), -126)-7)
	n, _ := new(big.Float).SetMode(big.ToNearestEven).Quo(big.NewFloat(magnitude), big.NewFloat(unit)).Float64()
	rounded := math.RoundToEven(n) * unit
	if rounded > math.MaxFloat32 {
		return sign | 0x7f80
	}
	return sign | uint16(math.Float32bits(float32(rounded))>>16)
}
