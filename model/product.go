package model

import (
	"sync/atomic"

	"polynode/kernels"
)

// partWeights is how many multiply-adds one part of a product should have: long enough to be worth handing out,
// short enough that a slow core does not keep the others waiting.
const partWeights = 1 << 17

// product multiplies the same activations by one or more matrices, whose rows land side by side. It is a pool
// task: each part is a run of panels of one matrix.
type product struct {
	x        *kernels.Activations
	matrices []kernels.Matrix
	out      []int32 // (T, stride)
	stride   int
	panels   int // of one part
	clamps   atomic.Int64
}

// prepare describes the next product and returns the number of its parts.
func (p *product) prepare(out []int32, stride int, x *kernels.Activations, matrices []kernels.Matrix) int {
	p.x, p.matrices, p.out, p.stride = x, matrices, out, stride
	panel := kernels.PanelRows * x.K() * x.T()
	p.panels = max(1, partWeights/max(panel, 1))
	parts := 0
	for i := range matrices {
		parts += p.parts(&matrices[i])
	}
	return parts
}

func (p *product) parts(m *kernels.Matrix) int {
	return (kernels.Panels(m.Rows) + p.panels - 1) / p.panels
}

// Do computes one part.
func (p *product) Do(part int) {
	column := 0
	for i := range p.matrices {
		m := &p.matrices[i]
		parts := p.parts(m)
		if part < parts {
			lo := part * p.panels
			hi := min(lo+p.panels, kernels.Panels(m.Rows))
			if n := kernels.MulPanels(p.out[column:], p.stride, m, p.x, lo, hi); n > 0 {
				p.clamps.Add(int64(n))
			}
			return
		}
		part -= parts
		column += m.Rows
	}
}
