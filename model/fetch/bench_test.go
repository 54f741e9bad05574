package fetch

import (
	"testing"

	"polynode/kernels"
	"polynode/model"
)

// BenchmarkGet fetches a model of PolyLM-1.7B's width over a network in memory: whole, which is mostly rows, and the half of a rank
// that shares each matrix, which has short runs of columns.
func BenchmarkGet(b *testing.B) {
	config := model.Config{
		Layers: 2, Heads: 16, Embed: 2048, Inner: 8192, Vocab: 8000, Pieces: 8000, Positions: 256,
		Activation: model.GELUFast, Epsilon: 1e-5, EOS: 2, TiedHead: true,
	}
	from, digest := packed(b, config, kernels.Q8)
	for name, pieces := range map[string]func(model.Config) ([]model.Piece, error){"whole": whole, "half": share(0, 1)} {
		b.Run(name, func(b *testing.B) {
			c := newCluster(b)
			defer c.stop()
			c.serve("a", from, nil)
			me := c.node("me")
			for b.Loop() {
				b.StopTimer()
				dir, bytes := newDir(b), int64(0)
				b.StartTimer()
				m, err := Get(b.Context(), me, dir, digest, pieces, []string{"a"}, Options{Progress: func(_, total int64) { bytes = total }})
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(bytes)
				m.Close()
			}
		})
	}
}
