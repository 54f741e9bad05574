package sample

import (
	"math"
	"math/big"
	"testing"

	"pgregory.net/rapid"
)

func TestMassAgreesWithExp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		logits := rapid.SliceOfN(rapid.Float32Range(-60, 60), 1, 200).Draw(t, "logits")
		temperature := rapid.Float32Range(0.05, 5).Draw(t, "temperature")
		var m Mass
		m.Add(logits, temperature)
		most := float64(logits[0])
		for _, l := range logits {
			most = max(most, float64(l))
		}
		sum := 0.0
		for _, l := range logits {
			sum += math.Exp((float64(l) - most) / float64(temperature))
		}
		want := most/float64(temperature) + math.Log(sum)
		if got := m.Log(); math.Abs(got-want) > 1e-8+1e-12*math.Abs(want) {
			t.Fatalf("log is %v, want %v", got, want)
		}
	})
}

// TestMassPartitions checks that any cut, in any order of merging, gives the same sum, of wild values too.
func TestMassPartitions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		logits := rows(t, 0, 100)
		temperature := rapid.SampledFrom([]float32{1, 0.7, 0.01, 1e-20, 50}).Draw(t, "temperature")
		var whole, ones, merged Mass
		whole.Add(logits, temperature)
		for _, i := range rapid.Permutation(indices(len(logits))).Draw(t, "order") {
			ones.addOne(logits[i], max(temperature, TemperatureMin))
		}
		if ones != whole {
			t.Fatalf("one by one %v, whole %v", ones, whole)
		}
		cuts := cut(t, len(logits))
		var parts []Mass
		for i := range cuts[1:] {
			var m Mass
			m.Add(logits[cuts[i]:cuts[i+1]], temperature)
			parts = append(parts, m)
		}
		for _, i := range rapid.Permutation(indices(len(parts))).Draw(t, "merging") {
			merged.Merge(&parts[i])
		}
		if merged != whole {
			t.Fatalf("merged %v, whole %v", merged, whole)
		}
		var shares uint64
		for _, l := range logits {
			shares += whole.share(l, max(temperature, TemperatureMin))
		}
		if total := whole.total(); shares > total || total-shares > uint64(len(logits)) {
			t.Fatalf("shares are %d of %d", shares, total)
		}
	})
}

func indices(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}

func TestMassOfNothing(t *testing.T) {
	var m Mass
	m.Add([]float32{negInf, float32(math.NaN())}, 1)
	if !m.Empty() || !math.IsInf(m.Log(), -1) {
		t.Errorf("mass of impossible tokens is %v", m.Log())
	}
}

// TestMassLargest adds as many equal tokens as a vocabulary may have: the sum must not overflow.
func TestMassLargest(t *testing.T) {
	logits := make([]float32, 1<<21)
	for i := range logits {
		logits[i] = -0.01 // just below a power of two: the largest mantissa
	}
	var m Mass
	m.Add(logits, 1)
	if got, want := m.Log(), 21*math.Ln2-0.01; math.Abs(got-want) > 1e-9 {
		t.Errorf("log is %v, want %v", got, want)
	}
}

func TestPowerAgreesWithExp2(t *testing.T) {
	for i := -200000; i < 200000; i++ {
		x := float64(i) * 0.05237
		m, e := power(x)
		got := float64(m) / massPoint * math.Exp2(float64(e)-math.Floor(x/octave))
		want := math.Exp2(x/octave - math.Floor(x/octave))
		if math.Abs(got-want) > 3e-10*want {
			t.Fatalf("2^(%v/128) is %v, want %v", x, got, want)
		}
	}
}

// TestPowers checks the table against big arithmetic: each entry is the nearest float64.
func TestPowers(t *testing.T) {
	root := big.NewFloat(2).SetPrec(300)
	for range 7 {
		root.Sqrt(root)
	}
	p := big.NewFloat(1).SetPrec(300)
	for i, got := range powers {
		if want, _ := p.Float64(); got != want {
			t.Errorf("2^(%d/128) is %x, want %x", i, got, want)
		}
		p.Mul(p, root)
	}
}

func TestLogarithmAgreesWithLog(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := rapid.Float64Range(1e-300, 1e300).Draw(t, "x")
		if rapid.Bool().Draw(t, "near one") {
			x = rapid.Float64Range(0.5, 2).Draw(t, "y")
		}
		if got, want := logarithm(x), math.Log(x); math.Abs(got-want) > 2.3e-16*math.Abs(want) {
			t.Fatalf("log %v is %v, want %v", x, got, want)
		}
	})
	for _, x := range []float64{1, 1 - 0x1p-53, math.Sqrt2, 0x1p-52, 2, math.E} {
		if got, want := logarithm(x), math.Log(x); math.Abs(got-want) > 2.3e-16*math.Abs(want) {
			t.Errorf("log %v is %v, want %v", x, got, want)
		}
	}
}

// TestBits pins some bits: they must be the same on every machine.
func TestBits(t *testing.T) {
	var m Mass
	m.Add([]float32{-3.25, 0.5, 7.125, 7, -20}, 0.7)
	if got := m.Log(); math.Float64bits(got) != pinnedLog {
		t.Errorf("mass has log %x (%v), want %x", math.Float64bits(got), got, uint64(pinnedLog))
	}
	if got := gumbel(newNoise(42, 7).hash(1234)); math.Float64bits(got) != pinnedGumbel {
		t.Errorf("gumbel is %x (%v), want %x", math.Float64bits(got), got, uint64(pinnedGumbel))
	}
	if got := raise(37, 0.625); math.Float64bits(got) != pinnedRaise {
		t.Errorf("power is %x (%v), want %x", math.Float64bits(got), got, uint64(pinnedRaise))
	}
}

const (
	pinnedLog    = 0x402592aa62c214d0
	pinnedGumbel = 0x3fee74babf40c2bc
	pinnedRaise  = 0x40231afb512a0ecf
)

func BenchmarkMassAdd(b *testing.B) {
	logits := logits256k()
	b.ReportAllocs()
	for b.Loop() {
		var m Mass
		m.Add(logits, 1)
	}
}
