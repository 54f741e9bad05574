package checkpoint

import (
	"encoding/binary"
	"math"
	"testing"
)

// halfValue computes a half from its definition, in float64.
func halfValue(half uint16) float64 {
	mantissa, exponent := float64(half&0x3ff), int(half>>10&0x1f)
	sign := 1.0
	if half&0x8000 != 0 {
		sign = -1
	}
	switch {
	case exponent == 0:
		return sign * math.Ldexp(mantissa, -24)
	case exponent < 31:
		return sign * math.Ldexp(1024+mantissa, exponent-25)
	case mantissa == 0:
		return sign * math.Inf(1)
	}
	return math.NaN()
}

// TestHalf compares all 65,536 halves with their definition.
func TestHalf(t *testing.T) {
	for bits := range 1 << 16 {
		got, want := fromHalf(uint16(bits)), halfValue(uint16(bits))
		if math.IsNaN(want) != math.IsNaN(float64(got)) || !math.IsNaN(want) && math.Float32bits(got) != math.Float32bits(float32(want)) {
			t.Fatalf("half %#04x reads as %g, want %g", bits, got, want)
		}
	}
}

// TestDecode reads every type's bytes; double is rounded to the nearest float.
func TestDecode(t *testing.T) {
	values := []float32{0, 1, -2, 0.5, -127.0 / 64, float32(math.Inf(1)), float32(math.Copysign(0, -1))}
	for _, kind := range []dtype{bfloat16, float32t, float64t} {
		got := make([]float32, len(values))
		kind.decode(got, encode(kind, values))
		if !sameBits(got, values) {
			t.Errorf("%s reads %v, want %v", kind, got, values)
		}
	}
	for _, c := range []struct {
		in   float64
		want float32
	}{{1 + 0x1p-24, 1}, {1 + 0x1p-24 + 0x1p-40, 1 + 0x1p-23}, {1e300, float32(math.Inf(1))}, {1e-300, 0}} {
		got := make([]float32, 1)
		float64t.decode(got, binary.LittleEndian.AppendUint64(nil, math.Float64bits(c.in)))
		if got[0] != c.want {
			t.Errorf("double %g reads as %g, want %g", c.in, got[0], c.want)
		}
	}
}

// TestDTypeNames finds each type by each of its names and nothing by another.
func TestDTypeNames(t *testing.T) {
	for d := bfloat16; int(d) < len(dtypes); d++ {
		if got, ok := dtypeOfTorch(dtypes[d].torch); !ok || got != d {
			t.Errorf("torch's %s is %v", dtypes[d].torch, got)
		}
		if got, ok := dtypeOfSafetensors(dtypes[d].safetensors); !ok || got != d {
			t.Errorf("safetensors' %s is %v", dtypes[d].safetensors, got)
		}
		if floats := d <= float64t; d.isFloat() != floats {
			t.Errorf("isFloat of %s is %v", d, d.isFloat())
		}
	}
	for _, name := range []string{"", "float32", "QInt8Storage", "F8_E4M3"} {
		_, torch := dtypeOfTorch(name)
		_, safe := dtypeOfSafetensors(name)
		if torch || safe {
			t.Errorf("%q is taken for a type", name)
		}
	}
}
