package kernels

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

var allFormats = []Format{F32, BF16, Q8, Q4}

// sameBits compares floats by their bits, all NaNs being one.
func sameBits(a, b float32) bool {
	return math.Float32bits(a) == math.Float32bits(b) || (a != a && b != b)
}

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15)) }

// hostile is a float32 that is now and then special.
func hostile(rng *rand.Rand) float32 {
	switch rng.IntN(40) {
	case 0:
		return float32(math.NaN())
	case 1:
		return float32(math.Inf(1 - 2*rng.IntN(2)))
	case 2, 3, 4:
		return 0
	case 5:
		return float32(math.Copysign(0, -1))
	case 6, 7:
		return math.Float32frombits(rng.Uint32N(0x800000)) // subnormal
	case 8, 9:
		return float32(rng.NormFloat64() * 1e30)
	case 10:
		return math.Float32frombits(rng.Uint32()) // anything
	}
	return float32(rng.NormFloat64())
}

// nowAndThen gives floats that are hostile always, seldom or hardly ever, and so large, so small or so ordinary: in a leaf of many
// inputs one NaN hides all others.
func nowAndThen(rng *rand.Rand) func() float32 {
	every, size := []int{1, 40, 400}[rng.IntN(3)], []float64{1, 1, 1e-36, 1e-43, 1e36}[rng.IntN(5)]
	return func() float32 {
		if rng.IntN(every) == 0 {
			return hostile(rng)
		}
		return float32(rng.NormFloat64() * size)
	}
}

func normals(rng *rand.Rand, n int, std float64) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(rng.NormFloat64() * std)
	}
	return x
}

// pack packs weights (rows, k) into a matrix.
func pack(t testing.TB, f Format, w []float32, rows, k, leaf, exponent int) Matrix {
	t.Helper()
	data := make([]byte, PackedBytes(f, rows, k))
	m, err := NewMatrix(f, rows, k, leaf, exponent, data)
	if err != nil {
		t.Fatal(err)
	}
	for p := range Panels(rows) {
		n := min(PanelRows, rows-p*PanelRows)
		if _, err := PackPanel(m.Panel(p), f, w[p*PanelRows*k:(p*PanelRows+n)*k], n, k); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// randomMatrix is a matrix of random bits: any quants, and scales that are sometimes zero, subnormal, negative,
// infinite or NaN; the float formats hold hostile floats.
func randomMatrix(t testing.TB, rng *rand.Rand, f Format, rows, k, leaf, exponent int, tame bool) Matrix {
	t.Helper()
	data := make([]byte, PackedBytes(f, rows, k))
	m, err := NewMatrix(f, rows, k, leaf, exponent, data)
	if err != nil {
		t.Fatal(err)
	}
	weight := func() float32 {
		if tame {
			return float32(rng.NormFloat64())
		}
		return hostile(rng)
	}
	for p := range Panels(rows) {
		n := min(PanelRows, rows-p*PanelRows)
		PackRandom(m.Panel(p), f, n, k, 1, rng.Uint64(), uint64(p))
		for b := range Blocks(k) {
			block := m.Panel(p)[b*f.BlockBytes():]
			for row := range n {
				switch {
				case f == F32:
					for i := range min(BlockK, k-b*BlockK) {
						putF32(block[(i*PanelRows+row)*4:], weight())
					}
				case f == BF16:
					for i := range min(BlockK, k-b*BlockK) {
						putU16(block[(i/2*PanelRows+row)*4+i%2*2:], F32ToBF16(weight()))
					}
				default:
					putU16(block[2*row:], F32ToF16(weight()/16))
				}
			}
		}
	}
	return m
}

func putU16(b []byte, v uint16) { b[0], b[1] = byte(v), byte(v>>8) }
func putF32(b []byte, v float32) {
	bits := math.Float32bits(v)
	putU16(b, uint16(bits))
	putU16(b[2:], uint16(bits>>16))
}

// activations fills an Activations with rows of values from next.
func activations(t, k, leaf int, next func() float32) *Activations {
	x := new(Activations)
	x.Reset(t, k, leaf)
	for r := range t {
		row := x.Row(r)
		for i := range row {
			row[i] = next()
		}
	}
	x.Quantise(0, t)
	return x
}

// bestPass runs the benchmark's loop and returns the seconds of its fastest pass, which says more than the mean on a
// machine with neighbours.
func bestPass(b *testing.B, pass func()) float64 {
	best := math.Inf(1)
	for b.Loop() {
		start := time.Now()
		pass()
		best = min(best, time.Since(start).Seconds())
	}
	return best
}
