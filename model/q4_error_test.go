package model_test

import (
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"polynode/kernels"
	"polynode/model"
	"polynode/model/checkpoint"
	"polynode/model/store"
)

// This file is the choice of 4-bit weights in figures. Blocks of 32 weights share a scale, a float16 of either sign; a weight is one
// of 16 values times the scale. docs/decisions.md quotes it: go test -v -run OfTables ./model

var (
	linearTable = []float64{-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7}
	fixedTable  = []float64{-63, -49, -39, -30, -22, -16, -10, -4, 1, 6, 11, 17, 23, 31, 40, 53} // of kernels
)

// nearest is the value of a sorted table that is nearest to x.
func nearest(table []float64, x float64) int {
	i, _ := slices.BinarySearch(table, x)
	if i > 0 && (i == len(table) || x-table[i-1] < table[i]-x) {
		i--
	}
	return i
}

// bestScale searches widely for the scale with which a table leaves the least squared error in a block: the largest weight at 8
// places around either end of the table, and from each twice the scale that the method of least squares gives.
func bestScale(table []float64, w []float32) (scale, least float64) {
	top, squares := 0.0, 0.0
	for _, v := range w {
		squares += float64(v) * float64(v)
		if math.Abs(float64(v)) > math.Abs(top) {
			top = float64(v)
		}
	}
	if top == 0 {
		return 0, 0
	}
	least = squares
	for i := range 8 {
		factor := 0.88 + 0.035*float64(i)
		for _, end := range []float64{table[0], table[15]} {
			s := top / (factor * end)
			for range 3 {
				s = float64(kernels.F16ToF32(kernels.F32ToF16(float32(s))))
				var wl, ll float64
				for _, v := range w {
					l := table[nearest(table, float64(v)/s)]
					wl, ll = wl+float64(v)*l, ll+l*l
				}
				if e := squares - 2*s*wl + s*s*ll; e < least {
					scale, least = s, e
				}
				if s = wl / ll; ll == 0 || s == 0 {
					break
				}
			}
		}
	}
	return scale, least
}

// lloydTable is the table of the least squared error for one tensor (Lloyd 1982), rounded as the fixed one is.
func lloydTable(w []float32) []float64 {
	w = w[:min(len(w), 32*1000)]
	table := slices.Clone(fixedTable)
	for range 8 {
		var sum, weight [16]float64
		for block := range slices.Chunk(w, 32) {
			scale, _ := bestScale(table, block)
			for _, v := range block {
				if scale != 0 {
					i := nearest(table, float64(v)/scale)
					sum[i], weight[i] = sum[i]+float64(v)*scale, weight[i]+scale*scale
				}
			}
		}
		for i := range table {
			if weight[i] > 0 {
				table[i] = sum[i] / weight[i]
			}
		}
		slices.Sort(table)
	}
	top := max(math.Abs(table[0]), table[15])
	for i := range table {
		table[i] = math.Round(table[i] / top * 63)
	}
	return table
}

// tables are the candidates: what a matrix of so many weights is quantised with, in place.
var tables = []struct {
	name  string
	apply func(w []float32)
}{
	{"linear", func(w []float32) { quantiseWith(linearTable, w) }},
	{"fixed", func(w []float32) { quantiseWith(fixedTable, w) }},
	{"per tensor", func(w []float32) { quantiseWith(lloydTable(w), w) }},
	{"packed", packQ4},
}

func quantiseWith(table []float64, w []float32) {
	for block := range slices.Chunk(w, 32) {
		scale, _ := bestScale(table, block)
		for i, v := range block {
			block[i] = 0
			if scale != 0 {
				block[i] = float32(scale * table[nearest(table, float64(v)/scale)])
			}
		}
	}
}

// packQ4 is what the product does to weights.
func packQ4(w []float32) {
	const k = 32
	for panel := range slices.Chunk(w, kernels.PanelRows*k) {
		n := len(panel) / k
		packed := make([]byte, kernels.PackedBytes(kernels.Q4, n, k))
		if _, err := kernels.PackPanel(packed, kernels.Q4, panel, n, k); err != nil {
			panic(err)
		}
		m, err := kernels.NewMatrix(kernels.Q4, n, k, k, 0, packed)
		if err != nil {
			panic(err)
		}
		for row := range n {
			kernels.UnpackRow(panel[row*k:(row+1)*k], &m, row)
		}
	}
}

// Squared errors, relative to the squares, of the three tables, and of the packer with its shorter search.
func TestSquaredErrorOfTables(t *testing.T) {
	blocks := 300
	if testing.Verbose() && !testing.Short() {
		blocks = 4000
	}
	rng := rand.New(rand.NewPCG(1, 2))
	normal, laplace := make([]float32, 32*blocks), make([]float32, 32*blocks)
	for i := range normal {
		normal[i] = float32(rng.NormFloat64())
		laplace[i] = float32(rng.ExpFloat64() * float64(1-2*rng.IntN(2)))
	}
	for _, c := range []struct {
		name    string
		tensors [][]float32
		better  float64 // than linear, at least
	}{
		{"normal", [][]float32{normal}, 0.85},
		{"Laplace", [][]float32{laplace}, 0.68},
		{"demo model", demoMatrices(t, 32*blocks/4), 0.85},
	} {
		got := map[string]float64{}
		for _, table := range tables {
			var gap, size float64
			for _, w := range c.tensors {
				back := slices.Clone(w)
				table.apply(back)
				for i, v := range w {
					d := float64(v) - float64(back[i])
					gap, size = gap+d*d, size+float64(v)*float64(v)
				}
			}
			got[table.name] = gap / size
		}
		t.Logf("%-10s  linear %.5f  fixed %.5f  per tensor %.5f  packed %.5f", c.name, got["linear"], got["fixed"], got["per tensor"], got["packed"])
		if got["fixed"] > c.better*got["linear"] || got["fixed"] > 1.05*got["per tensor"] || got["packed"] > 1.015*got["fixed"] {
			t.Errorf("%s: want the fixed table below %g of linear and near the table of the tensor, and the packer near the search", c.name, c.better)
		}
	}
}

// demoMatrices is up to so many weights of each matrix of the demo model.
func demoMatrices(t *testing.T, most int) (all [][]float32) {
	t.Helper()
	source, err := checkpoint.Open(demoCheckpoint)
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	config := source.Config()
	for _, spec := range config.Tensors() {
		if !spec.Matrix {
			continue
		}
		tensor, err := source.Tensor(spec.Name)
		if err != nil {
			t.Fatal(err)
		}
		rows := min(spec.Rows, most/spec.Cols)
		w := make([]float32, rows*spec.Cols)
		if err := tensor.ReadRows(w, 0, rows); err != nil {
			t.Fatal(err)
		}
		all = append(all, w)
	}
	return all
}

// tabled is a tensor whose weights have been through a table: every read of all its rows.
type tabled struct {
	w    []float32
	cols int
}

func (r tabled) ReadRows(dst []float32, lo, hi int) error {
	copy(dst, r.w[lo*r.cols:hi*r.cols])
	return nil
}

// What each table alone costs in perplexity: weights through the table and then in float32, so activations stay as they are.
func TestPerplexityOfTables(t *testing.T) {
	if testing.Short() || !testing.Verbose() {
		t.Skip("half a minute for a figure to read: with -v only")
	}
	_, tok := importDemo(t, kernels.Q8)
	reference := 0.0
	for i := -1; i < 3; i++ {
		name, apply := "none", func([]float32) {}
		if i >= 0 {
			name, apply = tables[i].name, tables[i].apply
		}
		got := perplexity(t, newRunner(t, importTabled(t, apply), kernels.KVF32, 2, demoBlocks), tok)
		if i < 0 {
			reference = got
		}
		t.Logf("%-10s perplexity %.5f, %+.3f %%", name, got, 100*(got/reference-1))
		if got > 1.01*reference {
			t.Errorf("%s: perplexity %.5f is more than 1 %% above %.5f", name, got, reference)
		}
	}
}

func importTabled(t *testing.T, apply func([]float32)) *store.Model {
	t.Helper()
	source, err := checkpoint.Open(demoCheckpoint)
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	config := source.Config()
	weights := store.WeightsFunc(func(name model.Name) (store.Rows, error) {
		tensor, err := source.Tensor(name)
		if err != nil {
			return nil, err
		}
		for _, spec := range config.Tensors() {
			if spec.Name == name && spec.Matrix {
				w := make([]float32, spec.Rows*spec.Cols)
				if err := tensor.ReadRows(w, 0, spec.Rows); err != nil {
					return nil, err
				}
				apply(w)
				return tabled{w, spec.Cols}, nil
			}
		}
		return tensor, nil
	})
	path := filepath.Join(t.TempDir(), "demo.pn")
	if _, err := store.WriteFile(t.Context(), path, weights, store.Spec{Config: config, Format: kernels.F32, Label: "demo"}, nil); err != nil {
		t.Fatal(err)
	}
	m, err := store.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}
