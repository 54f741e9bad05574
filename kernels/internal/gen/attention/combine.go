package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// combine writes kernels.Combine. It takes as many vectors of the output at once as it has registers for, and computes the blocks'
// weights, which are then the same, again for each.
func combine() {
	text("Combine", "func(out, parts *float32, stride, blocks, dim int)",
		"joins the parts of key blocks, stride bytes apart, into out (dim), a multiple of 16.")
	w := &combineWriter{out: argument("out"), parts: argument("parts"), stride: argument("stride"), blocks: argument("blocks")}
	dim := argument("dim")
	w.most = register()
	most, part, left := XMM(), copied(w.parts), copied(w.blocks)
	VMOVSS(constant(float32(math.Inf(-1))), most)
	loop("max", left, func() {
		v := XMM()
		VMOVSS(at(part, 0), v)
		VMAXSS(most, v, most)
		ADDQ(w.stride, part)
	})
	VBROADCASTSS(most, w.most)
	w.acc = copied(w.parts)
	add(8, w.acc)

	for _, vectors := range pick([]int{8, 4, 1}, []int{4, 1}) {
		again, done := label("again"), label("done")
		Label(again)
		CMPQ(dim, U32(uint32(vectors*lanes)))
		JLT(LabelRef(done))
		w.chunk(vectors)
		SUBQ(U32(uint32(vectors*lanes)), dim)
		JMP(LabelRef(again))
		Label(done)
	}
	end()
}

type combineWriter struct {
	out, parts, stride, blocks reg.GPVirtual
	acc                        reg.GPVirtual // the next element of the first part's weighted sum
	most                       reg.VecVirtual
}

// chunk computes the next elements of the output.
func (w *combineWriter) chunk(vectors int) {
	sums, sum := registers(vectors*parts()), register()
	for _, r := range append(sums[:len(sums):len(sums)], sum) {
		zero(r)
	}
	part, acc, left := copied(w.parts), copied(w.acc), copied(w.blocks)
	loop("block", left, func() {
		weight, l := register(), register()
		spread(at(part, 0), weight)
		VSUBPS(w.most, weight, weight)
		exp(weight)
		spread(at(part, 4), l)
		VMULPS(weight, l, l)
		VADDPS(l, sum, sum)
		for i, r := range sums {
			product := register()
			VMULPS(at(acc, i*size()), weight, product)
			VADDPS(product, r, r)
		}
		ADDQ(w.stride, part)
		ADDQ(w.stride, acc)
	})
	for i, r := range sums {
		VDIVPS(sum, r, r)
		VMOVUPS(r, at(w.out, i*size()))
	}
	add(vectors*vectorSize, w.acc)
	add(vectors*vectorSize, w.out)
}
