package kernels

import (
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

const guard = 0x5ca1ab1e

// checkProduct compares MulPanels of all panels, in two calls, with the specification.
func checkProduct(t testing.TB, m *Matrix, x *Activations, pad int) {
	t.Helper()
	stride := m.Rows + pad
	out := make([]int32, x.T()*stride+pad)
	for i := range out {
		out[i] = guard
	}
	half := Panels(m.Rows) / 2
	clamped := MulPanels(out[:max(0, len(out)-pad)], stride, m, x, 0, half)
	clamped += MulPanels(out[:max(0, len(out)-pad)], stride, m, x, half, Panels(m.Rows))
	want := 0
	for r := range x.T() {
		quantised := specQuantise(x.Row(r), x.leaf)
		for row := range m.Rows {
			sum, n := specProduct(m, x.Row(r), quantised, row)
			want += n
			if got := out[r*stride+row]; got != sum {
				t.Fatalf("%s (%d, %d) leaf %d exponent %d: token %d of %d, row %d is %d, want %d",
					m.Format, m.Rows, m.K, m.Leaf, m.Exponent, r, x.T(), row, got, sum)
			}
		}
	}
	if clamped != want {
		t.Fatalf("%s (%d, %d): %d clamps, want %d", m.Format, m.Rows, m.K, clamped, want)
	}
	for i, v := range out {
		if i%stride >= m.Rows || i >= x.T()*stride {
			if v != guard {
				t.Fatalf("%s (%d, %d): wrote %d to element %d outside the rows", m.Format, m.Rows, m.K, v, i)
			}
		}
	}
}

func TestProductIsTheSpecification(t *testing.T) {
	forEachTier(t, func(t *testing.T) {
		for _, f := range allFormats {
			t.Run(f.String(), func(t *testing.T) {
				rng := newRand(uint64(f))
				for _, rows := range []int{1, 15, 16, 17, 33} {
					for _, k := range []int{1, 2, 31, 32, 33, 64, 95, 100, 128, 160, 257} {
						for _, tokens := range []int{1, 2, 3, 8, 9} {
							if testing.Short() && (rows*7+k*3+tokens)%5 != 0 {
								continue
							}
							tame := rng.IntN(2) == 0
							leaf, exponent := 32*(1+rng.IntN(4)), rng.IntN(24)
							m := randomMatrix(t, rng, f, rows, k, leaf, exponent, tame)
							next := nowAndThen(rng)
							if tame {
								next = func() float32 { return float32(rng.NormFloat64()) }
							}
							checkProduct(t, &m, activations(tokens, k, leaf, next), rng.IntN(3))
						}
					}
				}
			})
		}
	})
}

// Extreme quants and activations: the largest sums that the int32 dot of a block and the packed arithmetic of a tier can meet.
func TestProductOfExtremes(t *testing.T) {
	forEachTier(t, func(t *testing.T) {
		for _, f := range []Format{Q8, Q4} {
			for _, fill := range []byte{0x00, 0xff, 0x80, 0x7f, 0x0f, 0xf0, 0x88, 0x01} {
				const rows, k = 16, 96
				data := make([]byte, PackedBytes(f, rows, k))
				for b := range Blocks(k) {
					block := data[b*f.BlockBytes():][:f.BlockBytes()]
					for i := range block {
						block[i] = fill
					}
					for row := range rows {
						putU16(block[2*row:], F32ToF16(float32(1-2*(row%2))/8))
					}
				}
				m, err := NewMatrix(f, rows, k, 32, 6, data)
				if err != nil {
					t.Fatal(err)
				}
				for _, pattern := range [][]float32{{1}, {-1}, {1, -1}, {1, 1, -1, -1}, {-1, -1, 1, 1}, {0, 1}, {-1, 0}} {
					i := 0
					next := func() float32 { i++; return 127 * pattern[i%len(pattern)] }
					checkProduct(t, &m, activations(5, k, 32, next), 0)
				}
			}
		}
	})
}

func TestProductSaturates(t *testing.T) {
	forEachTier(t, func(t *testing.T) {
		const rows, k = 16, 128
		for _, f := range allFormats {
			w := make([]float32, rows*k)
			for i := range w {
				w[i] = float32(i/k) - 7.5
			}
			m := pack(t, f, w, rows, k, 64, 20)
			x := activations(2, k, 64, func() float32 { return 1000 })
			checkProduct(t, &m, x, 0)
			out := make([]int32, 2*rows)
			if n := MulPanels(out, rows, &m, x, 0, 1); n != 2*2*rows {
				t.Errorf("%s: %d clamps, want every one of %d", f, n, 2*2*rows)
			}
			most := int32(float32(m.Limit)) // exact here: the limit of two leaves rounds to 2^30
			if most > m.Limit {
				most = int32(math.Nextafter32(float32(m.Limit), 0))
			}
			if out[0] != -2*most || out[rows-1] != 2*most {
				t.Errorf("%s: sums %d and %d, want ∓%d", f, out[0], out[rows-1], 2*most)
			}
		}
	})
}

func TestNaNActivationIsCounted(t *testing.T) {
	forEachTier(t, func(t *testing.T) {
		for _, f := range allFormats {
			m := randomMatrix(t, newRand(3), f, 20, 64, 32, 10, true)
			x := activations(1, 64, 32, func() float32 { return 1 })
			x.Row(0)[40] = float32(math.NaN())
			x.Quantise(0, 1)
			out := make([]int32, 20)
			if n := MulPanels(out, 20, &m, x, 0, 2); n != 20 {
				t.Errorf("%s: %d clamps for a NaN in one leaf of 20 rows", f, n)
			}
			checkProduct(t, &m, x, 1)
		}
	})
}

// Slices of rows and of columns, each multiplied alone and then added, give the bits of the whole.
func TestSlicesAddUpToTheWhole(t *testing.T) {
	forEachTier(t, func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			f := rapid.SampledFrom(allFormats).Draw(t, "format")
			rows := rapid.IntRange(1, 70).Draw(t, "rows")
			k := rapid.IntRange(1, 400).Draw(t, "k")
			leaf := 32 * rapid.IntRange(1, 3).Draw(t, "leaf")
			tokens := rapid.IntRange(1, 6).Draw(t, "tokens")
			rng := newRand(rapid.Uint64().Draw(t, "seed"))
			m := randomSlicable(rng, f, rows, k, leaf)
			x := activations(tokens, k, leaf, func() float32 { return float32(rng.NormFloat64()) })
			whole := make([]int32, tokens*rows)
			clamped := MulPanels(whole, rows, &m, x, 0, Panels(rows))

			rowCuts := drawCuts(t, rng, rows, PanelRows)
			columnCuts := drawCuts(t, rng, k, leaf)
			sum := make([]int32, tokens*rows)
			for i := range len(rowCuts) - 1 {
				for j := range len(columnCuts) - 1 {
					part, err := m.SliceRows(rowCuts[i], rowCuts[i+1])
					if err != nil {
						t.Fatal(err)
					}
					if part, err = part.SliceK(columnCuts[j], columnCuts[j+1]); err != nil {
						t.Fatal(err)
					}
					own := new(Activations)
					own.Reset(tokens, part.K, leaf)
					for r := range tokens {
						copy(own.Row(r), x.Row(r)[columnCuts[j]:columnCuts[j+1]])
					}
					own.Quantise(0, tokens)
					out := make([]int32, tokens*part.Rows)
					clamped -= MulPanels(out, part.Rows, &part, own, 0, Panels(part.Rows))
					for r := range tokens {
						AddSums(sum[r*rows+rowCuts[i]:r*rows+rowCuts[i+1]], out[r*part.Rows:(r+1)*part.Rows])
					}
				}
			}
			for i, v := range whole {
				if sum[i] != v {
					t.Fatalf("element %d: slices give %d, the whole %d", i, sum[i], v)
				}
			}
			if clamped != 0 {
				t.Fatalf("slices clamp %d fewer than the whole", clamped)
			}
		})
	})
}

func randomSlicable(rng *rand.Rand, f Format, rows, k, leaf int) Matrix {
	data := make([]byte, PackedBytes(f, rows, k))
	m, err := NewMatrix(f, rows, k, leaf, rng.IntN(30), data)
	if err != nil {
		panic(err)
	}
	for p := range Panels(rows) {
		PackRandom(m.Panel(p), f, min(PanelRows, rows-p*PanelRows), k, 1, rng.Uint64(), uint64(p))
	}
	return m
}

// drawCuts cuts [0, n) at multiples of unit.
func drawCuts(t *rapid.T, rng *rand.Rand, n, unit int) []int {
	cuts := []int{0}
	for at := unit; at < n; at += unit {
		if rng.IntN(2) == 0 {
			cuts = append(cuts, at)
		}
	}
	return append(cuts, n)
}

// A batch gives each token the bits that it gets alone.
func TestBatchGivesTheBitsOfOne(t *testing.T) {
	forEachTier(t, func(t *testing.T) {
		for _, f := range allFormats {
			rng := newRand(uint64(f) + 100)
			const rows, k, tokens = 50, 320, 21
			m := randomMatrix(t, rng, f, rows, k, 128, 14, true)
			x := activations(tokens, k, 128, func() float32 { return float32(rng.NormFloat64()) })
			batch := make([]int32, tokens*rows)
			MulPanels(batch, rows, &m, x, 0, Panels(rows))
			for r := range tokens {
				i := 0
				one := activations(1, k, 128, func() float32 { i++; return x.Row(r)[i-1] })
				out := make([]int32, rows)
				MulPanels(out, rows, &m, one, 0, Panels(rows))
				for row, v := range out {
					if batch[r*rows+row] != v {
						t.Fatalf("%s token %d row %d: %d in a batch, %d alone", f, r, row, batch[r*rows+row], v)
					}
				}
			}
		}
	})
}

func TestProductIsNearFloat64(t *testing.T) {
	const rows, k, tokens = 40, 1000, 3
	for _, f := range allFormats {
		rng := newRand(uint64(f) + 7)
		w := normals(rng, rows*k, 0.02)
		m := pack(t, f, w, rows, k, 128, 16)
		x := activations(tokens, k, 128, func() float32 { return float32(rng.NormFloat64()) })
		out, y, row := make([]int32, tokens*rows), make([]float32, rows), make([]float32, k)
		MulPanels(out, rows, &m, x, 0, Panels(rows))
		var squared, squares float64
		for r := range tokens {
			Finish(y, out[r*rows:(r+1)*rows], m.Exponent, nil)
			for i := range rows {
				UnpackRow(row, &m, i)
				want := 0.0
				for j, v := range row {
					want += float64(v) * float64(x.Row(r)[j])
				}
				d := float64(y[i]) - want
				squared, squares = squared+d*d, squares+want*want
			}
		}
		limit := 1e-4
		if f.Quantised() {
			limit = 0.01 // activations in int8
		}
		if got := math.Sqrt(squared / squares); got > limit {
			t.Errorf("%s: relative error %.2g beside float64, want below %g", f, got, limit)
		}
	}
}

func TestMulPanelsRefusesWrongShapes(t *testing.T) {
	m := randomMatrix(t, newRand(1), Q4, 32, 64, 32, 10, true)
	x := activations(2, 64, 32, func() float32 { return 1 })
	other := activations(2, 96, 32, func() float32 { return 1 })
	wide := activations(2, 64, 64, func() float32 { return 1 })
	for name, call := range map[string]func(){
		"k":      func() { MulPanels(make([]int32, 64), 32, &m, other, 0, 2) },
		"leaf":   func() { MulPanels(make([]int32, 64), 32, &m, wide, 0, 2) },
		"panels": func() { MulPanels(make([]int32, 64), 32, &m, x, 0, 3) },
		"stride": func() { MulPanels(make([]int32, 64), 31, &m, x, 0, 2) },
		"out":    func() { MulPanels(make([]int32, 63), 32, &m, x, 0, 2) },
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

func TestFinish(t *testing.T) {
	sums := []int32{0, 1, -1, 1 << 16, math.MaxInt32, math.MinInt32 + 1, 16777217}
	bias := []float32{1, 2, 3, 0.1, -1, 0.5, float32(math.Inf(1))}
	for _, exponent := range []int{-3, 0, 9, 16, 24} {
		got, plain := make([]float32, len(sums)), make([]float32, len(sums))
		Finish(got, sums, exponent, bias)
		Finish(plain, sums, exponent, nil)
		for i, v := range sums {
			y := float32(float64(float32(v)) * math.Pow(2, float64(-exponent)))
			if plain[i] != y || got[i] != float32(float64(y)+float64(bias[i])) {
				t.Errorf("2^-%d * %d: %g, with bias %g: %g", exponent, v, plain[i], bias[i], got[i])
			}
		}
	}
}

func TestFixedPoint(t *testing.T) {
	for _, leaves := range []int{1, 2, 7, 40, 160, 1000, 1 << 20} {
		limit := LeafLimit(leaves*128, 128)
		least := int(math.Floor(math.Log2(float64(limit) / 2048)))
		for _, bound := range []float64{0, 1e-300, 1e-9, 0.1, 1, 3, 16, 100, 2047, 2048, 2049, 1e6, 1e300, math.Inf(1), math.NaN(), -1} {
			e := FixedPoint(limit, bound)
			if e < min(least, MaxExponent) || e > MaxExponent {
				t.Fatalf("limit %d, bound %g: exponent %d is outside [%d, %d]", limit, bound, e, least, MaxExponent)
			}
			if !(bound >= 0) || e == least {
				continue
			}
			if e > least && bound*math.Pow(2, float64(e)) > float64(limit) {
				t.Errorf("limit %d, bound %g: at exponent %d the bound is clamped", limit, bound, e)
			}
			if e < MaxExponent && bound*math.Pow(2, float64(e+1)) <= float64(limit) {
				t.Errorf("limit %d, bound %g: exponent %d could be larger", limit, bound, e)
			}
		}
	}
	if got := FixedPoint(1<<20, 1<<10); got != 10 {
		t.Errorf("2^20 by 2^10: exponent %d, want 10", got)
	}
}

func FuzzProduct(f *testing.F) {
	f.Add(uint8(3), uint16(5), uint16(70), uint8(2), uint64(1), false)
	f.Add(uint8(0), uint16(33), uint16(32), uint8(5), uint64(2), true)
	f.Add(uint8(2), uint16(16), uint16(129), uint8(4), uint64(3), false)
	f.Fuzz(func(t *testing.T, format uint8, rows, k uint16, tokens uint8, seed uint64, tame bool) {
		rng := newRand(seed)
		m := randomMatrix(t, rng, allFormats[format%4], 1+int(rows)%50, 1+int(k)%200, 32*(1+rng.IntN(3)), rng.IntN(40)-8, tame)
		x := activations(1+int(tokens)%10, m.K, m.Leaf, nowAndThen(rng))
		defer Use(Active())
		for _, tier := range Tiers() {
			if err := Use(tier); err != nil {
				t.Fatal(err)
			}
			checkProduct(t, &m, x, int(seed%3))
		}
	})
}

func TestMulPanelsAllocatesNothing(t *testing.T) {
	forEachTier(t, func(t *testing.T) {
		for _, f := range allFormats {
			m := randomMatrix(t, newRand(1), f, 64, 256, 128, 12, true)
			for _, tokens := range []int{1, 9} {
				x := activations(tokens, 256, 128, func() float32 { return 1 })
				out := make([]int32, tokens*64)
				if n := testing.AllocsPerRun(10, func() {
					x.Reset(tokens, 256, 128)
					x.Quantise(0, tokens)
					MulPanels(out, 64, &m, x, 0, 4)
				}); n != 0 {
					t.Errorf("%s, %d tokens: %v allocations", f, tokens, n)
				}
			}
		}
	})
}
