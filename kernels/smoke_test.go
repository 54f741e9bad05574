package kernels

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestSmoke(t *testing.T) {
	for _, f := range []Format{F32, BF16, Q8, Q4} {
		const rows, k = 37, 300
		rng := rand.New(rand.NewPCG(1, 2))
		w := make([]float32, rows*k)
		for i := range w {
			w[i] = float32(rng.NormFloat64())
		}
		data := make([]byte, PackedBytes(f, rows, k))
		m, err := NewMatrix(f, rows, k, 128, 16, data)
		if err != nil {
			t.Fatal(err)
		}
		var sum PackError
		for p := range Panels(rows) {
			n := min(16, rows-p*16)
			e, err := PackPanel(data[p*m.PanelStride:(p+1)*m.PanelStride], f, w[p*16*k:(p*16+n)*k], n, k)
			if err != nil {
				t.Fatal(err)
			}
			sum.Add(e)
		}
		var x Activations
		x.Reset(3, k)
		for r := range 3 {
			for i := range x.Row(r) {
				x.Row(r)[i] = float32(rng.NormFloat64())
			}
		}
		x.Quantise(0, 3)
		out := make([]int32, 3*rows)
		c := MulPanels(out, rows, &m, &x, 0, Panels(rows))
		got := make([]float32, rows)
		row := make([]float32, k)
		var worst float64
		for r := range 3 {
			Finish(got, out[r*rows:(r+1)*rows], m.Exponent, nil)
			for i := range rows {
				UnpackRow(row, &m, i)
				var want float64
				for j := range row {
					want += float64(row[j]) * float64(x.Row(r)[j])
				}
				worst = max(worst, math.Abs(want-float64(got[i])))
			}
		}
		t.Log(f, sum.Relative(), c, worst)
	}
}
