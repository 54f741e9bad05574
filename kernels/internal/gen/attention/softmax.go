package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// softmax writes the function that turns rows of scores into weights: kernels.softmaxPart. It looks for the largest scores of all rows
// first: a row's weights take long to come, and the next row need not wait for them.
func softmax() {
	text("Softmax", "func(part *float32, stride int, scores *float32, keys, step, rows int)",
		"replaces the first keys scores of each row by Exp(score - max) and writes the max and the sum to the row's part; parts are stride bytes apart, rows of scores 512. keys is at least 1, grows by step with each row, and stops at 128. Scores up to the next multiple of 16 are overwritten.")
	w := &softmaxWriter{most: GP64(), vectors: GP64(), exp: newExpUnit()}
	MOVQ(U32(scoresRow/4), w.most)
	for _, row := range []func(){w.largest, w.weights} {
		w.part, w.scores, w.keys = argument("part"), argument("scores"), argument("keys")
		stride, step, rows := argument("stride"), argument("step"), argument("rows")
		loop("row", rows, func() {
			CMPQ(w.keys, w.most)
			CMOVQGT(w.most, w.keys)
			MOVQ(w.keys, w.vectors)
			add(lanes-1, w.vectors)
			SHRQ(Imm(4), w.vectors)
			row()
			ADDQ(stride, w.part)
			add(scoresRow, w.scores)
			ADDQ(step, w.keys)
		})
	}
	end()
}

type softmaxWriter struct {
	part, scores, keys, most reg.GPVirtual
	vectors                  reg.GPVirtual // of 16 scores in the row
	exp                      *expUnit
}

// eachVector calls body with the address of every vector of the row.
func (w *softmaxWriter) eachVector(name string, body func(from reg.Register)) {
	from, left := copied(w.scores), copied(w.vectors)
	loop(name, left, func() {
		body(from)
		add(vectorSize, from)
	})
}

// largest writes the largest score of a row.
func (w *softmaxWriter) largest() {
	w.fillTail()
	top := registers(parts())
	for _, r := range top {
		spread(constant(float32(math.Inf(-1))), r)
	}
	w.eachVector("max", func(from reg.Register) {
		for i, r := range top {
			v := register()
			VMOVUPS(at(from, i*size()), v)
			VMAXPS(r, v, r) // of two equals or a NaN it takes the old one
		}
	})
	most := horizontal(top, func(a, b, dst Op) { VMAXPS(a, b, dst) })
	zeros := XMM()
	VXORPS(zeros, zeros, zeros)
	VADDSS(zeros, most, most)
	VMOVSS(most, at(w.part, 0))
}

// weights replaces the scores of a row and writes the sum.
func (w *softmaxWriter) weights() {
	most, sums := register(), registers(parts())
	spread(at(w.part, 0), most)
	for _, r := range sums {
		zero(r)
	}
	w.eachVector("exp", func(from reg.Register) {
		for i, sum := range sums {
			x := register()
			VMOVUPS(at(from, i*size()), x)
			VSUBPS(most, x, x)
			w.exp.emit(x)
			VADDPS(x, sum, sum)
			VMOVUPS(x, at(from, i*size()))
		}
	})
	VMOVSS(horizontal(sums, func(a, b, dst Op) { VADDPS(a, b, dst) }), at(w.part, 4))
}

// fillTail puts -Inf behind the row's last score, up to a whole vector: it does not count in the max, and its weight is 0 or, where the
// row's own weights are all NaN, a NaN.
func (w *softmaxWriter) fillTail() {
	whole := label("whole")
	tail, to := copied(w.keys), GP64()
	ANDQ(Imm(lanes-1), tail)
	JZ(LabelRef(whole))
	offset := copied(w.vectors)
	SHLQ(Imm(6), offset)
	LEAQ(Mem{Base: w.scores, Index: offset, Scale: 1, Disp: -4}, to)
	next := label("fill")
	Label(next)
	MOVL(U32(math.Float32bits(float32(math.Inf(-1)))), at(to, 0))
	SUBQ(Imm(4), to)
	INCQ(tail)
	CMPQ(tail, Imm(lanes))
	JNE(LabelRef(next))
	Label(whole)
}

// spread puts the float32 at m into every lane.
func spread(m Mem, r reg.VecVirtual) { VBROADCASTSS(m, r) }

// horizontal folds 16 lanes by op in the order l+8, l+4, l+2, l+1 into lane 0.
func horizontal(v []reg.VecVirtual, op func(a, b, dst Op)) reg.VecVirtual {
	eight := v[0].AsY()
	upper := YMM()
	if wide() {
		VEXTRACTF64X4(Imm(1), v[0], upper)
		op(upper, eight, upper)
	} else {
		op(v[1], eight, upper)
	}
	four, two, one := XMM(), XMM(), XMM()
	VEXTRACTF128(Imm(1), upper, four)
	op(upper.AsX(), four, four)
	VPERMILPD(Imm(1), four, two)
	op(four, two, two)
	VMOVSHDUP(two, one)
	op(two, one, one)
	return one
}
