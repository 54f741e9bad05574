package sample

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

// drawPlainly is draw without leaving anything out.
func drawPlainly(logits []float32, lo int, cold float64, n noise) noisy {
	best := none
	for i, l := range logits {
		if !possible(l) {
			continue
		}
		token := int32(lo + i)
		if c := (noisy{token, l, scaled(l, cold) + gumbel(n.hash(token))}); c.better(best) {
			best = c
		}
	}
	return best
}

func TestDrawLeavesNothingOut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		logits := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) float32 {
			if rapid.IntRange(0, 9).Draw(t, "banned") == 0 {
				return negInf
			}
			return rapid.Float32Range(-20, 20).Draw(t, "logit")
		}), 0, 200).Draw(t, "logits")
		lo := rapid.IntRange(0, 1000).Draw(t, "lo")
		cold := 1 / rapid.Float64Range(0.01, 50).Draw(t, "temperature")
		n := newNoise(rapid.Uint64().Draw(t, "seed"), rapid.IntRange(0, 2047).Draw(t, "position"))
		whole := draw(none, logits, lo, cold, n)
		if want := drawPlainly(logits, lo, cold, n); whole != want {
			t.Fatalf("drew %v, want %v", whole, want)
		}
		joined := none
		cuts := cut(t, len(logits))
		for i := range cuts[1:] {
			if d := draw(none, logits[cuts[i]:cuts[i+1]], lo+cuts[i], cold, n); d.better(joined) {
				joined = d
			}
		}
		if joined != whole {
			t.Fatalf("joined %v, whole %v", joined, whole)
		}
	})
}

func TestBoundBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hash := rapid.Uint64().Draw(t, "hash") | ^uint64(0)<<rapid.IntRange(0, 64).Draw(t, "ones")
		if g := gumbel(hash); g > bound(hash) || g > gumbelMax {
			t.Fatalf("gumbel %v is above its bound %v", g, bound(hash))
		}
	})
	for _, hash := range []uint64{0, 1, ^uint64(0), ^uint64(0) - 1, 1 << 63} {
		if g := gumbel(hash); math.IsNaN(g) || math.IsInf(g, 0) || g > bound(hash) {
			t.Errorf("gumbel of %x is %v, bound %v", hash, g, bound(hash))
		}
	}
}

// TestGumbelMoments checks mean and variance of a million: Euler's constant and π²/6.
func TestGumbelMoments(t *testing.T) {
	const n = 1 << 20
	var sum, squares float64
	for position := range 16 {
		noise := newNoise(12345, position)
		for token := range int32(n / 16) {
			g := gumbel(noise.hash(token))
			sum += g
			squares += g * g
		}
	}
	mean := sum / n
	variance := squares/n - mean*mean
	if math.Abs(mean-0.57721566) > 5*1.2825/math.Sqrt(n) {
		t.Errorf("mean is %v", mean)
	}
	if math.Abs(variance-math.Pi*math.Pi/6) > 0.015 {
		t.Errorf("variance is %v", variance)
	}
}

func TestChoiceSeeds(t *testing.T) {
	if ChoiceSeed(99, 0) != 99 {
		t.Error("choice 0 has another seed than its request")
	}
	seen := map[uint64]bool{}
	for _, seed := range []uint64{0, 1, 2, golden, math.MaxUint64} {
		for choice := range 8 {
			seen[ChoiceSeed(seed, choice)] = true
		}
	}
	if len(seen) != 5*8 {
		t.Errorf("%d different seeds of 40", len(seen))
	}
}

func BenchmarkDraw(b *testing.B) {
	logits := logits256k()
	b.ReportAllocs()
	position := 0
	for b.Loop() {
		draw(none, logits, 0, 1, newNoise(1, position))
		position++
	}
}
