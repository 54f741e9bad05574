package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// combine writes kernels.Combine for many rows. It takes as many vectors of the output at once as it has registers for, and computes the
// blocks' weights, which are then the same, again for each.
func combine() {
	text("Combine", "func(out *float32, outStride int, parts *float32, rowStride, stride, blocks, rows, dim int)",
		"joins the parts of key blocks, stride bytes apart, into a row of out (dim), a multiple of 16, for each of rows rows, which stand outStride bytes apart in out and rowStride in parts.")
	w := &combineWriter{parts: argument("parts"), stride: argument("stride"), blocks: argument("blocks"), out: GP64(), acc: GP64(), most: register(), exp: newExpUnit()}
	rowOut, outStride, rowStride := argument("out"), argument("outStride"), argument("rowStride")
	dim, rows := argument("dim"), argument("rows")
	loop("row", rows, func() {
		w.largest()
		MOVQ(rowOut, w.out)
		LEAQ(at(w.parts, 8), w.acc)
		left := copied(dim)
		for _, vectors := range pick([]int{8, 4, 1}, []int{4, 1}) {
			again, done := label("again"), label("done")
			Label(again)
			SUBQ(I32(int32(vectors*lanes)), left)
			JLT(LabelRef(done))
			w.chunk(vectors)
			JMP(LabelRef(again))
			Label(done)
			add(vectors*lanes, left)
		}
		ADDQ(outStride, rowOut)
		ADDQ(rowStride, w.parts)
	})
	end()
}

type combineWriter struct {
	parts, stride, blocks reg.GPVirtual
	out                   reg.GPVirtual // the next elements of the output
	acc                   reg.GPVirtual // the same of the first part's weighted sum
	most                  reg.VecVirtual
	exp                   *expUnit
}

// largest finds the largest score of the row.
func (w *combineWriter) largest() {
	most, part, left := XMM(), copied(w.parts), copied(w.blocks)
	VMOVSS(constant(float32(math.Inf(-1))), most)
	loop("max", left, func() {
		v := XMM()
		VMOVSS(at(part, 0), v)
		VMAXSS(most, v, most)
		ADDQ(w.stride, part)
	})
	VBROADCASTSS(most, w.most)
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
		w.exp.emit(weight)
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
