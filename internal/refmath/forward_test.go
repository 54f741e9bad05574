package refmath

import (
	"errors"
	"math"
	"testing"

	"gonum.org/v1/gonum/mat"

	"polynode/model"
)

func tiny(activation model.Activation, tied bool) model.Config {
	return model.Config{
		Layers: 3, Heads: 3, Embed: 12, Inner: 20, Vocab: 17, Pieces: 17, Positions: 9,
		Activation: activation, Epsilon: 1e-5, EOS: 2, TiedHead: tied,
	}
}

// TestForwardAgainstGonum runs the same network as whole-matrix algebra over gonum's mat: every head is Q·Kᵀ with a mask
// of minus infinity, one softmax per row and a product with V.
func TestForwardAgainstGonum(t *testing.T) {
	for _, config := range []model.Config{tiny(model.GELUFast, true), tiny(model.GELUNew, false), tiny(model.GELUErf, true)} {
		weights := Random(config, 7)
		m, err := New(config, weights)
		if err != nil {
			t.Fatal(err)
		}
		tokens := []int32{3, 16, 0, 0, 9, 2, 11, 5, 3}
		trace, err := m.Forward(tokens)
		if err != nil {
			t.Fatal(err)
		}
		hidden, logits := gonumForward(config, weights, tokens)
		for i := range hidden {
			compare(t, "hidden", trace.Hidden[i], hidden[i], 1e-12)
		}
		compare(t, "logits", trace.Logits, logits, 1e-12)
	}
}

func compare(t *testing.T, what string, got Matrix, want mat.Matrix, bound float64) {
	t.Helper()
	rows, cols := want.Dims()
	if got.Rows != rows || got.Cols != cols {
		t.Fatalf("%s is (%d, %d), want (%d, %d)", what, got.Rows, got.Cols, rows, cols)
	}
	for r := range rows {
		for c := range cols {
			if gap := math.Abs(got.Row(r)[c] - want.At(r, c)); !(gap <= bound) {
				t.Fatalf("%s at (%d, %d): got %.17g, want %.17g", what, r, c, got.Row(r)[c], want.At(r, c))
			}
		}
	}
}

type algebra struct {
	config  model.Config
	weights Map
}

func gonumForward(config model.Config, weights Map, tokens []int32) (hidden []*mat.Dense, logits *mat.Dense) {
	a := algebra{config, weights}
	n, d := len(tokens), config.Embed
	pick := mat.NewDense(n, config.Vocab, nil) // one-hot rows: the embedding as a product
	for t, token := range tokens {
		pick.Set(t, int(token), 1)
	}
	var x mat.Dense
	x.Mul(pick, a.tensor(model.TokenEmbedding))
	x.Add(&x, a.tensor(model.PositionEmbedding).Slice(0, n, 0, d))
	for l := range config.Layers {
		qkv := a.linear(a.norm(&x, model.Norm1Weight.Of(l), model.Norm1Bias.Of(l)), model.QKVWeight.Of(l), model.QKVBias.Of(l))
		x.Add(&x, a.linear(a.attend(qkv), model.AttnProjWeight.Of(l), model.AttnProjBias.Of(l)))
		up := a.linear(a.norm(&x, model.Norm2Weight.Of(l), model.Norm2Bias.Of(l)), model.FFNUpWeight.Of(l), model.FFNUpBias.Of(l))
		up.Apply(func(_, _ int, v float64) float64 {
			if config.Activation == model.GELUErf {
				return v * 0.5 * (1 + math.Erf(v/math.Sqrt2))
			}
			return v / (1 + math.Exp(-2*0.7978845608028654*v*(1+0.044715*v*v)))
		}, up)
		x.Add(&x, a.linear(up, model.FFNDownWeight.Of(l), model.FFNDownBias.Of(l)))
		hidden = append(hidden, mat.DenseCopyOf(&x))
	}
	head := model.Name(model.TokenEmbedding)
	if !config.TiedHead {
		head = model.Head
	}
	logits = &mat.Dense{}
	logits.Mul(a.norm(&x, model.FinalNormWeight, model.FinalNormBias), a.tensor(head).T())
	return hidden, logits
}

func (a algebra) tensor(name model.Name) *mat.Dense {
	t := a.weights[name]
	out := mat.NewDense(t.Rows, t.Cols, nil)
	out.Apply(func(r, c int, _ float64) float64 { return float64(t.Data[r*t.Cols+c]) }, out)
	return out
}

func (a algebra) linear(x mat.Matrix, weight, bias model.Name) *mat.Dense {
	var out mat.Dense
	out.Mul(x, a.tensor(weight).T())
	b := a.tensor(bias)
	out.Apply(func(_, c int, v float64) float64 { return v + b.At(0, c) }, &out)
	return &out
}

// norm is LayerNorm as a projection: x·(I - J/d), then a division by the length of the row over √d.
func (a algebra) norm(x mat.Matrix, weight, bias model.Name) *mat.Dense {
	d := a.config.Embed
	centre := mat.NewDense(d, d, nil)
	centre.Apply(func(r, c int, _ float64) float64 {
		if r == c {
			return 1 - 1/float64(d)
		}
		return -1 / float64(d)
	}, centre)
	var out mat.Dense
	out.Mul(x, centre)
	w, b := a.tensor(weight), a.tensor(bias)
	rows, _ := out.Dims()
	for r := range rows {
		row := mat.NewVecDense(d, out.RawRowView(r))
		length := math.Sqrt(mat.Dot(row, row)/float64(d) + float64(a.config.Epsilon))
		for c := range d {
			out.Set(r, c, out.At(r, c)/length*w.At(0, c)+b.At(0, c))
		}
	}
	return &out
}

func (a algebra) attend(qkv *mat.Dense) *mat.Dense {
	n, _ := qkv.Dims()
	d, width := a.config.Embed, a.config.HeadDim()
	out := mat.NewDense(n, d, nil)
	for lo := 0; lo < d; lo += width {
		q, k := qkv.Slice(0, n, lo, lo+width), qkv.Slice(0, n, d+lo, d+lo+width)
		var scores mat.Dense
		scores.Mul(q, k.T())
		scores.Apply(func(r, c int, v float64) float64 {
			if c > r {
				return math.Inf(-1)
			}
			return math.Exp(v / math.Sqrt(float64(width)))
		}, &scores)
		for r := range n {
			row := scores.RawRowView(r)
			total := 0.0
			for c := range row {
				row[c] = max(row[c], 0)
				total += row[c]
			}
			for c := range row {
				row[c] /= total
			}
		}
		out.Slice(0, n, lo, lo+width).(*mat.Dense).Mul(&scores, qkv.Slice(0, n, 2*d+lo, 2*d+lo+width))
	}
	return out
}

// TestForwardByHand is a network small enough for paper. Both embeddings normalise to ±(1, -1); Q and K read the first
// coordinate times log 3, so the second token attends to itself with e^(log²3/√2)-odds; V swaps the coordinates; the FFN
// is one GELU unit over the sum of its inputs, which LayerNorm makes 0, plus a bias of 1.
func TestForwardByHand(t *testing.T) {
	config := model.Config{
		Layers: 1, Heads: 1, Embed: 2, Inner: 1, Vocab: 2, Pieces: 2, Positions: 2,
		Activation: model.GELUErf, Epsilon: 1e-30, EOS: 0, TiedHead: false,
	}
	ln3 := float32(math.Log(3))
	one, zero := []float32{1, 1}, []float32{0, 0}
	m, err := New(config, Map{
		model.TokenEmbedding:       {2, 2, []float32{1, -1, -2, 3}},
		model.PositionEmbedding:    {2, 2, []float32{0, 0, 0, -1}},
		model.Norm1Weight.Of(0):    {1, 2, one},
		model.Norm1Bias.Of(0):      {1, 2, zero},
		model.QKVWeight.Of(0):      {6, 2, []float32{ln3, 0, 0, 0, ln3, 0, 0, 0, 0, 1, 1, 0}},
		model.QKVBias.Of(0):        {1, 6, make([]float32, 6)},
		model.AttnProjWeight.Of(0): {2, 2, []float32{1, 0, 0, 1}},
		model.AttnProjBias.Of(0):   {1, 2, []float32{0.5, 0}},
		model.Norm2Weight.Of(0):    {1, 2, one},
		model.Norm2Bias.Of(0):      {1, 2, zero},
		model.FFNUpWeight.Of(0):    {1, 2, []float32{1, 1}},
		model.FFNUpBias.Of(0):      {1, 1, []float32{1}},
		model.FFNDownWeight.Of(0):  {2, 1, []float32{1, -1}},
		model.FFNDownBias.Of(0):    {1, 2, []float32{0, 0.25}},
		model.FinalNormWeight:      {1, 2, []float32{2, 3}},
		model.FinalNormBias:        {1, 2, []float32{0, 1}},
		model.Head:                 {2, 2, []float32{1, 0, 0, 1}},
	})
	if err != nil {
		t.Fatal(err)
	}
	trace, err := m.Forward([]int32{0, 1})
	if err != nil {
		t.Fatal(err)
	}
	// Position 0 sees only itself: value (-1, 1), which cancels its embedding. Position 1 has scores -s and +s, values (-1, 1) and (1, -1).
	s := float64(ln3) * float64(ln3) / math.Sqrt2
	own := 1 / (1 + math.Exp(-2*s))
	gelu := 0.8413447460685429
	hidden := mat.NewDense(2, 2, []float64{
		0.5 + gelu, 0.25 - gelu,
		-2 + (2*own - 1) + 0.5 + gelu, 2 - (2*own - 1) - gelu + 0.25,
	})
	compare(t, "hidden", trace.Hidden[0], hidden, 1e-14)
	compare(t, "logits", trace.Logits, mat.NewDense(2, 2, []float64{2, -3 + 1, -2, 3 + 1}), 1e-14)
}

func TestForwardIsCausal(t *testing.T) {
	config := tiny(model.GELUFast, true)
	m, err := New(config, Random(config, 3))
	if err != nil {
		t.Fatal(err)
	}
	long, err := m.Logits([]int32{1, 2, 3, 4, 5, 6})
	if err != nil {
		t.Fatal(err)
	}
	short, err := m.Logits([]int32{1, 2, 3})
	if err != nil {
		t.Fatal(err)
	}
	for i := range short {
		for j := range short[i] {
			if short[i][j] != long[i][j] {
				t.Fatalf("logit (%d, %d) depends on later tokens: %g and %g", i, j, short[i][j], long[i][j])
			}
		}
	}
}

func TestRefusals(t *testing.T) {
	config := tiny(model.GELUFast, true)
	m, err := New(config, Random(config, 1))
	if err != nil {
		t.Fatal(err)
	}
	for _, tokens := range [][]int32{nil, {-1}, {17}, make([]int32, 10)} {
		if _, err := m.Forward(tokens); !errors.Is(err, ErrInput) {
			t.Errorf("Forward(%v): %v, want ErrInput", tokens, err)
		}
	}
	missing := Random(config, 1)
	delete(missing, model.FFNUpBias.Of(2))
	if _, err := New(config, missing); !errors.Is(err, ErrWeights) {
		t.Errorf("a missing tensor: %v, want ErrWeights", err)
	}
	bent := Random(config, 1)
	bent[model.QKVWeight.Of(1)] = Tensor{12, 36, bent[model.QKVWeight.Of(1)].Data}
	if _, err := New(config, bent); !errors.Is(err, ErrWeights) {
		t.Errorf("a transposed tensor: %v, want ErrWeights", err)
	}
	config.Heads = 5
	if _, err := New(config, missing); !errors.Is(err, model.ErrConfig) {
		t.Errorf("an impossible config: %v, want ErrConfig", err)
	}
}
