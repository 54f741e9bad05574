package kernels

import (
	"math"
	"testing"
)

// eachFloat calls f with float32 values from all over the number line: special ones, the neighbourhoods of
// borders, and every step-th bit pattern.
func eachFloat(step uint32, f func(x float32)) {
	borders := []float32{0, 1, -1, expMax, expMin, 0.5, -0.5, 88.7, -87.3, 1e-38, 127, 128, 0.34657359, 1e-8}
	for _, x := range borders {
		down, up := x, x
		for range 2000 {
			f(down)
			f(up)
			down, up = math.Nextafter32(down, float32(math.Inf(-1))), math.Nextafter32(up, float32(math.Inf(1)))
		}
	}
	for bits := uint64(0); bits < 1<<32; bits += uint64(step) {
		f(math.Float32frombits(uint32(bits)))
	}
}

func TestExpIsTheSpecification(t *testing.T) {
	forEachTier(t, func(t *testing.T) {
		eachFloat(9973, func(x float32) {
			if got, want := Exp(x), specExp(x); !sameBits(got, want) {
				t.Fatalf("Exp(%g) = %g (%#x), want %g (%#x)", x, got, math.Float32bits(got), want, math.Float32bits(want))
			}
		})
	})
}

func TestExpError(t *testing.T) {
	worst, at := 0.0, float32(0)
	eachFloat(9967, func(x float32) {
		if !(x <= expMax && x >= expMin) {
			return
		}
		want := math.Exp(float64(x))
		if e := math.Abs(float64(Exp(x))-want) / want; e > worst {
			worst, at = e, x
		}
	})
	t.Logf("largest relative error %.3g at %g", worst, at)
	if !(worst <= 2e-7) {
		t.Errorf("relative error %.3g at %g, want at most 2e-7", worst, at)
	}
}

func TestExpSpecialValues(t *testing.T) {
	inf := float32(math.Inf(1))
	for x, want := range map[float32]float32{
		0: 1, float32(math.Copysign(0, -1)): 1, inf: inf, -inf: 0, 1e30: inf, -1e30: 0, 89: inf, -88: 0, 1e-45: 1, -1e-45: 1,
		math.Nextafter32(expMax, inf): inf, math.Nextafter32(expMin, -inf): 0,
	} {
		if got := Exp(x); got != want {
			t.Errorf("Exp(%g) = %g, want %g", x, got, want)
		}
	}
	if got := Exp(float32(math.NaN())); got == got {
		t.Errorf("Exp(NaN) = %g", got)
	}
	if top := Exp(expMax); !(top > 3.4e38 && top <= math.MaxFloat32) {
		t.Errorf("Exp at its upper end is %g", top)
	}
	if low := Exp(expMin); !(low >= 0x1p-126 && low < 1.2e-38) {
		t.Errorf("Exp at its lower end is %g", low)
	}
	x := []float32{0, 1, -1}
	ExpAll(x)
	if x[0] != 1 || x[1] != Exp(1) || x[2] != Exp(-1) {
		t.Errorf("ExpAll gives %v", x)
	}
}

func TestGELUIsTheSpecification(t *testing.T) {
	forEachTier(t, func(t *testing.T) {
		eachFloat(99991, func(x float32) {
			y := []float32{x, 1, x}
			GELU(y)
			if want := specGELU(x); !sameBits(y[0], want) || !sameBits(y[2], want) {
				t.Fatalf("GELU(%g) = %g, want %g", x, y[0], want)
			}
			y[0], y[2] = x, x
			GELUErf(y)
			if want := specGELUErf(x); !sameBits(y[0], want) || !sameBits(y[2], want) {
				t.Fatalf("GELUErf(%g) = %g, want %g", x, y[0], want)
			}
		})
	})
}

func TestGELUError(t *testing.T) {
	var tanhWorst, erfWorst, tailWorst float64
	for i := -400000; i <= 400000; i++ {
		x := float32(i) / 32000 // to 12.5 on either side
		v := float64(x)
		y := []float32{x}
		GELU(y)
		want := 0.5 * v * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(v+0.044715*v*v*v)))
		tanhWorst = max(tanhWorst, math.Abs(float64(y[0])-want)/max(1, math.Abs(v)))
		y[0] = x
		GELUErf(y)
		want = 0.5 * v * math.Erfc(-v/math.Sqrt2)
		erfWorst = max(erfWorst, math.Abs(float64(y[0])-want)/max(1, math.Abs(v)))
		if v < 0 && v > -9 {
			tailWorst = max(tailWorst, math.Abs(float64(y[0])-want)/math.Abs(want))
		}
	}
	t.Logf("largest error of GELU %.3g, of GELUErf %.3g (relative to max(1, |x|)), relative in its tail %.3g", tanhWorst, erfWorst, tailWorst)
	if tanhWorst > 2e-7 || erfWorst > 2e-7 || tailWorst > 1e-5 {
		t.Errorf("errors are too large")
	}
}

func TestErfError(t *testing.T) {
	worst, at := 0.0, float32(0)
	for i := range 1 << 20 {
		z := float32(i) / (1 << 16) // to 16
		if e := math.Abs(float64(1-erfc(z)) - math.Erf(float64(z))); e > worst {
			worst, at = e, z
		}
	}
	t.Logf("largest error of erf %.3g at %g", worst, at)
	if worst > 2e-7 {
		t.Errorf("error %.3g of erf at %g, want at most 2e-7", worst, at)
	}
}

func TestGELUSpecialValues(t *testing.T) {
	inf := float32(math.Inf(1))
	for name, gelu := range map[string]func([]float32){"tanh": GELU, "erf": GELUErf} {
		x := []float32{0, inf, 100, -100, 1e30, -1e19, float32(math.NaN())}
		gelu(x)
		if x[0] != 0 || x[1] != inf || x[2] != 100 || x[3] != 0 || x[4] != 1e30 || x[5] != 0 || x[6] == x[6] {
			t.Errorf("%s: special values give %v", name, x)
		}
		gelu(nil)
	}
}

func BenchmarkGELU(b *testing.B) {
	for name, gelu := range map[string]func([]float32){"tanh": GELU, "erf": GELUErf, "exp": ExpAll} {
		b.Run("form="+name, func(b *testing.B) {
			x, y := normals(newRand(1), 20480, 2), make([]float32, 20480)
			b.SetBytes(int64(4 * len(x)))
			for b.Loop() {
				copy(y, x)
				gelu(y)
			}
		})
	}
}
