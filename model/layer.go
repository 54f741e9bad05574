package model

import (
	"polynode/kernels"
	"polynode/shard"
)

const panelRows = kernels.PanelRows

// layer is one rank's share of one layer. Heads and Inner may be empty; then the rank adds nothing but zeros.
type layer struct {
	norm1, norm2 norm

	qkv     []kernels.Matrix // three views of (heads*headDim, Embed): Q, K, V
	qkvBias []float32        // (3*heads*headDim)

	attnProj     []kernels.Matrix // one view of (Embed, heads*headDim)
	attnProjBias []float32        // (Embed)

	up     []kernels.Matrix // one view of (inner, Embed)
	upBias []float32        // (inner)

	down     []kernels.Matrix // one view of (Embed, inner)
	downBias []float32        // (Embed)

	// The exponents of the two reduced products; every rank needs them, also one without a slice.
	attnProjExponent, downExponent int

	unverified []piece // slices to verify before the layer is first used
}

// norm is the weight and bias of a LayerNorm, (Embed) each.
type norm struct{ weight, bias []float32 }

// piece is a slice of a packed matrix.
type piece struct {
	name    Name
	rows, k shard.Slice
}

// loader reads a rank's share from a source, writes down what it takes and keeps the first error.
type loader struct {
	src   Source
	specs map[Name]TensorSpec
	err   error
	taken []piece // matrices of the layer that is being read
	all   []Piece // everything, in the order of first use
}

func newLoader(src Source) *loader {
	config := src.Config()
	ld := &loader{src: src, specs: make(map[Name]TensorSpec)}
	for _, spec := range config.Tensors() {
		ld.specs[spec.Name] = spec
	}
	return ld
}

func (ld *loader) vector(name Name) []float32 {
	if ld.err != nil {
		return nil
	}
	var v []float32
	v, ld.err = ld.src.Vector(name)
	spec := ld.specs[name]
	ld.all = append(ld.all, Piece{Name: name, Rows: shard.Slice{Hi: spec.Rows}, K: shard.Slice{Hi: spec.Cols}})
	return v
}

// matrix is the view of rows × k, and none where either is empty.
func (ld *loader) matrix(name Name, rows, k shard.Slice) []kernels.Matrix {
	if ld.err != nil || rows.Len() == 0 || k.Len() == 0 {
		return nil
	}
	var m kernels.Matrix
	if m, ld.err = ld.src.Matrix(name, rows, k); ld.err != nil {
		return nil
	}
	ld.taken = append(ld.taken, piece{name, rows, k})
	ld.all = append(ld.all, Piece{Name: name, Rows: rows, K: k})
	return []kernels.Matrix{m}
}

// exponent is that of a whole matrix, read off its smallest view.
func (ld *loader) exponent(name Name, rows, cols int) int {
	if ld.err != nil {
		return 0
	}
	var m kernels.Matrix
	m, ld.err = ld.src.Matrix(name, shard.Slice{Hi: min(rows, panelRows)}, shard.Slice{Hi: cols})
	return m.Exponent
}

func (ld *loader) norm(weight, bias Name) norm {
	return norm{ld.vector(weight), ld.vector(bias)}
}

// layer reads the share of one layer.
func (ld *loader) layer(c Config, share Share, index int) layer {
	ld.taken = nil
	all := shard.Slice{Hi: c.Embed}
	head := share.Heads.Scale(c.HeadDim())
	l := layer{
		norm1:            ld.norm(Norm1Weight.Of(index), Norm1Bias.Of(index)),
		norm2:            ld.norm(Norm2Weight.Of(index), Norm2Bias.Of(index)),
		attnProj:         ld.matrix(AttnProjWeight.Of(index), all, head),
		attnProjBias:     ld.vector(AttnProjBias.Of(index)),
		attnProjExponent: ld.exponent(AttnProjWeight.Of(index), c.Embed, c.Embed),
		up:               ld.matrix(FFNUpWeight.Of(index), share.Inner, all),
		down:             ld.matrix(FFNDownWeight.Of(index), all, share.Inner),
		downBias:         ld.vector(FFNDownBias.Of(index)),
		downExponent:     ld.exponent(FFNDownWeight.Of(index), c.Embed, c.Inner),
	}
	qkvBias := ld.vector(QKVBias.Of(index))
	upBias := ld.vector(FFNUpBias.Of(index))
	for part := range 3 {
		rows := shard.Slice{Lo: part*c.Embed + head.Lo, Hi: part*c.Embed + head.Hi}
		l.qkv = append(l.qkv, ld.matrix(QKVWeight.Of(index), rows, all)...)
		if ld.err == nil {
			l.qkvBias = append(l.qkvBias, qkvBias[rows.Lo:rows.Hi]...)
		}
	}
	if ld.err == nil {
		l.upBias = upBias[share.Inner.Lo:share.Inner.Hi]
	}
	for _, p := range ld.taken {
		l.unverified = append(l.unverified, cutRows(p)...)
	}
	return l
}

// verifyRows is how many rows of a matrix are verified in one part of a parallel section.
const verifyRows = 1024

// cutRows splits a piece into runs of rows that can be verified side by side.
func cutRows(p piece) []piece {
	var cut []piece
	for lo := p.rows.Lo; lo < p.rows.Hi; lo += verifyRows {
		cut = append(cut, piece{p.name, shard.Slice{Lo: lo, Hi: min(lo+verifyRows, p.rows.Hi)}, p.k})
	}
	return cut
}
