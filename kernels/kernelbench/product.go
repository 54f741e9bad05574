package kernelbench

import (
	"fmt"

	"polynode/kernels"
)

// The matrices of PolyLM-13B: queries, keys and values; the attention's projection; both of the FFN; and the head.
var shapes = [...]struct{ outputs, inputs int }{{15360, 5120}, {5120, 5120}, {20480, 5120}, {5120, 20480}, {256000, 5120}}

// columns are the numbers of tokens that are multiplied together: speculation and batches, then prompts.
var columns = [...]int{2, 3, 4, 6, 8, 16, 32, 64, 128, 256, 512}

var formats = [...]kernels.Format{kernels.Q4, kernels.Q8, kernels.BF16}

// A product is cut as a stage of the model cuts it.
const (
	partsPerWorker = 16
	partMultiplies = 1 << 22
	leaf           = 128
)

// passBytes is what a pass over weights or keys reads at least: more than the caches of most processors.
const passBytes = 64 << 20

// product is a task: part i multiplies a run of panels by all activations.
type product struct {
	m      kernels.Matrix
	x      *kernels.Activations
	out    []int32
	panels int // of one part
}

// Do computes one part.
func (p *product) Do(part int) {
	lo := part * p.panels
	kernels.MulPanels(p.out, p.m.Rows, &p.m, p.x, lo, min(lo+p.panels, kernels.Panels(p.m.Rows)))
}

// newProduct is for matrices of up to so many outputs. Their exponent is so low that nothing is clamped.
func (b *bench) newProduct(f kernels.Format, outputs, inputs, columns int) (*product, error) {
	m, err := kernels.NewMatrix(f, outputs, inputs, leaf, -20, b.buffer.next(kernels.PackedBytes(f, outputs, inputs)))
	if err != nil {
		return nil, err
	}
	p := &product{m: m, x: new(kernels.Activations), out: make([]int32, outputs*columns)}
	p.x.Reset(columns, inputs, leaf)
	for t := range columns {
		fillVector(p.x.Row(t), t)
	}
	p.x.Quantise(0, columns)
	return p, nil
}

// run multiplies by a matrix of so many outputs at the buffer's next place.
func (p *product) run(b *bench, outputs int) {
	panels, panel := kernels.Panels(outputs), kernels.PanelRows*p.m.K*p.x.T()
	p.m.Rows, p.m.Data = outputs, b.buffer.next(panels*p.m.PanelStride)
	p.panels = max(1, min(panels/(partsPerWorker*b.pool.Workers()), partMultiplies/panel))
	b.pool.Run((panels+p.panels-1)/p.panels, p)
}

// fit is how many of the outputs of a matrix the buffer has room for; whole panels.
func (b *bench) fit(f kernels.Format, outputs, inputs int) int {
	panel := kernels.PackedBytes(f, kernels.PanelRows, inputs)
	return min(outputs, max(1, len(b.buffer.data)/panel)*kernels.PanelRows)
}

func (b *bench) gemvCases() (cases []aCase) {
	for _, f := range formats {
		for _, shape := range shapes {
			row := Row{
				Name: fmt.Sprintf("gemv/%s/%dx%d", f, shape.outputs, shape.inputs), Kind: "gemv", Format: f.String(),
				Outputs: b.fit(f, shape.outputs, shape.inputs), Inputs: shape.inputs, Columns: 1,
			}
			cases = append(cases, aCase{row, func(row Row) (Row, error) { return b.gemv(row, f) }})
		}
	}
	return cases
}

// gemv multiplies by one matrix after another; its roof reads as many bytes in as many sections.
func (b *bench) gemv(row Row, f kernels.Format) (Row, error) {
	size := kernels.PackedBytes(f, row.Outputs, row.Inputs)
	count := max(1, min(passBytes, len(b.buffer.data)/2)/size)
	p, err := b.newProduct(f, row.Outputs, row.Inputs, 1)
	if err != nil {
		return row, err
	}
	t := b.times(func() {
		for range count {
			p.run(b, row.Outputs)
		}
	}, func() {
		for range count {
			b.sweep(size)
		}
	})
	rate := rateOf(float64(count*size)/1e9, t.kernel)
	row.Passes, row.GBs, row.Read = len(t.kernel), &rate, t.shareOf(1, 0)
	return row, nil
}

func (b *bench) gemmCases() (cases []aCase) {
	for _, f := range formats {
		for _, n := range columns {
			row := Row{Name: fmt.Sprintf("gemm/%s/t=%d", f, n), Kind: "gemm", Format: f.String(), Inputs: shapes[2].inputs, Columns: n}
			cases = append(cases, aCase{row, func(row Row) (Row, error) { return b.gemm(row, f) }})
		}
	}
	return cases
}

// gemm multiplies by as many rows of the FFN's first matrix as a pass has time for; its roof multiplies in registers.
func (b *bench) gemm(row Row, f kernels.Format) (Row, error) {
	most := b.fit(f, shapes[2].outputs, row.Inputs)
	p, err := b.newProduct(f, most, row.Inputs, row.Columns)
	if err != nil {
		return row, err
	}
	row.Outputs = min(most, kernels.PanelRows*b.pool.Workers())
	for ; row.Outputs < most; row.Outputs = min(most, 2*row.Outputs) {
		if seconds(func() { p.run(b, row.Outputs) }) > passTime.Seconds() {
			break
		}
	}
	t := b.times(func() { p.run(b, row.Outputs) }, b.peakPass)
	ops := 2 * float64(row.Outputs) * float64(row.Inputs) * float64(row.Columns)
	gops, gbs := rateOf(ops/1e9, t.kernel), rateOf(float64(kernels.PackedBytes(f, row.Outputs, row.Inputs))/1e9, t.kernel)
	row.Passes, row.GOPs, row.GBs = len(t.kernel), &gops, &gbs
	if f.Quantised() { // the peak is of 8-bit multiplications
		row.Peak = t.shareOf(b.peakOps()/ops, b.peak/ops)
	}
	return row, nil
}

// fillVector writes numbers between -1 and 1 that look like nothing in particular.
func fillVector(x []float32, seed int) {
	s := uint32(seed)*2654435761 + 1
	for i := range x {
		s = s*1664525 + 1013904223 // Numerical Recipes' generator
		x[i] = float32(int32(s)) / (1 << 31)
	}
}
