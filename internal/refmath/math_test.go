package refmath

import (
	"math"
	"testing"

	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/integrate/quad"
	"gonum.org/v1/gonum/stat"
)

func TestGELUAgainstClosedForms(t *testing.T) {
	// Φ(1), Φ(-2) and Φ(0.5) are in every table of the normal distribution.
	for _, c := range []struct{ x, want float64 }{
		{0, 0}, {1, 0.8413447460685429}, {-2, -2 * 0.02275013194817921}, {0.5, 0.5 * 0.6914624612740131},
	} {
		if got := geluErf(c.x); math.Abs(got-c.want) > 1e-15 {
			t.Errorf("geluErf(%g) = %.17g, want %.17g", c.x, got, c.want)
		}
	}
	// ½(1+tanh z) is the logistic function of 2z.
	for x := -8.0; x <= 8; x += 0.01 {
		z := math.Sqrt(2/math.Pi) * (x + 0.044715*math.Pow(x, 3))
		want := x / (1 + math.Exp(-2*z))
		if got := geluTanh(x); math.Abs(got-want) > 1e-14 {
			t.Fatalf("geluTanh(%g) = %.17g, want %.17g", x, got, want)
		}
		if gap := math.Abs(geluTanh(x) - geluErf(x)); gap > 4.8e-4 {
			t.Fatalf("the two forms differ by %g at %g, want at most 4.8e-4", gap, x)
		}
	}
}

// TestGELUErfIsAnIntegral checks the erf form against its definition, x times the normal density summed up to x.
func TestGELUErfIsAnIntegral(t *testing.T) {
	density := func(u float64) float64 { return math.Exp(-u*u/2) / math.Sqrt(2*math.Pi) }
	for _, x := range []float64{-3, -1.5, -0.1, 0.7, 2.2} {
		want := x * (0.5 + quad.Fixed(density, 0, math.Abs(x), 60, nil, 0)*math.Copysign(1, x))
		if got := geluErf(x); math.Abs(got-want) > 1e-12 {
			t.Errorf("geluErf(%g) = %.17g, want %.17g", x, got, want)
		}
	}
}

func TestLayerNormAgainstStat(t *testing.T) {
	x := Matrix{2, 4, []float64{1, 2, 3, 4, -10, 0, 10, 1e6}}
	n := norm{Tensor{1, 4, []float32{1, 2, 0.5, -1}}, Tensor{1, 4, []float32{0, 1, -1, 0.25}}}
	got := layerNorm(x, n, 1e-5)
	for r := range x.Rows {
		mean, variance := stat.PopMeanVariance(x.Row(r), nil)
		for i, v := range x.Row(r) {
			want := (v-mean)/math.Sqrt(variance+float64(float32(1e-5)))*float64(n.weight.Data[i]) + float64(n.bias.Data[i])
			if math.Abs(got.Row(r)[i]-want) > 1e-12 {
				t.Errorf("row %d column %d: got %.17g, want %.17g", r, i, got.Row(r)[i], want)
			}
		}
	}
	// By hand: mean 2.5, variance 1.25, and 1.25 is (√5/2)².
	unit := layerNorm(Matrix{1, 4, x.Row(0)}, norm{Tensor{1, 4, []float32{1, 1, 1, 1}}, Tensor{1, 4, make([]float32, 4)}}, 1e-30)
	for i, want := range []float64{-3 / math.Sqrt(5), -1 / math.Sqrt(5), 1 / math.Sqrt(5), 3 / math.Sqrt(5)} {
		if math.Abs(unit.Data[i]-want) > 1e-14 {
			t.Errorf("column %d: got %.17g, want %.17g", i, unit.Data[i], want)
		}
	}
}

func TestSoftmaxAndLogSumExp(t *testing.T) {
	x := []float64{1000, 1000 + math.Log(2), 1000 + math.Log(5)}
	if got, want := logSumExp(x), floats.LogSumExp(x); math.Abs(got-want) > 1e-12 {
		t.Errorf("logSumExp = %.17g, want %.17g", got, want)
	}
	softmax(x)
	for i, want := range []float64{1.0 / 8, 2.0 / 8, 5.0 / 8} {
		if math.Abs(x[i]-want) > 1e-12 {
			t.Errorf("softmax[%d] = %.17g, want %.17g", i, x[i], want)
		}
	}
	if got := logSumExp([]float32{float32(math.Inf(-1)), float32(math.Inf(-1))}); !math.IsInf(got, -1) {
		t.Errorf("logSumExp of nothing possible = %g, want -Inf", got)
	}
}
