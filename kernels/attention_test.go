package kernels

import (
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

var allKVFormats = []KVFormat{KVF16, KVQ8, KVF32}

// sequence is a cache that holds the keys and values of one sequence in scattered blocks, beside other vectors that
// attention must not touch.
type sequence struct {
	kv    KV
	table []int32
	keys  [][][]float32 // [position][head], as stored
	vals  [][][]float32
}

func newSequence(t testing.TB, rng *rand.Rand, f KVFormat, heads, headDim, tokens int, next func() float32) *sequence {
	t.Helper()
	blocks := (tokens+BlockTokens-1)/BlockTokens + 3
	data := make([]byte, blocks*KVBlockBytes(f, heads, headDim))
	for i := range data {
		data[i] = 0xff // NaN in every format, where nothing is stored
	}
	kv, err := NewKV(f, heads, headDim, data)
	if err != nil {
		t.Fatal(err)
	}
	s := &sequence{kv: kv}
	for _, block := range rng.Perm(blocks) {
		s.table = append(s.table, int32(block))
	}
	k, v := make([]float32, heads*headDim), make([]float32, heads*headDim)
	for p := range tokens {
		for i := range k {
			k[i], v[i] = next(), next()
		}
		kv.Store(s.table[p/BlockTokens], p%BlockTokens, k, v)
		var keys, vals [][]float32
		for h := range heads {
			keys = append(keys, specKV(f, k[h*headDim:(h+1)*headDim]))
			vals = append(vals, specKV(f, v[h*headDim:(h+1)*headDim]))
		}
		s.keys, s.vals = append(s.keys, keys), append(s.vals, vals)
	}
	return s
}

// want is the specification for one query row at a position.
func (s *sequence) want(q []float32, head, pos int) []float32 {
	var keys, vals [][]float32
	for p := range pos + 1 {
		keys, vals = append(keys, s.keys[p][head]), append(vals, s.vals[p][head])
	}
	return specAttend(q, keys, vals)
}

func TestAttendIsTheSpecification(t *testing.T) {
	forEachTier(t, func(t *testing.T) {
		for _, f := range allKVFormats {
			rng := newRand(uint64(f) + 40)
			for _, headDim := range []int{1, 7, 8, 16, 20, 32, 40, 48, 64, 80, 128, 160} {
				for _, tokens := range []int{1, 2, 16, 17, 127, 128, 129, 260} {
					if testing.Short() && headDim*tokens > 4000 {
						continue
					}
					tame := rng.IntN(3) > 0
					next := func() float32 { return float32(rng.NormFloat64()) }
					if !tame {
						next = func() float32 { return hostile(rng) }
					}
					s := newSequence(t, rng, f, 2, headDim, tokens, next)
					rows := 1 + rng.IntN(min(tokens, 40))
					s.check(t, rng, rows, tokens-rows, next)
				}
			}
		}
	})
}

// check compares Attend for rows tokens from pos on with the specification, and AttendBlock and Combine, one
// row and one key block at a time, with Attend.
func (s *sequence) check(t testing.TB, rng *rand.Rand, rows, pos int, next func() float32) {
	t.Helper()
	d, head := s.kv.HeadDim, rng.IntN(s.kv.Heads)
	qStride, outStride := d+rng.IntN(5), d+rng.IntN(5)
	q, out := make([]float32, rows*qStride), make([]float32, rows*outStride)
	for i := range q {
		q[i] = next()
	}
	for i := range out {
		out[i] = 77
	}
	var scratch AttendScratch
	s.kv.Attend(out[:(rows-1)*outStride+d], outStride, q[:(rows-1)*qStride+d], qStride, rows, head, s.table, pos, &scratch)
	one := make([]float32, d)
	for r := range rows {
		query := q[r*qStride : r*qStride+d]
		want := s.want(query, head, pos+r)
		n := KeyBlocks(pos + r + 1)
		parts := make([]float32, n*PartFloats(d))
		for b := n - 1; b >= 0; b-- {
			s.kv.AttendBlock(parts[b*PartFloats(d):(b+1)*PartFloats(d)], query, d, 1, head, s.table, pos+r, b, new(AttendScratch))
		}
		Combine(one, parts, PartFloats(d), n)
		for i, v := range want {
			if got := out[r*outStride+i]; !sameBits(got, v) || !sameBits(one[i], v) {
				t.Fatalf("%s headDim %d, row %d of %d at %d: out[%d] is %g, block by block %g, want %g",
					s.kv.Format, d, r, rows, pos, i, got, one[i], v)
			}
		}
	}
	for i, v := range out {
		if i%outStride >= d && v != 77 {
			t.Fatalf("%s headDim %d: wrote %g between the rows", s.kv.Format, d, v)
		}
	}
}

// However a prompt is cut into chunks, each row has the same bits.
func TestAttendChunks(t *testing.T) {
	forEachTier(t, func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			rng := newRand(rapid.Uint64().Draw(t, "seed"))
			f := rapid.SampledFrom(allKVFormats).Draw(t, "format")
			tokens, d := rapid.IntRange(1, 300).Draw(t, "tokens"), 16
			next := func() float32 { return float32(rng.NormFloat64()) }
			data := make([]byte, (tokens/BlockTokens+1)*KVBlockBytes(f, 1, d))
			kv, err := NewKV(f, 1, d, data)
			if err != nil {
				t.Fatal(err)
			}
			var table []int32
			for b := range kv.Blocks() {
				table = append(table, int32(b))
			}
			q := make([]float32, tokens*d)
			k, v := make([]float32, d), make([]float32, d)
			for p := range tokens {
				for i := range k {
					k[i], v[i], q[p*d+i] = next(), next(), next()
				}
				kv.Store(table[p/BlockTokens], p%BlockTokens, k, v)
			}
			var scratch AttendScratch
			whole, chunked := make([]float32, tokens*d), append([]float32(nil), q...)
			kv.Attend(whole, d, q, d, tokens, 0, table, 0, &scratch)
			for pos := 0; pos < tokens; {
				n := 1 + rng.IntN(tokens-pos)
				rows := chunked[pos*d : (pos+n)*d]
				kv.Attend(rows, d, rows, d, n, 0, table, pos, &scratch) // in place
				pos += n
			}
			for i, v := range whole {
				if !sameBits(chunked[i], v) {
					t.Fatalf("element %d: %g in chunks, %g in one piece", i, chunked[i], v)
				}
			}
		})
	})
}

// parts is AttendHeads for all key blocks of all heads, with guards between what it writes.
func (s *sequence) parts(t testing.TB, q []float32, qStride, rows, pos int, scratch *AttendScratch) []float32 {
	t.Helper()
	const guards = 3
	kv := &s.kv
	blocks, size := KeyBlocks(pos+rows)+1, kv.Heads*rows*PartFloats(kv.HeadDim)
	out := make([]float32, blocks*(size+guards))
	for i := range out {
		out[i] = 77
	}
	for b := range blocks {
		dst := out[b*(size+guards):]
		kv.AttendHeads(dst[:size], q, qStride, rows, 0, kv.Heads, s.table, pos, b, scratch)
		for i, v := range dst[size : size+guards] {
			if v != 77 {
				t.Fatalf("key block %d: %g is written %d behind the parts", b, v, i)
			}
		}
	}
	return out
}

// checkTiers compares the parts of all heads on every tier with those of the generic tier, bit by bit.
func (s *sequence) checkTiers(t testing.TB, rng *rand.Rand, rows, pos int, next func() float32) {
	t.Helper()
	before := Active()
	defer Use(before)
	qStride := s.kv.Heads*s.kv.HeadDim + rng.IntN(3)
	q := make([]float32, rows*qStride)
	for i := range q {
		q[i] = next()
	}
	scratch := new(AttendScratch) // of all tiers: none may rely on what is in it
	var want []float32
	for _, tier := range append([]Tier{Generic}, Tiers()...) {
		if err := Use(tier); err != nil {
			t.Fatal(err)
		}
		got := s.parts(t, q, qStride, rows, pos, scratch)
		if want == nil {
			want = got
		}
		for i, v := range got {
			if !sameBits(v, want[i]) {
				t.Fatalf("%s on %s, %d heads of %d, %d rows at %d: element %d of the parts is %g, want %g",
					s.kv.Format, tier, s.kv.Heads, s.kv.HeadDim, rows, pos, i, v, want[i])
			}
		}
	}
}

func TestAttendHeadsIsGeneric(t *testing.T) {
	for _, f := range allKVFormats {
		rng := newRand(uint64(f) + 90)
		for _, shape := range []struct{ heads, headDim, tokens, rows int }{
			{1, 128, 1, 1}, {3, 128, 200, 1}, {17, 128, 33, 1}, {18, 16, 129, 1}, {2, 96, 140, 1}, {2, 256, 20, 1}, {2, 20, 130, 1},
			{2, 128, 150, 4}, {2, 128, 150, 5}, {1, 128, 130, 130}, {1, 64, 300, 77}, {1, 144, 260, 9}, {2, 16, 256, 256}, {1, 48, 270, 129},
		} {
			if testing.Short() && shape.heads*shape.headDim*shape.rows*shape.tokens > 1<<19 {
				continue
			}
			for _, tame := range []bool{true, false} {
				next := func() float32 { return float32(rng.NormFloat64()) }
				if !tame {
					next = func() float32 { return hostile(rng) }
				}
				s := newSequence(t, rng, f, shape.heads, shape.headDim, shape.tokens, next)
				s.checkTiers(t, rng, shape.rows, shape.tokens-shape.rows, next)
			}
		}
	}
}

// Bytes that Store never writes have one meaning too.
func TestAttendReadsAnyBytes(t *testing.T) {
	for _, f := range allKVFormats {
		for _, rows := range []int{1, 7} {
			rng := newRand(uint64(f) + 95)
			next := func() float32 { return float32(rng.NormFloat64()) }
			s := newSequence(t, rng, f, 2, 128, 140, next)
			for i := range s.kv.Data {
				s.kv.Data[i] = byte(rng.Uint32())
			}
			s.checkTiers(t, rng, rows, 140-rows, next)
		}
	}
}

// Scores that underflow to zeros of both signs, and weights far below each other.
func TestAttendZeroScores(t *testing.T) {
	for _, f := range allKVFormats {
		for _, rows := range []int{1, 20} {
			rng := newRand(7)
			next := func() float32 { return float32(rng.NormFloat64()) * 1e-24 }
			s := newSequence(t, rng, f, 1, 32, 140, next)
			s.checkTiers(t, rng, rows, 140-rows, next)
			s.checkTiers(t, rng, rows, 140-rows, func() float32 { return float32(math.Copysign(math.Pow(2, float64(rng.IntN(120))), rng.NormFloat64())) })
		}
	}
}

func FuzzAttend(f *testing.F) {
	f.Add(uint8(0), uint8(16), uint16(140), uint8(3), uint64(1), true)
	f.Add(uint8(1), uint8(40), uint16(20), uint8(1), uint64(2), false)
	f.Add(uint8(2), uint8(3), uint16(300), uint8(9), uint64(3), false)
	f.Add(uint8(0), uint8(207), uint16(260), uint8(120), uint64(4), false)
	f.Add(uint8(1), uint8(207), uint16(270), uint8(8), uint64(5), true)
	f.Fuzz(func(t *testing.T, format, headDim uint8, tokens uint16, rows uint8, seed uint64, tame bool) {
		rng := newRand(seed)
		next := func() float32 { return hostile(rng) }
		if tame {
			next = func() float32 { return float32(rng.NormFloat64()) }
		}
		dim := 1 + int(headDim)%200
		if headDim >= 200 { // what the tiers have functions for
			dim = lanes * (int(headDim) - 199)
			dim = min(dim, 160)
		}
		n := 1 + int(tokens)%300
		s := newSequence(t, rng, allKVFormats[format%3], 1+rng.IntN(2), dim, n, next)
		r := 1 + int(rows)%min(n, 140)
		s.checkTiers(t, rng, r, n-r, next)
		s.check(t, rng, min(r, 10), n-min(r, 10), next)
	})
}

func TestAttendAllocatesNothing(t *testing.T) {
	forEachTier(t, func(t *testing.T) {
		rng := newRand(1)
		for _, f := range allKVFormats {
			s := newSequence(t, rng, f, 1, 64, 200, func() float32 { return 1 })
			var scratch AttendScratch
			q, out := make([]float32, 8*64), make([]float32, 8*64)
			if n := testing.AllocsPerRun(5, func() { s.kv.Attend(out, 64, q, 64, 8, 0, s.table, 192, &scratch) }); n != 0 {
				t.Errorf("%s: %v allocations", f, n)
			}
		}
	})
}
