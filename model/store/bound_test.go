package store

import (
	"math"
	"math/rand/v2"
	"testing"

	"polynode/kernels"
	"polynode/model"
	"polynode/shard"
)

// normed is what a LayerNorm makes of random numbers.
func normed(rng *rand.Rand, gamma, beta []float32, spike bool) []float32 {
	x := make([]float64, len(gamma))
	mean := 0.0
	for i := range x {
		x[i] = rng.NormFloat64()
		if spike && rng.IntN(40) == 0 {
			x[i] *= 300 // one input carries nearly the whole norm
		}
		mean += x[i] / float64(len(x))
	}
	variance := 0.0
	for i := range x {
		x[i] -= mean
		variance += x[i] * x[i] / float64(len(x))
	}
	out := make([]float32, len(x))
	for i := range x {
		out[i] = float32(x[i]/math.Sqrt(variance+1e-5)*float64(gamma[i]) + float64(beta[i]))
	}
	return out
}

// product multiplies a verified matrix by one row and gives the sums and the number of clamped leaves.
func product(t *testing.T, m *Model, name model.Name, x []float32) ([]int32, *kernels.Matrix, int) {
	t.Helper()
	entry, err := m.manifest.Tensor(name)
	if err != nil {
		t.Fatal(err)
	}
	matrix, err := m.Matrix(name, shard.Slice{Hi: entry.Rows}, shard.Slice{Hi: entry.K})
	if err != nil {
		t.Fatal(err)
	}
	var a kernels.Activations
	a.Reset(1, entry.K, matrix.Leaf)
	copy(a.Row(0), x)
	a.Quantise(0, 1)
	out := make([]int32, entry.Rows)
	clamped := kernels.MulPanels(out, entry.Rows, &matrix, &a, 0, kernels.Panels(entry.Rows))
	return out, &matrix, clamped
}

// TestExponentsNeverClamp drives a layer as the model does, with inputs as bad as a LayerNorm can make them. No
// contribution may reach the clamp, and the bounds of the layer's values must hold.
func TestExponentsNeverClamp(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, f := range allFormats {
		w := newFake(tiny(), 9)
		// Some channels of real models are much larger than others.
		for _, name := range []model.Name{model.Norm1Weight.Of(0), model.Norm2Weight.Of(0), model.FinalNormWeight} {
			w[name].values[5], w[name].values[77] = 40, -25
		}
		m, err := OpenBytes("m.pn", pack(t, w, tinySpec(f)))
		if err != nil {
			t.Fatal(err)
		}
		for round := range 60 {
			clamped := layerClamps(t, m, w, rng, round)
			x := normed(rng, w[model.FinalNormWeight].values, w[model.FinalNormBias].values, round%2 == 0)
			_, _, head := product(t, m, model.Head, x)
			if clamped+head != 0 {
				t.Fatalf("%s: %d contributions of a layer and %d of the head were clamped", f, clamped, head)
			}
		}
	}
}

// layerClamps runs the products of layer 0 and counts the clamps.
func layerClamps(t *testing.T, m *Model, w fakeWeights, rng *rand.Rand, round int) int {
	t.Helper()
	embed := m.manifest.Config.Embed
	x := normed(rng, w[model.Norm1Weight.Of(0)].values, w[model.Norm1Bias.Of(0)].values, round%2 == 0)
	if round%3 == 0 { // the worst for one row: the input lies along its weights
		copy(x, alongRow(w[model.QKVWeight.Of(0)].values[(2*embed+round)*embed:][:embed], w, model.Norm1Weight, model.Norm1Bias))
	}
	sums, matrix, clamped := product(t, m, model.QKVWeight.Of(0), x)
	values := make([]float32, 3*embed)
	kernels.Finish(values, sums, matrix.Exponent, w[model.QKVBias.Of(0)].values)
	_, _, n := product(t, m, model.AttnProjWeight.Of(0), values[2*embed:]) // attention to one position
	clamped += n
	x = normed(rng, w[model.Norm2Weight.Of(0)].values, w[model.Norm2Bias.Of(0)].values, round%2 == 0)
	sums, matrix, n = product(t, m, model.FFNUpWeight.Of(0), x)
	clamped += n
	inner := make([]float32, m.manifest.Config.Inner)
	kernels.Finish(inner, sums, matrix.Exponent, w[model.FFNUpBias.Of(0)].values)
	for i := range inner {
		inner[i] = max(inner[i], 0) // no smaller than any GELU of a positive value
	}
	_, _, n = product(t, m, model.FFNDownWeight.Of(0), inner)
	return clamped + n
}

// alongRow is the output of a LayerNorm that makes the product with one row as large as it can be.
func alongRow(row []float32, w fakeWeights, weight, bias model.Part) []float32 {
	gamma, beta := w[weight.Of(0)].values, w[bias.Of(0)].values
	z, squares := make([]float64, len(row)), 0.0
	for i := range row {
		z[i] = float64(row[i]) * float64(gamma[i])
		squares += z[i] * z[i]
	}
	out := make([]float32, len(row))
	for i := range out {
		out[i] = float32(z[i]*math.Sqrt(float64(len(row))/squares)*float64(gamma[i]) + float64(beta[i]))
	}
	return out
}

// TestBoundsHold compares the bounds with what they bound, in float64: for no input of a LayerNorm may a leaf or a row
// exceed them, and for the worst input they must not be far above it.
func TestBoundsHold(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	const n, leaf = 256, 32
	gamma, beta, row := make([]float32, n), make([]float32, n), make([]float32, n)
	for round := range 200 {
		for i := range row {
			gamma[i], beta[i], row[i] = float32(1+rng.NormFloat64()), float32(rng.NormFloat64())*0.3, float32(rng.NormFloat64())
		}
		leafBound, rowBound := normFeed(gamma, beta, leaf).bound(row)
		x := normed(rng, gamma, beta, round%2 == 0)
		worstLeaf, total := 0.0, 0.0
		for lo := 0; lo < n; lo += leaf {
			s := 0.0
			for i := lo; i < lo+leaf; i++ {
				s += float64(row[i]) * float64(x[i])
			}
			worstLeaf, total = max(worstLeaf, math.Abs(s)), total+s
		}
		if worstLeaf > leafBound || math.Abs(total) > rowBound {
			t.Fatalf("leaf %g of at most %g, row %g of at most %g", worstLeaf, leafBound, total, rowBound)
		}
		w := fakeWeights{model.Norm1Weight.Of(0): {values: gamma}, model.Norm1Bias.Of(0): {values: beta}}
		top := 0.0
		for i, v := range alongRow(row, w, model.Norm1Weight, model.Norm1Bias) {
			top += float64(row[i]) * float64(v)
		}
		if top > rowBound || top < rowBound/1.5 {
			t.Fatalf("the worst input gives %g, the bound is %g", top, rowBound)
		}
	}
}

func TestLimitFeed(t *testing.T) {
	limits := make([]float64, 64)
	row := make([]float32, 64)
	for i := range limits {
		limits[i], row[i] = float64(i%7), float32(1-i%3)
	}
	limits[40] = 100
	f := limitFeed(limits, 32)
	leaf, sum := f.bound(row)
	want := [2]float64{}
	for i := range row {
		noise := 6 * valueNoise
		if i >= 32 {
			noise = 100 * valueNoise
		}
		want[i/32] += math.Abs(float64(row[i])) * (limits[i] + noise)
	}
	if math.Abs(leaf-max(want[0], want[1])) > 1e-9 || math.Abs(sum-want[0]-want[1]) > 1e-9 {
		t.Errorf("leaf %g, row %g, want %v", leaf, sum, want)
	}
}
