package kernels

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"testing"
)

func randomPanel(f Format, n, k int, std float32, seed, panel uint64) []byte {
	dst := make([]byte, Blocks(k)*f.BlockBytes())
	PackRandom(dst, f, n, k, std, seed, panel)
	return dst
}

// The bytes are the same on every machine, for ever: stores made from a seed on two machines must agree.
func TestPackRandomGolden(t *testing.T) {
	for f, want := range map[Format]string{
		F32: "cede20a4fe87639c", BF16: "f48f97106aae78bd", Q8: "c4f9e08c3138e38e", Q4: "3fcca0b0f493276b",
	} {
		sum := sha256.Sum256(append(randomPanel(f, 16, 256, 0.02, 1, 2), randomPanel(f, 9, 70, 1.5, 3, 4)...))
		if got := hex.EncodeToString(sum[:8]); got != want {
			t.Errorf("%s: %s, want %s", f, got, want)
		}
	}
}

func TestPackRandomDependsOnItsArguments(t *testing.T) {
	for _, f := range allFormats {
		base := randomPanel(f, 16, 64, 1, 1, 1)
		for name, other := range map[string][]byte{
			"seed": randomPanel(f, 16, 64, 1, 2, 1), "panel": randomPanel(f, 16, 64, 1, 1, 2), "std": randomPanel(f, 16, 64, 2, 1, 1),
		} {
			if bytes.Equal(base, other) {
				t.Errorf("%s: another %s gives the same panel", f, name)
			}
		}
		if size := f.BlockBytes(); bytes.Equal(base[:size], base[size:]) {
			t.Errorf("%s: two blocks are equal", f)
		}
		if !bytes.Equal(base[:f.BlockBytes()], randomPanel(f, 16, 32, 1, 1, 1)) {
			t.Errorf("%s: the first block depends on k", f)
		}
	}
}

func TestPackRandomDistribution(t *testing.T) {
	for _, f := range allFormats {
		for _, std := range []float64{0.005, 0.02, 1} {
			const k = 2048
			var sum, squares, neighbours float64
			previous := 0.0
			n := 0
			row := make([]float32, k)
			for panel := range uint64(8) {
				m, err := NewMatrix(f, PanelRows, k, 32, 10, randomPanel(f, PanelRows, k, float32(std), 7, panel))
				if err != nil {
					t.Fatal(err)
				}
				for r := range PanelRows {
					UnpackRow(row, &m, r)
					for _, v := range row {
						x := float64(v) / std
						sum, squares, neighbours = sum+x, squares+x*x, neighbours+x*previous
						previous = x
						n++
					}
				}
			}
			mean, spread, correlation := sum/float64(n), math.Sqrt(squares/float64(n)), neighbours/float64(n)
			noise := 5 / math.Sqrt(float64(n)/BlockK) // the means of blocks are independent
			if math.Abs(mean) > noise || math.Abs(spread-1) > 0.01 || math.Abs(correlation) > 0.02 {
				t.Errorf("%s at %g: mean %.4f, deviation %.4f, correlation of neighbours %.4f (in units of std)", f, std, mean, spread, correlation)
			}
		}
	}
}

func BenchmarkPackRandom(b *testing.B) {
	for _, f := range allFormats {
		const k = 5120
		b.Run(fmt.Sprintf("format=%s/k=%d", f, k), func(b *testing.B) {
			dst := make([]byte, PackedBytes(f, PanelRows, k))
			b.SetBytes(int64(len(dst)))
			best := bestPass(b, func() { PackRandom(dst, f, PanelRows, k, 0.02, 1, 1) })
			b.ReportMetric(float64(len(dst))/best/1e9, "best-GB/s")
		})
	}
}
