package kernels

import (
	"fmt"
	"math"
	"testing"
)

func TestQuantiseIsTheSpecification(t *testing.T) {
	forEachTier(t, func(t *testing.T) {
		rng := newRand(5)
		for _, k := range []int{1, 31, 32, 33, 64, 100, 256} {
			for _, tokens := range []int{1, 2, 5} {
				leaf := BlockK * (1 + rng.IntN(4))
				x := activations(tokens, k, leaf, nowAndThen(rng))
				for r := range tokens {
					want := specQuantise(x.Row(r), leaf)
					for i, q := range want.q {
						if got := x.quant[x.unit(i/BlockK, r)][i%BlockK]; int(got) != q {
							t.Fatalf("(%d, %d) leaf %d row %d: q[%d] of %g is %d, want %d", tokens, k, leaf, r, i, x.Row(r)[i], got, q)
						}
					}
					for l, scale := range want.scale {
						if got := x.scale[l*tokens+r]; !sameBits(got, scale) {
							t.Fatalf("(%d, %d) leaf %d row %d: scale %d is %g, want %g", tokens, k, leaf, r, l, got, scale)
						}
					}
				}
			}
		}
	})
}

func TestQuantiseTies(t *testing.T) {
	row := make([]float32, BlockK)
	row[0] = 127 // inv is 1
	want := []int8{127, 0, 2, 2, 4, 0, -2, -2, -4, 1, -127, 126, -126}
	for i, v := range []float32{0.5, 1.5, 2.5, 3.5, -0.5, -1.5, -2.5, -3.5, 0.50001, -127, 126.4999, -126.4999} {
		row[i+1] = v
	}
	i := 0
	x := activations(1, BlockK, BlockK, func() float32 { i++; return row[i-1] })
	for i, q := range want {
		if got := x.quant[0][i]; got != q {
			t.Errorf("%g becomes %d, want %d", row[i], got, q)
		}
	}
	if x.scale[0] != 1 {
		t.Errorf("scale %g, want 1", x.scale[0])
	}
}

func TestQuantiseSpecialBlocks(t *testing.T) {
	nan, inf, tiny, most := float32(math.NaN()), float32(math.Inf(1)), float32(1e-36), float32(math.MaxFloat32)
	for _, c := range []struct {
		first, rest float32
		scale       float32
		q0, q1      int8
	}{
		{0, 0, 0, 0, 0},
		{1e-45, 0, 0, 0, 0}, // the inverse is infinite
		{tiny / 10, tiny / 10, tiny / 10 / 127, 0, 0}, // still: 127e37
		{tiny, -tiny, tiny / 127, 127, -127},
		{nan, 1, nan, -127, 0},
		{inf, 1, inf, -127, 0},
		{most, 1, most / 127, 127, 0},
	} {
		first := true
		x := activations(1, BlockK, BlockK, func() float32 {
			if first {
				first = false
				return c.first
			}
			return c.rest
		})
		if !sameBits(x.scale[0], c.scale) || x.quant[0][0] != c.q0 || x.quant[0][1] != c.q1 {
			t.Errorf("%g, %g...: scale %g, quants %d, %d; want %g, %d, %d",
				c.first, c.rest, x.scale[0], x.quant[0][0], x.quant[0][1], c.scale, c.q0, c.q1)
		}
	}
}

// A reused Activations is as good as a new one, whatever stood in it.
func TestResetLeavesNothingBehind(t *testing.T) {
	rng := newRand(9)
	x := new(Activations)
	for range 50 {
		tokens, k := 1+rng.IntN(6), 1+rng.IntN(200)
		x.Reset(tokens, k, 32)
		if x.T() != tokens || x.K() != k {
			t.Fatalf("reset to (%d, %d) is (%d, %d)", tokens, k, x.T(), x.K())
		}
		for r := range tokens {
			row := x.Row(r)
			if len(row) != k || cap(row) != k {
				t.Fatalf("row of %d inputs has length %d and capacity %d", k, len(row), cap(row))
			}
			for i := range row {
				row[i] = hostile(rng)
			}
		}
		for r := tokens - 1; r >= 0; r-- { // rows in any order
			x.Quantise(r, r+1)
		}
		m := randomMatrix(t, rng, allFormats[rng.IntN(4)], 1+rng.IntN(20), k, 32, 10, true)
		checkProduct(t, &m, x, 0)
	}
}

func TestActivationsRefuseWrongRanges(t *testing.T) {
	x := activations(2, 10, 32, func() float32 { return 1 })
	for name, call := range map[string]func(){
		"reset":    func() { x.Reset(-1, 3, 32) },
		"no k":     func() { x.Reset(1, 0, 32) },
		"no leaf":  func() { x.Reset(1, 3, 0) },
		"leaf":     func() { x.Reset(1, 3, 48) },
		"quantise": func() { x.Quantise(0, 3) },
		"order":    func() { x.Quantise(2, 1) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			call()
		}()
	}
}

func BenchmarkQuantise(b *testing.B) {
	for _, tokens := range []int{1, 8} {
		for _, leaf := range []int{32, 128} {
			b.Run(fmt.Sprintf("t=%d/k=5120/leaf=%d", tokens, leaf), func(b *testing.B) {
				const k = 5120
				rng := newRand(1)
				x := activations(tokens, k, leaf, func() float32 { return float32(rng.NormFloat64()) })
				b.SetBytes(int64(4 * tokens * k))
				for b.Loop() {
					x.Quantise(0, tokens)
				}
			})
		}
	}
}
