package store

import (
	"context"
	"testing"

	"polynode/kernels"
	"polynode/model"
	"polynode/shard"
)

// benchConfig has matrices as wide as PolyLM-1.7B's.
func benchConfig() model.Config {
	return model.Config{
		Layers: 1, Heads: 16, Embed: 2048, Inner: 8192, Vocab: 4000, Pieces: 4000, Positions: 64,
		Activation: model.GELUFast, Epsilon: 1e-5, EOS: 2, TiedHead: true,
	}
}

// BenchmarkVerify hashes a matrix on one core: whole rows at a time, and one leaf at a time.
func BenchmarkVerify(b *testing.B) {
	m, err := OpenBytes("m.pn", pack(b, newFake(benchConfig(), 1), Spec{Config: benchConfig(), Format: kernels.Q8}))
	if err != nil {
		b.Fatal(err)
	}
	for _, part := range []model.Part{model.FFNUpWeight, model.FFNDownWeight} {
		t := m.tensors[part.Of(0)]
		rows, k := t.whole()
		b.Run(string(t.Cut), func(b *testing.B) {
			b.SetBytes(t.Bytes)
			for b.Loop() {
				for i := range t.good {
					t.good[i].Store(0)
				}
				t.left.Store(int64(t.Units))
				if err := m.Verify(t.Name, rows, k); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("all", func(b *testing.B) {
		b.SetBytes(m.Size())
		for b.Loop() {
			if err := m.VerifyAll(context.Background(), nil); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("known", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := m.Verify(model.TokenEmbedding, shard.Slice{Lo: 16, Hi: 3200}, shard.Slice{Hi: 2048}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkWrite packs a model from float32 weights in memory; MB/s counts the float32.
func BenchmarkWrite(b *testing.B) {
	c := benchConfig()
	w := newFake(c, 1)
	for _, f := range allFormats {
		b.Run(f.String(), func(b *testing.B) {
			b.SetBytes(4 * c.Parameters())
			for b.Loop() {
				m, err := (&Spec{Config: c, Format: f}).plan()
				if err != nil {
					b.Fatal(err)
				}
				if _, err := writeModel(context.Background(), nowhere{}, m, w, nil, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// nowhere is a disk that costs nothing.
type nowhere struct{}

func (nowhere) WriteAt(data []byte, _ int64) (int, error) { return len(data), nil }
func (nowhere) Sync() error                               { return nil }
