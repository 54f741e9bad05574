package refmath

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"

	"polynode/model"
)

// ErrWeights reports a tensor that is missing or has the wrong shape.
var ErrWeights = errors.New("refmath: weights")

// Weights gives the tensors of a model by canonical name, matrices as (outputs, inputs) and vectors with one row.
type Weights interface {
	Tensor(name model.Name) (rows, cols int, data []float32, err error)
}

// Tensor is one tensor in memory, row by row.
type Tensor struct {
	Rows, Cols int
	Data       []float32
}

func (t Tensor) row(i int) []float32 { return t.Data[i*t.Cols : (i+1)*t.Cols] }

// Map holds all tensors of a model in memory.
type Map map[model.Name]Tensor

var _ Weights = Map(nil)

// Tensor implements Weights.
func (m Map) Tensor(name model.Name) (rows, cols int, data []float32, err error) {
	t, ok := m[name]
	if !ok {
		return 0, 0, nil, fmt.Errorf("%w: %s is missing", ErrWeights, name)
	}
	return t.Rows, t.Cols, t.Data, nil
}

// Random makes weights that a test may repeat by seed: normal, scaled so that activations keep their size from block to
// block, and LayerNorm weights near 1.
func Random(config model.Config, seed uint64) Map {
	rng := rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15))
	weights := Map{}
	for _, spec := range config.Tensors() {
		t := Tensor{spec.Rows, spec.Cols, make([]float32, spec.Rows*spec.Cols)}
		scale, centre := 0.1, 0.0
		switch {
		case spec.Name == model.TokenEmbedding || spec.Name == model.PositionEmbedding:
			scale = 0.5
		case spec.Matrix:
			scale = 1 / math.Sqrt(float64(spec.Cols))
		case isNormWeight(config, spec.Name):
			centre = 1
		}
		for i := range t.Data {
			t.Data[i] = float32(centre + scale*rng.NormFloat64())
		}
		weights[spec.Name] = t
	}
	return weights
}

func isNormWeight(config model.Config, name model.Name) bool {
	for i := range config.Layers {
		if name == model.Norm1Weight.Of(i) || name == model.Norm2Weight.Of(i) {
			return true
		}
	}
	return name == model.FinalNormWeight
}

// Model is a network ready to run.
type Model struct {
	config     model.Config
	activation func(float64) float64
	tokens     Tensor // (Vocab, Embed)
	positions  Tensor // (Positions, Embed)
	layers     []layer
	finalNorm  norm
	head       Tensor // (Vocab, Embed)
}

type layer struct {
	norm1, norm2                  norm
	qkv, attnProj, ffnUp, ffnDown linear
}

type norm struct{ weight, bias Tensor } // (1, Embed) each

type linear struct {
	weight Tensor // (outputs, inputs)
	bias   Tensor // (1, outputs)
}

// New collects the weights of a model and checks every shape. It keeps the slices that weights returns.
func New(config model.Config, weights Weights) (*Model, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	tensors := Map{}
	for _, spec := range config.Tensors() {
		rows, cols, data, err := weights.Tensor(spec.Name)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", spec.Name, err)
		}
		if rows != spec.Rows || cols != spec.Cols || len(data) != rows*cols {
			return nil, fmt.Errorf("%w: %s is (%d, %d) with %d values, want (%d, %d)",
				ErrWeights, spec.Name, rows, cols, len(data), spec.Rows, spec.Cols)
		}
		tensors[spec.Name] = Tensor{rows, cols, data}
	}
	m := &Model{
		config:     config,
		activation: geluTanh,
		tokens:     tensors[model.TokenEmbedding],
		positions:  tensors[model.PositionEmbedding],
		finalNorm:  norm{tensors[model.FinalNormWeight], tensors[model.FinalNormBias]},
		head:       tensors[model.TokenEmbedding],
	}
	if config.Activation == model.GELUErf {
		m.activation = geluErf
	}
	if !config.TiedHead {
		m.head = tensors[model.Head]
	}
	for i := range config.Layers {
		m.layers = append(m.layers, layer{
			norm1:    norm{tensors[model.Norm1Weight.Of(i)], tensors[model.Norm1Bias.Of(i)]},
			qkv:      linear{tensors[model.QKVWeight.Of(i)], tensors[model.QKVBias.Of(i)]},
			attnProj: linear{tensors[model.AttnProjWeight.Of(i)], tensors[model.AttnProjBias.Of(i)]},
			norm2:    norm{tensors[model.Norm2Weight.Of(i)], tensors[model.Norm2Bias.Of(i)]},
			ffnUp:    linear{tensors[model.FFNUpWeight.Of(i)], tensors[model.FFNUpBias.Of(i)]},
			ffnDown:  linear{tensors[model.FFNDownWeight.Of(i)], tensors[model.FFNDownBias.Of(i)]},
		})
	}
	return m, nil
}

// Config is the description that the model was made with.
func (m *Model) Config() model.Config { return m.config }
