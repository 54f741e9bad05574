// Package memsource packs weights in memory into a model.Source, for tests.
//
// It stands where model/store stands in the product and does without a file: matrices are packed by kernels,
// vectors are kept as they are, Verify finds everything good. A Source is immutable and safe for concurrent use.
package memsource

import (
	"fmt"

	"polynode/internal/refmath"
	"polynode/kernels"
	"polynode/model"
	"polynode/shard"
)

// Source is a whole model in memory.
type Source struct {
	config   model.Config
	leaf     int
	vectors  map[model.Name][]float32
	matrices map[model.Name]kernels.Matrix
}

var _ model.Source = (*Source)(nil)

// leafBound is the largest contribution of one leaf that the exponents make room for.
const leafBound = 256

// Pack makes a source of the weights in the given format.
func Pack(config model.Config, weights refmath.Weights, format kernels.Format) (*Source, error) {
	s := &Source{config: config, leaf: Leaf(config), vectors: map[model.Name][]float32{}, matrices: map[model.Name]kernels.Matrix{}}
	for _, spec := range config.Tensors() {
		rows, cols, data, err := weights.Tensor(spec.Name)
		if err != nil {
			return nil, err
		}
		if !spec.Matrix {
			s.vectors[spec.Name] = data
			continue
		}
		if s.matrices[spec.Name], err = pack(format, s.leaf, rows, cols, data); err != nil {
			return nil, fmt.Errorf("pack %s: %w", spec.Name, err)
		}
	}
	return s, nil
}

// Leaf is the width at which a model's matrices are cut in K: one head of PolyLM, or one quantisation block.
func Leaf(config model.Config) int {
	if config.HeadDim()%128 == 0 {
		return 128
	}
	return kernels.BlockK
}

func pack(format kernels.Format, leaf, rows, cols int, data []float32) (kernels.Matrix, error) {
	packed := make([]byte, kernels.PackedBytes(format, rows, cols))
	size := kernels.Blocks(cols) * format.BlockBytes()
	for p := range kernels.Panels(rows) {
		lo, hi := p*kernels.PanelRows, min((p+1)*kernels.PanelRows, rows)
		if _, err := kernels.PackPanel(packed[p*size:(p+1)*size], format, data[lo*cols:hi*cols], hi-lo, cols); err != nil {
			return kernels.Matrix{}, err
		}
	}
	exponent := kernels.FixedPoint(kernels.LeafLimit(cols, leaf), leafBound)
	return kernels.NewMatrix(format, rows, cols, leaf, exponent, packed)
}

// Config describes the model.
func (s *Source) Config() model.Config { return s.config }

// Leaf is the width at which K may be cut.
func (s *Source) Leaf() int { return s.leaf }

// Vector returns a float32 tensor.
func (s *Source) Vector(name model.Name) ([]float32, error) {
	v, ok := s.vectors[name]
	if !ok {
		return nil, fmt.Errorf("memsource: no vector %s", name)
	}
	return v, nil
}

// Matrix returns a view of rows × k.
func (s *Source) Matrix(name model.Name, rows, k shard.Slice) (kernels.Matrix, error) {
	m, ok := s.matrices[name]
	if !ok {
		return kernels.Matrix{}, fmt.Errorf("memsource: no matrix %s", name)
	}
	m, err := m.SliceRows(rows.Lo, rows.Hi)
	if err != nil {
		return kernels.Matrix{}, err
	}
	return m.SliceK(k.Lo, k.Hi)
}

// Verify does nothing: what is in memory is what was packed.
func (s *Source) Verify(model.Name, shard.Slice, shard.Slice) error { return nil }
