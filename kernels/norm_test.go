package kernels

import (
	"fmt"
	"math"
	"testing"
)

func TestLayerNormIsTheSpecification(t *testing.T) {
	forEachTier(t, func(t *testing.T) {
		rng := newRand(2)
		for n := 1; n <= 100; n++ {
			for _, special := range []bool{false, true} {
				next := func() float32 { return float32(rng.NormFloat64()*3 + 1) }
				if special {
					next = func() float32 { return hostile(rng) }
				}
				x, w, b := make([]float32, n), make([]float32, n), make([]float32, n)
				for i := range x {
					x[i], w[i], b[i] = next(), next(), next()
				}
				want := specLayerNorm(x, w, b, 1e-5)
				got := make([]float32, n+1)
				got[n] = 77
				LayerNorm(got[:n], x, w, b, 1e-5)
				LayerNorm(x, x, w, b, 1e-5) // in place
				for i := range want {
					if !sameBits(got[i], want[i]) || !sameBits(x[i], want[i]) {
						t.Fatalf("n=%d: y[%d] is %g, in place %g, want %g", n, i, got[i], x[i], want[i])
					}
				}
				if got[n] != 77 {
					t.Fatalf("n=%d: wrote behind the end", n)
				}
			}
		}
	})
}

func TestLayerNormIsNearFloat64(t *testing.T) {
	rng := newRand(3)
	for _, n := range []int{1, 16, 48, 256, 5120} {
		x, w, b := normals(rng, n, 5), normals(rng, n, 1), normals(rng, n, 1)
		for i := range x {
			x[i] += 10
		}
		mean, variance := 0.0, 0.0
		for _, v := range x {
			mean += float64(v) / float64(n)
		}
		for _, v := range x {
			variance += (float64(v) - mean) * (float64(v) - mean) / float64(n)
		}
		y := make([]float32, n)
		LayerNorm(y, x, w, b, 1e-5)
		for i := range y {
			want := (float64(x[i])-mean)/math.Sqrt(variance+1e-5)*float64(w[i]) + float64(b[i])
			if math.Abs(float64(y[i])-want) > 1e-5 {
				t.Fatalf("n=%d: y[%d] is %g, want %g", n, i, y[i], want)
			}
		}
	}
}

func BenchmarkLayerNorm(b *testing.B) {
	for _, n := range []int{256, 5120} {
		b.Run(fmt.Sprintf("n=%d", n), func(b *testing.B) {
			rng := newRand(1)
			x, w, bias, y := normals(rng, n, 1), normals(rng, n, 1), normals(rng, n, 1), make([]float32, n)
			b.SetBytes(int64(4 * n))
			for b.Loop() {
				LayerNorm(y, x, w, bias, 1e-5)
			}
		})
	}
}
