package model

import (
	"polynode/kernels"
	"polynode/shard"
)

// PiecesOf lists every slice of every tensor that a stage with this share reads, vectors whole, in the order of first use. It is
// NewStage itself on a source without weights that finds them, so a rank that has exactly these slices has what it needs.
// Slices may overlap. The error wraps ErrShare or ErrConfig.
func PiecesOf(config Config, share Share) ([]Piece, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	if err := share.validate(config); err != nil {
		return nil, err
	}
	s := &Stage{config: config, share: share}
	ld := newLoader(blank{config})
	if err := s.load(ld, 0); err != nil {
		return nil, err
	}
	return ld.all, nil
}

// blank is a source of a model without weights.
type blank struct{ config Config }

var _ Source = blank{}

func (b blank) Config() Config { return b.config }

func (b blank) Leaf() int { return kernels.BlockK }

func (b blank) Vector(name Name) ([]float32, error) {
	if name == PositionEmbedding {
		return nil, nil // large, and nobody cuts it
	}
	return make([]float32, max(3*b.config.Embed, b.config.Inner)), nil
}

func (b blank) Matrix(Name, shard.Slice, shard.Slice) (kernels.Matrix, error) {
	return kernels.Matrix{}, nil
}

func (b blank) Verify(Name, shard.Slice, shard.Slice) error { return nil }
