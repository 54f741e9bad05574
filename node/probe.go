package node

import (
	"time"

	"polynode/cluster/trust"
	"polynode/kernels"
	"polynode/kernels/pool"
)

// Sizes of the probe that a node makes of itself when it starts. It takes about a tenth of a second.
const (
	probeBytes  = 128 << 20
	probeRounds = 3
)

// probe measures what the threads of this node do together: bytes read from memory, and operations in products of many rows, each a second.
func probe(threads *pool.Pool) (bytesPerSecond, opsPerSecond int64) {
	s := &sweepTask{pool: threads}
	data := make([]byte, probeBytes)
	for i := 0; i < len(data); i += 4096 {
		data[i] = 1 // so that every page is there
	}
	s.add(data)
	return rateOf(s.measure(), trust.BytesPerSecondMax), rateOf(multiplyProbe(threads), trust.OpsPerSecondMax)
}

// rateOf is a rate in whole numbers, as long as any machine has it: where a clock stands still there is no end to rates.
func rateOf(rate, most float64) int64 { return int64(min(rate, most)) }

// multiplyProbe multiplies a matrix in q4 by many rows on every thread, the best of some rounds.
func multiplyProbe(threads *pool.Pool) float64 {
	task, ops, err := newProbeProduct(threads.Workers())
	if err != nil {
		return 0
	}
	best := 0.0
	for range probeRounds {
		start := time.Now()
		threads.Run(task.parts, task)
		best = max(best, ops/time.Since(start).Seconds())
	}
	return best
}

// probeProduct is one product in as many parts as keep all threads busy.
type probeProduct struct {
	matrix kernels.Matrix
	x      kernels.Activations
	out    []int32
	parts  int
}

const (
	probeRows    = 1024
	probeInputs  = 1024
	probeLeaf    = 128
	probeColumns = 64
)

func newProbeProduct(workers int) (*probeProduct, float64, error) {
	p := &probeProduct{parts: kernels.Panels(probeRows), out: make([]int32, probeRows*probeColumns)}
	size := kernels.Panels(probeRows) * kernels.Blocks(probeInputs) * kernels.Q4.BlockBytes()
	var err error
	p.matrix, err = kernels.NewMatrix(kernels.Q4, probeRows, probeInputs, probeLeaf, 0, make([]byte, size))
	if err != nil {
		return nil, 0, err
	}
	p.x.Reset(probeColumns, probeInputs, probeLeaf)
	p.x.Quantise(0, probeColumns)
	return p, 2 * probeRows * probeInputs * probeColumns, nil
}

// Do multiplies one panel.
func (p *probeProduct) Do(part int) {
	kernels.MulPanels(p.out, probeRows, &p.matrix, &p.x, part, part+1)
}
