package kernels

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// Packing then reading back is within half a step of the format, and the reported error is the true one.
func TestPackPanel(t *testing.T) {
	rng := newRand(1)
	for _, f := range allFormats {
		for _, n := range []int{1, 5, 15, 16} {
			for _, k := range []int{1, 31, 32, 33, 100, 256} {
				w := normals(rng, n*k, 0.02)
				for i := range w {
					if rng.IntN(20) == 0 {
						w[i] = 0
					}
				}
				dst := make([]byte, Blocks(k)*f.BlockBytes()+3)
				copy(dst[len(dst)-3:], "end")
				got, err := PackPanel(dst[:len(dst)-3], f, w, n, k)
				if err != nil {
					t.Fatal(err)
				}
				if string(dst[len(dst)-3:]) != "end" {
					t.Fatal("wrote behind the panel")
				}
				m, err := NewMatrix(f, n, k, 32, 10, dst[:len(dst)-3])
				if err != nil {
					t.Fatal(err)
				}
				checkPacked(t, &m, w, got)
			}
		}
	}
}

func checkPacked(t *testing.T, m *Matrix, w []float32, got PackError) {
	t.Helper()
	var want PackError
	row := make([]float32, m.K)
	for r := range m.Rows {
		UnpackRow(row, m, r)
		for c, v := range row {
			q, scale := specWeight(m, r, c)
			if back := float32(q * scale); v != back {
				t.Fatalf("%s: weight (%d, %d) unpacks as %g, is %g", m.Format, r, c, v, back)
			}
			x := w[r*m.K+c]
			d := math.Abs(float64(v) - float64(x))
			step := map[Format]float64{F32: 0, BF16: math.Abs(float64(x)) / 256, Q8: 0.501 * float64(scale), Q4: 15 * math.Abs(float64(scale))}[m.Format]
			if d > step {
				t.Fatalf("%s: weight (%d, %d) of %g is packed as %g, scale %g", m.Format, r, c, x, v, scale)
			}
			want.Add(PackError{SquaredError: d * d, Squares: float64(x) * float64(x), MaxAbs: d})
		}
	}
	near := func(a, b float64) bool { return math.Abs(a-b) <= 1e-5*math.Abs(b)+1e-15 }
	if !near(got.SquaredError, want.SquaredError) || !near(got.Squares, want.Squares) || !near(got.MaxAbs, want.MaxAbs) {
		t.Fatalf("%s (%d, %d): reports %+v, want %+v", m.Format, m.Rows, m.K, got, want)
	}
}

// Missing rows and columns are zeros, bit for bit, or in Q4 the level nearest to zero.
func TestPackPadding(t *testing.T) {
	for _, f := range allFormats {
		const n, k = 3, 40
		dst := bytes.Repeat([]byte{0x5a}, Blocks(k)*f.BlockBytes())
		if _, err := PackPanel(dst, f, normals(newRand(2), n*k, 1), n, k); err != nil {
			t.Fatal(err)
		}
		random := bytes.Repeat([]byte{0x5a}, len(dst))
		PackRandom(random, f, n, k, 1, 2, 3)
		for name, data := range map[string][]byte{"packed": dst, "random": random} {
			m, err := NewMatrix(f, PanelRows, Blocks(k)*BlockK, 32, 10, data)
			if err != nil {
				t.Fatal(err)
			}
			for r := range m.Rows {
				for c := range m.K {
					w, scale := specWeight(&m, r, c)
					zero := float32(0)
					if f == Q4 { // which has none: the nearest, which meets a scale or an activation of zero
						zero = 1
					}
					if (r >= n || c >= k) && w != zero {
						t.Fatalf("%s %s: (%d, %d) is %g", name, f, r, c, w)
					}
					if r >= n && f.Quantised() && scale != 0 {
						t.Fatalf("%s %s: scale of row %d is %g", name, f, r, scale)
					}
				}
			}
		}
	}
}

func TestPackRefusesWhatIsNotFinite(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	for _, c := range []struct {
		f   Format
		bad float32
	}{
		{F32, nan}, {F32, -inf}, {BF16, nan}, {BF16, inf}, {BF16, math.MaxFloat32}, {Q8, nan}, {Q8, inf}, {Q8, 127 * 65520}, {Q8, -1e38},
		{Q4, nan}, {Q4, -inf}, {Q4, 64 * 65504}, {Q4, -math.MaxFloat32},
	} {
		const n, k = 5, 70
		w := normals(newRand(3), n*k, 1)
		w[3*k+41] = c.bad
		_, err := PackPanel(make([]byte, Blocks(k)*c.f.BlockBytes()), c.f, w, n, k)
		if !errors.Is(err, ErrNotFinite) || !strings.Contains(err.Error(), "row 3, column 41") {
			t.Errorf("%s of %g: error %v", c.f, c.bad, err)
		}
	}
	for _, c := range []struct {
		f    Format
		fits float32
	}{{F32, math.MaxFloat32}, {BF16, 3.38e38}, {Q8, 127 * 65504}, {Q4, 63 * 65504}, {Q4, -63 * 65504}} {
		w := make([]float32, 32)
		w[7] = c.fits
		if _, err := PackPanel(make([]byte, c.f.BlockBytes()), c.f, w, 1, 32); err != nil {
			t.Errorf("%s of %g: %v", c.f, c.fits, err)
		}
	}
}

func TestPackRefusesWrongShapes(t *testing.T) {
	w := make([]float32, 64)
	for name, c := range map[string]struct {
		f           Format
		n, k, bytes int
	}{
		"format": {9, 2, 32, 576}, "no rows": {Q4, 0, 32, 288}, "rows": {Q4, 17, 32, 288}, "no k": {Q4, 1, 0, 0},
		"weights": {Q4, 1, 32, 288}, "bytes": {Q4, 2, 32, 287}, "format zero": {0, 2, 32, 0},
	} {
		if _, err := PackPanel(make([]byte, c.bytes), c.f, w, c.n, c.k); !errors.Is(err, ErrShape) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// Weights so small that the scale is subnormal or zero, and zeros, pack without harm.
func TestPackTinyWeights(t *testing.T) {
	for _, f := range []Format{Q8, Q4} {
		for _, std := range []float64{0, 1e-3, 1e-5, 1e-7, 1e-12, 1e-40} {
			w := normals(newRand(4), 16*64, std)
			dst := make([]byte, 2*f.BlockBytes())
			got, err := PackPanel(dst, f, w, 16, 64)
			if err != nil {
				t.Fatal(err)
			}
			if r := got.Relative(); r > 1 || r != r {
				t.Errorf("%s of weights around %g: relative error %g", f, std, r)
			}
		}
	}
}

// The scale that is found is near the best there is: an exhaustive search over float16 scales gains little.
func TestQ4ScaleIsNearTheBest(t *testing.T) {
	var rng *rand.Rand
	for name, next := range map[string]func() float32{
		"normal":  func() float32 { return float32(rng.NormFloat64()) },
		"laplace": func() float32 { return float32(rng.ExpFloat64() * float64(1-2*rng.IntN(2))) },
		"uniform": func() float32 { return 2*rng.Float32() - 1 },
		"skewed":  func() float32 { return float32(rng.ExpFloat64() - 0.3) },
		"outlier": func() float32 { return float32(rng.NormFloat64() / (0.1 + rng.Float64())) },
	} {
		rng = newRand(12)
		var found, best, plain float64
		blocks := 60
		if testing.Short() {
			blocks = 30
		}
		for range blocks {
			var w [BlockK]float32
			for i := range w {
				w[i] = next()
			}
			amax := maxAbs(w[:])
			var q [BlockK]int8
			scale := quantiseQ4(&q, &w, amax)
			found += q4Error(&w, &q, F16ToF32(scale))
			least := math.Inf(1)
			for i := -400; i <= 400; i++ {
				least = min(least, q4ErrorAt(&w, F32ToF16(amax/55*float32(i)/250)))
			}
			best += least
			signed := float32(0)
			for _, v := range w {
				if float32(math.Abs(float64(v))) == amax {
					signed = v
				}
			}
			plain += q4ErrorAt(&w, F32ToF16(signed/-63))
		}
		t.Logf("%s: %.4f of the error of a search over all scales, %.4f of the error of max/-63", name, found/best, found/plain)
		if found > 1.03*best {
			t.Errorf("%s: squared error is %.3f times the best", name, found/best)
		}
	}
}

// q4ErrorAt is the least squared error under one scale.
func q4ErrorAt(w *[BlockK]float32, scale uint16) float64 {
	s := float64(F16ToF32(scale))
	var q [BlockK]int8
	for i, v := range w {
		if s != 0 {
			for n, level := range q4Levels {
				if math.Abs(float64(v)/s-float64(level)) < math.Abs(float64(v)/s-float64(q4Levels[q[i]])) {
					q[i] = int8(n)
				}
			}
		}
	}
	return q4Error(w, &q, float32(s))
}

func q4Error(w *[BlockK]float32, q *[BlockK]int8, scale float32) float64 {
	sum := 0.0
	for i, v := range w {
		d := float64(v) - float64(q4Levels[q[i]])*float64(scale)
		sum += d * d
	}
	return sum
}

func BenchmarkPackPanel(b *testing.B) {
	for _, f := range allFormats {
		const k = 5120
		b.Run(fmt.Sprintf("format=%s/k=%d", f, k), func(b *testing.B) {
			w := normals(newRand(1), PanelRows*k, 0.02)
			dst := make([]byte, PackedBytes(f, PanelRows, k))
			b.SetBytes(int64(4 * len(w)))
			best := bestPass(b, func() {
				if _, err := PackPanel(dst, f, w, PanelRows, k); err != nil {
					b.Fatal(err)
				}
			})
			b.ReportMetric(float64(len(w))/best/1e6, "best-Mweights/s")
		})
	}
}
