package synth

import (
	"bytes"
	"errors"
	"math"
	"testing"

	"polynode/kernels"
	"polynode/model"
)

func tiny() model.Config {
	return model.Config{
		Layers: 2, Heads: 2, Embed: 64, Inner: 96, Vocab: 83, Pieces: 80, Positions: 5,
		Activation: model.GELUFast, Epsilon: 1e-5, EOS: 2,
	}
}

// matrixRows packs a whole made-up matrix and unpacks it.
func matrixRows(t *testing.T, made *Tensor, f kernels.Format) ([]byte, []float32) {
	t.Helper()
	rows, cols := made.spec.Rows, made.spec.Cols
	data := make([]byte, kernels.PackedBytes(f, rows, cols))
	panel := kernels.PackedBytes(f, kernels.PanelRows, cols)
	for p := range kernels.Panels(rows) {
		if err := made.PackPanel(data[p*panel:(p+1)*panel], f, p, min(16, rows-16*p)); err != nil {
			t.Fatal(err)
		}
	}
	m, err := kernels.NewMatrix(f, rows, cols, 32, 0, data)
	if err != nil {
		t.Fatal(err)
	}
	values := make([]float32, rows*cols)
	for r := range rows {
		kernels.UnpackRow(values[r*cols:], &m, r)
	}
	return data, values
}

// TestMatrices checks size, spread and bound of the weights in every format, and that seeds and names matter.
func TestMatrices(t *testing.T) {
	for _, f := range []kernels.Format{kernels.F32, kernels.BF16, kernels.Q8, kernels.Q4} {
		seen := map[string]model.Name{}
		for _, seed := range []uint64{1, 2} {
			w, err := New(tiny(), seed)
			if err != nil {
				t.Fatal(err)
			}
			for _, spec := range w.config.Tensors() {
				if !spec.Matrix {
					continue
				}
				made, err := w.Tensor(spec.Name)
				if err != nil {
					t.Fatal(err)
				}
				data, values := matrixRows(t, made, f)
				again, _ := matrixRows(t, made, f)
				if !bytes.Equal(data, again) {
					t.Errorf("%s %s: two runs differ", f, spec.Name)
				}
				if other, ok := seen[string(data)]; ok {
					t.Errorf("%s: %s equals %s", f, spec.Name, other)
				}
				seen[string(data)] = spec.Name
				checkSpread(t, f, made, values)
			}
		}
	}
}

func checkSpread(t *testing.T, f kernels.Format, made *Tensor, values []float32) {
	t.Helper()
	var sum, squares, top float64
	for _, v := range values {
		sum += float64(v)
		squares += float64(v) * float64(v)
		top = max(top, math.Abs(float64(v)))
	}
	n := float64(len(values))
	rms, std := math.Sqrt(squares/n), float64(made.std)
	if math.Abs(rms/std-1) > 0.1 || math.Abs(sum/n) > 0.1*std {
		t.Errorf("%s %s: mean %g, deviation %g, want 0 and %g", f, made.spec.Name, sum/n, rms, std)
	}
	if top > made.Largest() {
		t.Errorf("%s %s: largest weight %g is over the bound %g", f, made.spec.Name, top, made.Largest())
	}
}

// TestReadRows reads rows in pieces that do not end at panels and compares them with the F32 panels.
func TestReadRows(t *testing.T) {
	w, err := New(tiny(), 7)
	if err != nil {
		t.Fatal(err)
	}
	made, err := w.Tensor(model.TokenEmbedding)
	if err != nil {
		t.Fatal(err)
	}
	_, want := matrixRows(t, made, kernels.F32)
	for _, c := range []struct{ lo, hi int }{{0, 83}, {0, 1}, {15, 17}, {16, 32}, {50, 83}, {82, 83}, {3, 3}} {
		got := make([]float32, (c.hi-c.lo)*64)
		if err := made.ReadRows(got, c.lo, c.hi); err != nil {
			t.Fatal(err)
		}
		for i, v := range got {
			if v != want[c.lo*64+i] {
				t.Fatalf("rows [%d, %d): value %d is %g, want %g", c.lo, c.hi, i, v, want[c.lo*64+i])
			}
		}
	}
}

func TestVectors(t *testing.T) {
	w, err := New(tiny(), 7)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name      model.Name
		rows, n   int
		mean, top float64
	}{
		{model.Norm1Weight.Of(1), 1, 64, 1, 0},
		{model.FinalNormWeight, 1, 64, 1, 0},
		{model.FinalNormBias, 1, 64, 0, 0.02},
		{model.QKVBias.Of(0), 1, 192, 0, 0.02},
		{model.PositionEmbedding, 5, 320, 0, 0.02},
	} {
		made, err := w.Tensor(c.name)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]float32, c.n)
		if err := made.ReadRows(got, 0, c.rows); err != nil {
			t.Fatal(err)
		}
		different := map[float32]bool{}
		for _, v := range got {
			different[v] = true
			if math.Abs(float64(v)-c.mean) > c.top {
				t.Errorf("%s has %g, want %g within %g", c.name, v, c.mean, c.top)
			}
		}
		if c.top > 0 && len(different) < c.n-2 {
			t.Errorf("%s has only %d different values of %d", c.name, len(different), c.n)
		}
		// A part equals the same part of the whole.
		if c.rows > 1 {
			part := make([]float32, 128)
			if err := made.ReadRows(part, 2, 4); err != nil {
				t.Fatal(err)
			}
			if part[0] != got[128] || part[127] != got[255] {
				t.Errorf("%s: a part differs from the whole", c.name)
			}
		}
	}
}

func TestRanges(t *testing.T) {
	if _, err := New(model.Config{}, 1); !errors.Is(err, model.ErrConfig) {
		t.Errorf("empty configuration: %v", err)
	}
	w, err := New(tiny(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Tensor("h.2.ln_1.weight"); !errors.Is(err, ErrRange) {
		t.Errorf("a layer too many: %v", err)
	}
	made, err := w.Tensor(model.Head)
	if err != nil {
		t.Fatal(err)
	}
	if !made.Synthetic() {
		t.Error("a made-up tensor does not say so")
	}
	for _, c := range []struct{ n, lo, hi int }{{64, -1, 0}, {64, 83, 84}, {0, 2, 1}, {63, 0, 1}} {
		if err := made.ReadRows(make([]float32, c.n), c.lo, c.hi); !errors.Is(err, ErrRange) {
			t.Errorf("rows [%d, %d) into %d values: %v", c.lo, c.hi, c.n, err)
		}
	}
	panel := make([]byte, kernels.PackedBytes(kernels.Q4, 16, 64))
	for _, c := range []struct {
		f    kernels.Format
		p, n int
	}{{kernels.Q4, 6, 16}, {kernels.Q4, 5, 16}, {kernels.Q4, -1, 16}, {kernels.Q8, 0, 16}, {0, 0, 16}} {
		if err := made.PackPanel(panel, c.f, c.p, c.n); !errors.Is(err, ErrRange) {
			t.Errorf("panel %d with %d rows as %s: %v", c.p, c.n, c.f, err)
		}
	}
}
