package kernels

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"math"
	"math/rand/v2"
	"testing"
)

// uniform is exact on every machine, unlike a normal deviate.
func uniform(rng *rand.Rand) float32 { return float32(int32(rng.Uint32())) * 0x1p-30 }

func uniforms(rng *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = uniform(rng)
	}
	return x
}

func hashFloats(h hash.Hash, x []float32) {
	for _, v := range x {
		h.Write(binary.LittleEndian.AppendUint32(nil, math.Float32bits(v)))
	}
}

// The bits of every operation are fixed. A compiler that fuses a multiplication with an addition, another processor or
// another tier must give these; whoever changes them changes the answers of every model.
func TestGolden(t *testing.T) {
	forEachTier(t, func(t *testing.T) {
		for name, c := range map[string]struct {
			run  func(h hash.Hash, rng *rand.Rand)
			want string
		}{
			"product f32":  {goldenProduct(F32), "35d519b2fe32e331"},
			"product bf16": {goldenProduct(BF16), "67a5cad446dac8ed"},
			"product q8":   {goldenProduct(Q8), "3e4acda9204fabc7"},
			"product q4":   {goldenProduct(Q4), "a3594b9cdee4cb47"},
			"pack f32":     {goldenPack(F32), "6ae657ec3f504038"},
			"pack bf16":    {goldenPack(BF16), "edc1b1ee55749a09"},
			"pack q8":      {goldenPack(Q8), "f755f212c672070a"},
			"pack q4":      {goldenPack(Q4), "0d56b6f81cce564e"},
			"attend f16":   {goldenAttend(KVF16), "bc695db75204714a"},
			"attend q8":    {goldenAttend(KVQ8), "c872a59ccb3ea13d"},
			"attend f32":   {goldenAttend(KVF32), "e1afc1a47401dd97"},
			"layernorm": {func(h hash.Hash, rng *rand.Rand) {
				for _, n := range []int{16, 100, 333} {
					x := uniforms(rng, n)
					LayerNorm(x, x, uniforms(rng, n), uniforms(rng, n), 1e-5)
					hashFloats(h, x)
				}
			}, "f0cad4fd027fe78a"},
			"gelu": {func(h hash.Hash, rng *rand.Rand) {
				for _, f := range []func([]float32){ExpAll, GELU, GELUErf} {
					x := uniforms(rng, 500)
					for i := range x {
						x[i] *= 4
					}
					f(x)
					hashFloats(h, x)
				}
			}, "9353ddbdbee75270"},
		} {
			h := sha256.New()
			c.run(h, rand.New(rand.NewPCG(1, 2)))
			if got := hex.EncodeToString(h.Sum(nil)[:8]); got != c.want {
				t.Errorf("%s: %s, want %s", name, got, c.want)
			}
		}
	})
}

func goldenProduct(f Format) func(hash.Hash, *rand.Rand) {
	return func(h hash.Hash, rng *rand.Rand) {
		const rows, k, tokens = 40, 350, 7
		m, err := NewMatrix(f, rows, k, 128, 16, make([]byte, PackedBytes(f, rows, k)))
		if err != nil {
			panic(err)
		}
		for p := range Panels(rows) {
			PackRandom(m.Panel(p), f, min(PanelRows, rows-p*PanelRows), k, 0.5, 1, uint64(p))
		}
		x := activations(tokens, k, 128, func() float32 { return uniform(rng) })
		sums, y := make([]int32, tokens*rows), make([]float32, rows)
		MulPanels(sums, rows, &m, x, 0, Panels(rows))
		bias := uniforms(rng, rows)
		for r := range tokens {
			Finish(y, sums[r*rows:(r+1)*rows], m.Exponent, bias)
			hashFloats(h, y)
		}
		row := make([]float32, k)
		UnpackRow(row, &m, 17)
		hashFloats(h, row)
	}
}

func goldenPack(f Format) func(hash.Hash, *rand.Rand) {
	return func(h hash.Hash, rng *rand.Rand) {
		const n, k = 13, 200
		w := uniforms(rng, n*k)
		for i := range w {
			w[i] *= w[(i*7)%len(w)] * w[(i*13)%len(w)]
		}
		dst := make([]byte, PackedBytes(f, n, k))
		if _, err := PackPanel(dst, f, w, n, k); err != nil {
			panic(err)
		}
		h.Write(dst)
	}
}

func goldenAttend(f KVFormat) func(hash.Hash, *rand.Rand) {
	return func(h hash.Hash, rng *rand.Rand) {
		const heads, d, tokens, rows = 2, 40, 300, 9
		kv, err := NewKV(f, heads, d, make([]byte, (tokens/BlockTokens+1)*KVBlockBytes(f, heads, d)))
		if err != nil {
			panic(err)
		}
		var table []int32
		for b := range kv.Blocks() {
			table = append(table, int32(b))
		}
		for p := range tokens {
			kv.Store(table[p/BlockTokens], p%BlockTokens, uniforms(rng, heads*d), uniforms(rng, heads*d))
		}
		out := make([]float32, rows*d)
		for head := range heads {
			kv.Attend(out, d, uniforms(rng, rows*d), d, rows, head, table, tokens-rows, new(AttendScratch))
			hashFloats(h, out)
		}
	}
}
