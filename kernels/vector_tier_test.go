package kernels

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// vectorOps are the row operations, each on inputs of about n elements that it draws from rng. The result is everything that
// the operation may write, with what stands before and behind it, NaNs made one.
var vectorOps = []struct {
	name string
	run  func(rng *rand.Rand, n int) []byte
}{
	{"norm", func(rng *rand.Rand, n int) []byte {
		x, w, b, y := guardedFloats(rng, n), guardedFloats(rng, n), guardedFloats(rng, n), guardedFloats(rng, n)
		LayerNorm(y.inside(), x.inside(), w.inside(), b.inside(), 1e-5)
		return y.bits()
	}},
	{"norm-in-place", func(rng *rand.Rand, n int) []byte {
		x, w, b := guardedFloats(rng, n), guardedFloats(rng, n), guardedFloats(rng, n)
		for i := range x.all { // finite, so that each element counts
			x.all[i] = float32(rng.NormFloat64())
		}
		LayerNorm(x.inside(), x.inside(), w.inside(), b.inside(), 1e-5)
		return x.bits()
	}},
	{"exp", func(rng *rand.Rand, n int) []byte { return inPlace(rng, n, ExpAll) }},
	{"gelu", func(rng *rand.Rand, n int) []byte { return inPlace(rng, n, GELU) }},
	{"gelu-erf", func(rng *rand.Rand, n int) []byte { return inPlace(rng, n, GELUErf) }},
	{"finish", func(rng *rand.Rand, n int) []byte {
		y, bias, sums := guardedFloats(rng, n), guardedFloats(rng, n), guardedSums(rng, n)
		if rng.IntN(2) == 0 {
			Finish(y.inside(), sums.inside(), rng.IntN(40)-8, bias.inside())
		} else {
			Finish(y.inside(), sums.inside(), rng.IntN(40)-8, nil)
		}
		return y.bits()
	}},
	{"add", func(rng *rand.Rand, n int) []byte {
		x, y := guardedFloats(rng, n), guardedFloats(rng, n)
		Add(y.inside(), x.inside())
		return y.bits()
	}},
	{"add-sums", func(rng *rand.Rand, n int) []byte {
		x, y := guardedSums(rng, n), guardedSums(rng, n)
		AddSums(y.inside(), x.inside())
		return y.bits()
	}},
	{"combine", func(rng *rand.Rand, n int) []byte {
		const blocks = 3
		y, parts := guardedFloats(rng, n), guardedFloats(rng, blocks*PartFloats(n))
		if rng.IntN(2) == 0 { // scores that are near one another
			for i := 0; i < len(parts.inside()); i += PartFloats(n) {
				parts.inside()[i] = float32(rng.NormFloat64())
			}
		}
		Combine(y.inside(), parts.inside(), PartFloats(n), blocks)
		return y.bits()
	}},
	{"quantise", runQuantise},
	{"set-gelu", runSetGELU},
	{"set-norm", runSetNorm},
	{"kv-store", runStore},
	{"kv-load", runLoad},
	{"unpack", func(rng *rand.Rand, n int) []byte {
		y := guardedFloats(rng, n)
		m := Matrix{Format: allFormats[rng.IntN(4)], Rows: 30, K: n}
		m.PanelStride = Blocks(n) * m.Format.BlockBytes()
		m.Data = randomBytes(rng, 2*m.PanelStride)
		UnpackRow(y.inside(), &m, rng.IntN(30))
		return y.bits()
	}},
}

func inPlace(rng *rand.Rand, n int, op func([]float32)) []byte {
	x := guardedFloats(rng, n)
	op(x.inside())
	return x.bits()
}

func runQuantise(rng *rand.Rand, n int) []byte {
	tokens := 1 + rng.IntN(11)
	x := new(Activations)
	x.Reset(tokens, n, BlockK*(1+rng.IntN(6)))
	for r := range tokens {
		copy(x.Row(r), guardedFloats(rng, n).inside())
	}
	lo := rng.IntN(tokens)
	for i := range x.quant { // the other rows' numbers stay
		x.quant[i], x.sum[i], x.start[i] = [BlockK]int8{99}, 99, 99
	}
	for i := range x.scale {
		x.scale[i] = 99
	}
	x.Quantise(lo, tokens)
	return int8Form(x)
}

// int8Form is all that quantisation writes.
func int8Form(x *Activations) []byte {
	out := guarded[float32]{all: x.scale}.bits()
	out = append(out, guarded[int32]{all: x.sum}.bits()...)
	out = append(out, guarded[int32]{all: x.start}.bits()...)
	for _, q := range x.quant {
		for _, v := range q {
			out = append(out, byte(v))
		}
	}
	return out
}

func runSetGELU(rng *rand.Rand, n int) []byte {
	x := new(Activations)
	leaf := BlockK * (1 + rng.IntN(6))
	x.Reset(1+rng.IntN(11), n, leaf)
	t, lo := rng.IntN(x.T()), rng.IntN(x.leaves)*leaf
	hi := min(n, lo+leaf*(1+rng.IntN(x.leaves)))
	sums, bias, exact := guardedSums(rng, hi-lo), guardedFloats(rng, hi-lo).inside(), rng.IntN(2) == 0
	if rng.IntN(3) == 0 {
		bias = nil
	}
	x.SetGELU(t, lo, sums.inside(), 14, bias, exact)
	return int8Form(x)
}

func runSetNorm(rng *rand.Rand, n int) []byte {
	x := new(Activations)
	x.Reset(1+rng.IntN(11), n, BlockK*(1+rng.IntN(6)))
	row, w, b := guardedFloats(rng, n), guardedFloats(rng, n), guardedFloats(rng, n)
	x.SetNorm(rng.IntN(x.T()), row.inside(), w.inside(), b.inside(), 1e-5)
	return int8Form(x)
}

func runStore(rng *rand.Rand, n int) []byte {
	f, src := allKVFormats[rng.IntN(len(allKVFormats))], guardedFloats(rng, n)
	size, offset := f.VectorBytes(n), rng.IntN(5)
	data := randomBytes(rng, size+10)
	storeVector(f, data[offset:offset+size], src.inside())
	return data
}

func runLoad(rng *rand.Rand, n int) []byte {
	f, dst := allKVFormats[rng.IntN(len(allKVFormats))], guardedFloats(rng, n)
	offset := rng.IntN(5)
	data := randomBytes(rng, f.VectorBytes(n)+offset)
	if rng.IntN(2) == 0 { // halves of all kinds, or such that are common
		for i := range data {
			data[i] &= 0x3f
		}
	}
	loadVector(f, dst.inside(), data[offset:])
	return dst.bits()
}

// guarded is a slice at an odd place in a larger one.
type guarded[E float32 | int32] struct {
	all    []E
	lo, hi int
}

func (g guarded[E]) inside() []E { return g.all[g.lo:g.hi:g.hi] }

func (g guarded[E]) bits() []byte {
	var out []byte
	for _, v := range g.all {
		bits := uint32(v)
		if f, ok := any(v).(float32); ok {
			bits = math.Float32bits(f)
			if f != f {
				bits = 0x7fc00000
			}
		}
		out = binary.LittleEndian.AppendUint32(out, bits)
	}
	return out
}

func guardedFloats(rng *rand.Rand, n int) guarded[float32] {
	lo, scale := rng.IntN(20), math.Exp2(float64(rng.IntN(9)-4))
	g := guarded[float32]{all: make([]float32, lo+n+rng.IntN(20)), lo: lo, hi: lo + n}
	tame := rng.IntN(2) == 0
	for i := range g.all {
		if g.all[i] = float32(rng.NormFloat64() * scale); !tame {
			g.all[i] = hostile(rng)
		}
	}
	return g
}

func guardedSums(rng *rand.Rand, n int) guarded[int32] {
	lo := rng.IntN(20)
	g := guarded[int32]{all: make([]int32, lo+n+rng.IntN(20)), lo: lo, hi: lo + n}
	for i := range g.all {
		g.all[i] = int32(rng.Uint32()) >> rng.IntN(24)
	}
	return g
}

func randomBytes(rng *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// checkVector compares an operation on each tier with the generic one.
func checkVector(t *testing.T, op, n int, seed uint64) {
	t.Helper()
	before := Active()
	defer Use(before)
	var want []byte
	tiers := Tiers()
	for i := len(tiers) - 1; i >= 0; i-- { // the generic tier is the last
		if err := Use(tiers[i]); err != nil {
			t.Fatal(err)
		}
		got := vectorOps[op].run(newRand(seed), n)
		if want == nil {
			want = got
		}
		if !bytes.Equal(got, want) {
			for at := range want {
				if got[at] != want[at] {
					t.Fatalf("%s of %d on %s, seed %d: byte %d differs from the generic tier's", vectorOps[op].name, n, tiers[i], seed, at)
				}
			}
			t.Fatalf("%s of %d on %s: %d bytes, want %d", vectorOps[op].name, n, tiers[i], len(got), len(want))
		}
	}
}

func TestVectorTiersAreGeneric(t *testing.T) {
	for op := range vectorOps {
		t.Run(vectorOps[op].name, func(t *testing.T) {
			for n := 1; n <= 200; n++ {
				for seed := range uint64(4) {
					checkVector(t, op, n, seed)
				}
			}
			for _, n := range []int{4095, 4096, 4097, 8192, 9001} { // more than one piece
				checkVector(t, op, n, uint64(n))
			}
		})
	}
}

func FuzzVector(f *testing.F) {
	for op := range vectorOps {
		f.Add(uint8(op), uint16(128), uint64(op))
	}
	f.Fuzz(func(t *testing.T, op uint8, n uint16, seed uint64) {
		checkVector(t, int(op)%len(vectorOps), 1+int(n)%700, seed)
	})
}

// BenchmarkVector times the row operations at the lengths of a head and of the rows of the two models.
func BenchmarkVector(b *testing.B) {
	benchEachTier(b, func(b *testing.B) {
		for _, n := range []int{128, 2048, 5120, 8192, 20480} {
			rng := newRand(1)
			x, w, y := normals(rng, n, 1), normals(rng, n, 1), make([]float32, n)
			sums, more, half := make([]int32, n), make([]int32, n), make([]byte, 2*n+n)
			a := activations(1, n, 128, func() float32 { return float32(rng.NormFloat64()) })
			for i := range sums {
				sums[i] = int32(rng.NormFloat64() * (1 << 16))
			}
			for _, op := range []struct {
				name string
				run  func()
			}{
				{"copy", func() { copy(y, x) }},
				{"norm", func() { LayerNorm(y, x, w, w, 1e-5) }},
				{"exp", func() { copy(y, x); ExpAll(y) }},
				{"gelu", func() { copy(y, x); GELU(y) }},
				{"gelu-erf", func() { copy(y, x); GELUErf(y) }},
				{"quantise", func() { a.Quantise(0, 1) }},
				{"finish+gelu+quantise", func() {
					Finish(a.Row(0), sums, 16, w)
					GELU(a.Row(0))
					a.Quantise(0, 1)
				}},
				{"set-gelu", func() { a.SetGELU(0, 0, sums, 16, w, false) }},
				{"norm+quantise", func() { LayerNorm(a.Row(0), x, w, w, 1e-5); a.Quantise(0, 1) }},
				{"set-norm", func() { a.SetNorm(0, x, w, w, 1e-5) }},
				{"finish", func() { Finish(y, sums, 16, w) }},
				{"add", func() { Add(y, x) }},
				{"add-sums", func() { AddSums(more, sums) }},
				{"store-f16", func() { storeVector(KVF16, half, x) }},
				{"load-f16", func() { loadVector(KVF16, y, half) }},
				{"store-q8", func() { storeVector(KVQ8, half, x) }},
				{"load-q8", func() { loadVector(KVQ8, y, half) }},
			} {
				b.Run(fmt.Sprintf("op=%s/n=%d", op.name, n), func(b *testing.B) {
					const times = 20 // so that the clock costs nothing
					best := bestPass(b, func() {
						for range times {
							op.run()
						}
					})
					b.ReportMetric(best*1e9/times, "best-ns")
				})
			}
		}
	})
}
