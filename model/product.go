package model

import (
	"sync/atomic"

	"polynode/kernels"
)

// A part of a product is worth handing out, and so short that a slow core does not keep the others waiting: a worker should have
// partsPerWorker of them, and none more than partMultiplies multiply-adds, some tens of microseconds. With many rows, where one panel is
// already longer than that, up to partPanels share the rows that lie in the cache.
const (
	partsPerWorker = 32
	partMultiplies = 1 << 22
	partPanels     = 4
)

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
func (p *product) prepare(out []int32, stride int, x *kernels.Activations, matrices []kernels.Matrix, workers int) int {
	p.x, p.matrices, p.out, p.stride = x, matrices, out, stride
	total, parts := 0, 0
	for i := range matrices {
		total += kernels.Panels(matrices[i].Rows)
	}
	panel := kernels.PanelRows * x.K() * x.T()
	p.panels = max(1, min(total/(partsPerWorker*workers), max(partPanels, partMultiplies/max(panel, 1))))
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
