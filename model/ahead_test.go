package model_test

import (
	"slices"
	"testing"

	"polynode/kernels"
	"polynode/model"
	"polynode/shard"
)

// diary is a source that writes down what it is told and asked.
type diary struct {
	model.Source
	announced, verified []model.Piece
}

func (d *diary) ReadAhead(order []model.Piece) { d.announced = slices.Clone(order) }

func (d *diary) Verify(name model.Name, rows, k shard.Slice) error {
	d.verified = append(d.verified, model.Piece{Name: name, Rows: rows, K: k})
	return d.Source.Verify(name, rows, k)
}

// A stage announces exactly what its first step verifies, in that order, after the rows of the tokens.
func TestStageAnnouncesWhatItVerifies(t *testing.T) {
	source := &diary{Source: pack(t, tiny(model.GELUFast, true), kernels.Q8)}
	r := newRunner(t, source, kernels.KVF16, 1, 4)
	if len(source.announced) == 0 || len(source.verified) != 0 {
		t.Fatalf("before the first step %d pieces were announced and %d verified", len(source.announced), len(source.verified))
	}
	r.step(piece{[]int32{7}, 0, []int32{0}})
	if got := source.verified[1:]; !slices.Equal(got, source.announced) {
		t.Errorf("verified %v\nannounced %v", got, source.announced)
	}
	before := len(source.verified)
	r.step(piece{[]int32{7}, 1, []int32{0}})
	if n := len(source.verified) - before; n > 1 {
		t.Errorf("the second step verified %d pieces", n)
	}
}
