package kernelbench

import (
	"fmt"

	"polynode/kernels"
)

// The widths of PolyLM-13B.
const (
	width      = 5120
	innerWidth = 20480
)

// vectorElements is what a pass takes at least: some hundred microseconds.
const vectorElements = 1 << 18

func (b *bench) vectorCases() (cases []aCase) {
	for _, c := range []struct {
		name string
		n    int
		run  func(v *vectors)
	}{
		{"layernorm", width, func(v *vectors) { kernels.LayerNorm(v.out, v.in, v.weight, v.bias, 1e-5) }},
		{"gelu", innerWidth, func(v *vectors) { copy(v.out, v.in); kernels.GELU(v.out) }},
		{"quantise", width, func(v *vectors) { v.x.Quantise(0, 1) }},
		{"norm+quantise", width, func(v *vectors) { v.x.SetNorm(0, v.in, v.weight, v.bias, 1e-5) }},
		{"sums+gelu+quantise", innerWidth, func(v *vectors) { v.x.SetGELU(0, 0, v.sums, 24, v.bias, false) }},
		{"add", width, func(v *vectors) { kernels.Add(v.out, v.in) }},
	} {
		row := Row{Name: fmt.Sprintf("vector/%s/%d", c.name, c.n), Kind: "vector", Inputs: c.n}
		cases = append(cases, aCase{row, func(row Row) (Row, error) { return b.vector(row, c.run), nil }})
	}
	return cases
}

// vectors are what the operations on one row of activations read and write; they fit in a core's caches.
type vectors struct {
	in, out, weight, bias []float32
	sums                  []int32 // of a product, with exponent 24
	x                     kernels.Activations
}

// vector runs an operation on the calling thread alone, as one token's row does.
func (b *bench) vector(row Row, run func(*vectors)) Row {
	v := &vectors{sums: make([]int32, row.Inputs)}
	for i, x := range []*[]float32{&v.in, &v.out, &v.weight, &v.bias} {
		*x = make([]float32, row.Inputs)
		fillVector(*x, i)
	}
	for i, x := range v.in {
		v.sums[i] = int32(x * (1 << 24))
	}
	v.x.Reset(1, row.Inputs, leaf)
	copy(v.x.Row(0), v.in)
	count := (vectorElements + row.Inputs - 1) / row.Inputs
	t := b.times(func() {
		for range count {
			run(v)
		}
	}, nil)
	elements := float64(count * row.Inputs)
	row.Passes, row.Each = len(t.kernel), &Rate{1e9 * t.kernel[0] / elements, 1e9 * t.kernel[len(t.kernel)/2] / elements}
	return row
}
