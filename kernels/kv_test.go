package kernels

import (
	"bytes"
	"errors"
	"math"
	"testing"
)

func TestKVFormatNames(t *testing.T) {
	for _, f := range allKVFormats {
		if got, err := ParseKVFormat(f.String()); err != nil || got != f {
			t.Errorf("%s parses as %v, %v", f, got, err)
		}
	}
	if _, err := ParseKVFormat("q5"); err == nil {
		t.Error("q5 parses")
	}
	if got := KVFormat(9).String(); got != "kvformat(9)" {
		t.Errorf("unknown format is called %q", got)
	}
}

func TestKVSizes(t *testing.T) {
	for _, c := range []struct {
		f             KVFormat
		headDim, want int
	}{
		{KVF16, 128, 256}, {KVQ8, 128, 136}, {KVF32, 128, 512}, {KVQ8, 40, 44}, {KVQ8, 8, 10}, {KVF16, 5, 10}, {9, 128, 0},
	} {
		if got := c.f.VectorBytes(c.headDim); got != c.want {
			t.Errorf("a %s vector of %d is %d bytes, want %d", c.f, c.headDim, got, c.want)
		}
	}
	// One token of PolyLM-13B, 40 layers of 40 heads of 128, in float16.
	if got := 40 * KVBlockBytes(KVF16, 40, 128) / BlockTokens; got != 819200 {
		t.Errorf("a token of the 13B model takes %d bytes", got)
	}
	for name, c := range map[string]struct {
		f              KVFormat
		heads, headDim int
		bytes          int
	}{
		"format": {9, 1, 16, 0}, "heads": {KVF16, 0, 16, 0}, "dim": {KVF16, 1, 0, 0}, "bytes": {KVF16, 1, 16, KVBlockBytes(KVF16, 1, 16) - 1},
	} {
		if _, err := NewKV(c.f, c.heads, c.headDim, make([]byte, c.bytes)); !errors.Is(err, ErrShape) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// What is stored comes back as the specification says, and nothing else in the slab changes.
func TestStoreLoad(t *testing.T) {
	forEachTier(t, func(t *testing.T) {
		rng := newRand(8)
		for _, f := range allKVFormats {
			for _, headDim := range []int{1, 3, 8, 16, 31, 32, 33, 64, 80, 128} {
				const heads, blocks = 3, 4
				kv, err := NewKV(f, heads, headDim, bytes.Repeat([]byte{0xa5}, blocks*KVBlockBytes(f, heads, headDim)))
				if err != nil || kv.Blocks() != blocks {
					t.Fatal(err)
				}
				k, v := make([]float32, heads*headDim), make([]float32, heads*headDim)
				for i := range k {
					k[i], v[i] = hostile(rng), float32(rng.NormFloat64())
				}
				before := bytes.Clone(kv.Data)
				kv.Store(2, 5, k, v)
				gotK, gotV := make([]float32, heads*headDim), make([]float32, heads*headDim)
				kv.Load(2, 5, gotK, gotV)
				for h := range heads {
					lo, hi := h*headDim, (h+1)*headDim
					for i, want := range specKV(f, k[lo:hi]) {
						if !sameBits(gotK[lo+i], want) {
							t.Fatalf("%s headDim %d: key %g comes back as %g, want %g", f, headDim, k[lo+i], gotK[lo+i], want)
						}
					}
					for i, want := range specKV(f, v[lo:hi]) {
						if !sameBits(gotV[lo+i], want) {
							t.Fatalf("%s headDim %d: value %g comes back as %g, want %g", f, headDim, v[lo+i], gotV[lo+i], want)
						}
					}
				}
				size := f.VectorBytes(headDim)
				for at := range kv.Data {
					vector := at / size
					inside := vector/(2*heads*BlockTokens) == 2 && vector%BlockTokens == 5
					if !inside && kv.Data[at] != before[at] {
						t.Fatalf("%s headDim %d: byte %d outside the token changed", f, headDim, at)
					}
				}
			}
		}
	})
}

func TestStoredErrorIsSmall(t *testing.T) {
	rng := newRand(4)
	for f, limit := range map[KVFormat]float64{KVF16: 3e-4, KVQ8: 6e-3, KVF32: 0} {
		x := normals(rng, 128, 3)
		var squared, squares float64
		for i, v := range specKV(f, x) {
			d := float64(v - x[i])
			squared, squares = squared+d*d, squares+float64(x[i])*float64(x[i])
		}
		if got := math.Sqrt(squared / squares); got > limit {
			t.Errorf("%s: relative error %.2g, want at most %g", f, got, limit)
		}
	}
}

func TestStoreOutOfRangeIsNotSilent(t *testing.T) {
	for _, f := range []KVFormat{KVF16, KVQ8} {
		kv, err := NewKV(f, 1, 32, make([]byte, KVBlockBytes(f, 1, 32)))
		if err != nil {
			t.Fatal(err)
		}
		for _, bad := range []float32{float32(math.NaN()), float32(math.Inf(1)), 1e9} {
			k, v := make([]float32, 32), make([]float32, 32)
			v[3] = bad
			kv.Store(0, 0, k, v)
			q, out := make([]float32, 32), make([]float32, 32)
			kv.Attend(out, 32, q, 32, 1, 0, []int32{0}, 0, new(AttendScratch))
			if got := float64(out[3]); !math.IsNaN(got) && !math.IsInf(got, 0) {
				t.Errorf("%s: a value of %g gives %g", f, bad, got)
			}
		}
	}
}

func TestCopyBlock(t *testing.T) {
	rng := newRand(6)
	for _, f := range allKVFormats {
		data := make([]byte, 5*KVBlockBytes(f, 2, 24))
		for i := range data {
			data[i] = byte(rng.Uint32())
		}
		kv, err := NewKV(f, 2, 24, data)
		if err != nil {
			t.Fatal(err)
		}
		size, before := kv.BlockBytes(), bytes.Clone(data)
		kv.CopyBlock(3, 1)
		if !bytes.Equal(data[3*size:4*size], before[size:2*size]) {
			t.Errorf("%s: the copy differs", f)
		}
		if !bytes.Equal(data[:3*size], before[:3*size]) || !bytes.Equal(data[4*size:], before[4*size:]) {
			t.Errorf("%s: another block changed", f)
		}
	}
}

func TestStoreRefusesWrongSlot(t *testing.T) {
	kv, err := NewKV(KVF16, 1, 8, make([]byte, KVBlockBytes(KVF16, 1, 8)))
	if err != nil {
		t.Fatal(err)
	}
	for name, at := range map[string][2]int{"slot": {0, BlockTokens}, "negative": {0, -1}, "block": {1, 0}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			kv.Store(int32(at[0]), at[1], make([]float32, 8), make([]float32, 8))
		}()
	}
}
