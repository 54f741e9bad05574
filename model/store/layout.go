package store

import (
	"fmt"
	"strings"

	"polynode/kernels"
	"polynode/model"
)

// Sizes that decide the layout. They are part of the file format.
const (
	plainAlign   = 64       // of plain tensors and of the sections behind the data
	rowUnitBytes = 64 << 10 // a row-cut unit is the fewest whole panels that hold this much
	plainUnit    = 1 << 20  // a unit of a plain tensor is the most whole rows that fit in this
	kUnitPanels  = 16       // panels in a K-cut unit
	leafWide     = 128
)

// LeafFor is the width in K of one rounded contribution and the finest cut of K: one head of PolyLM, or one
// quantisation block where heads are not a multiple of 128 wide.
func LeafFor(c model.Config) int {
	if c.HeadDim()%leafWide == 0 {
		return leafWide
	}
	return kernels.BlockK
}

// layOut gives every tensor of the model its place in the file and its hash units. The result depends on the
// configuration and the formats of the matrices alone. A format of zero for a matrix is an error.
func layOut(c model.Config, format func(model.Name) kernels.Format) ([]Tensor, error) {
	specs := c.Tensors()
	tensors := make([]Tensor, len(specs))
	at := int64(PageSize)
	for i, spec := range specs {
		t := Tensor{Name: spec.Name, Rows: spec.Rows, K: spec.Cols}
		if spec.Matrix {
			f := format(spec.Name)
			if f.BlockBytes() == 0 {
				return nil, fmt.Errorf("tensor %s: %w: a matrix needs a weight format", spec.Name, ErrOptions)
			}
			at = roundUp(at, PageSize)
			t.placeMatrix(f, LeafFor(c))
		} else {
			at = roundUp(at, plainAlign)
			t.placePlain()
		}
		t.Offset = at
		t.Units = t.runs() * t.across()
		at += t.Bytes
		tensors[i] = t
	}
	return tensors, nil
}

// placeMatrix sets size and units of a matrix.
func (t *Tensor) placeMatrix(f kernels.Format, leaf int) {
	if t.Format = f.String(); f == kernels.Q4 {
		t.Format = levelsQ4
	}
	t.Bytes = int64(kernels.PackedBytes(f, t.Rows, t.K))
	if kCut(t.Name) {
		t.Cut, t.UnitK, t.UnitRows = CutK, leaf, kUnitPanels*kernels.PanelRows
		return
	}
	panel := kernels.PackedBytes(f, kernels.PanelRows, t.K)
	t.Cut, t.UnitK, t.UnitRows = CutRows, t.K, (rowUnitBytes+panel-1)/panel*kernels.PanelRows
}

// placePlain sets size and units of a plain tensor.
func (t *Tensor) placePlain() {
	t.Format, t.Cut = Plain, CutNone
	t.Bytes = 4 * int64(t.Rows) * int64(t.K)
	t.UnitK, t.UnitRows = t.K, max(1, plainUnit/(4*t.K))
}

// kCut tells the matrices whose inputs are spread over the ranks of a group.
func kCut(name model.Name) bool {
	return strings.HasSuffix(string(name), string(model.AttnProjWeight)) ||
		strings.HasSuffix(string(name), string(model.FFNDownWeight))
}

// runs is the number of units from the first row to the last; across from the first column to the last.
func (t *Tensor) runs() int   { return (t.Rows + t.UnitRows - 1) / t.UnitRows }
func (t *Tensor) across() int { return (t.K + t.UnitK - 1) / t.UnitK }

// dataSection is the part of the file that holds the tensors.
func dataSection(tensors []Tensor) section {
	last := &tensors[len(tensors)-1]
	return section{PageSize, roundUp(last.Offset+last.Bytes, plainAlign) - PageSize}
}

// unitCount is the number of hashes of all tensors.
func unitCount(tensors []Tensor) int64 {
	n := int64(0)
	for i := range tensors {
		n += int64(tensors[i].Units)
	}
	return n
}

func roundUp(n, multiple int64) int64 { return (n + multiple - 1) / multiple * multiple }
