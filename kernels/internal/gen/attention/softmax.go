package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// softmaxUnit is the scores that softmax takes at once: two registers of them.
func softmaxUnit() int { return 2 * size() / 4 }

// softmax writes the function that turns rows of scores into weights: kernels.softmaxPart. It looks for the largest scores of all rows
// first: a row's weights take long to come, and the next row need not wait for them.
func softmax() {
	text("Softmax", "func(part *float32, stride int, scores *float32, keys, step, rows int)",
		"replaces the first keys scores of each row by Exp(score - max) and writes the max and the sum to the row's part; parts are stride bytes apart, rows of scores 512. keys is at least 1, grows by step with each row, and stops at 128. Scores up to the next multiple of 32 are overwritten.")
	w := &softmaxWriter{most: GP64(), units: GP64(), exp: newExpUnit()}
	MOVQ(U32(scoresRow/4), w.most)
	for _, row := range []func(){w.largest, w.weights} {
		w.part, w.scores, w.keys = argument("part"), argument("scores"), argument("keys")
		stride, step, rows := argument("stride"), argument("step"), argument("rows")
		loop("row", rows, func() {
			CMPQ(w.keys, w.most)
			CMOVQGT(w.most, w.keys)
			MOVQ(w.keys, w.units)
			add(softmaxUnit()-1, w.units)
			SHRQ(Imm(uint64(pick(5, 4))), w.units)
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
	units                    reg.GPVirtual // of scores in the row
	exp                      *expUnit
}

// eachUnit calls body with the address of every unit of the row.
func (w *softmaxWriter) eachUnit(name string, body func(from reg.Register)) {
	from, left := copied(w.scores), copied(w.units)
	loop(name, left, func() {
		body(from)
		add(4*softmaxUnit(), from)
	})
}

// largest writes the largest score of a row.
func (w *softmaxWriter) largest() {
	w.fillTail()
	top := registers(2)
	for _, r := range top {
		spread(constant(float32(math.Inf(-1))), r)
	}
	w.eachUnit("max", func(from reg.Register) {
		for i, r := range top {
			v := register()
			VMOVUPS(at(from, i*size()), v)
			VMAXPS(r, v, r) // of two equals or a NaN it takes the old one
		}
	})
	VMAXPS(top[1], top[0], top[0])
	most := horizontal(top[0], func(a, b, dst Op) { VMAXPS(a, b, dst) })
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
	w.eachUnit("exp", func(from reg.Register) {
		x := registers(2)
		for i, r := range x {
			VMOVUPS(at(from, i*size()), r)
			VSUBPS(most, r, r)
		}
		w.exp.emit(x...)
		for i, r := range x {
			VADDPS(r, sums[i%parts()], sums[i%parts()])
			VMOVUPS(r, at(from, i*size()))
		}
	})
	sum := sums[0]
	if !wide() { // the first step of the tree
		VADDPS(sums[1], sum, sum)
	}
	VMOVSS(horizontal(sum, func(a, b, dst Op) { VADDPS(a, b, dst) }), at(w.part, 4))
}

// fillTail puts -Inf behind the row's last score, up to a whole unit: it does not count in the max, and its weight is 0 or, where the
// row's own weights are all NaN, a NaN.
func (w *softmaxWriter) fillTail() {
	whole := label("whole")
	tail, to := copied(w.keys), GP64()
	ANDQ(Imm(uint64(softmaxUnit()-1)), tail)
	JZ(LabelRef(whole))
	offset := copied(w.units)
	SHLQ(Imm(uint64(pick(7, 6))), offset)
	LEAQ(Mem{Base: w.scores, Index: offset, Scale: 1, Disp: -4}, to)
	next := label("fill")
	Label(next)
	MOVL(U32(math.Float32bits(float32(math.Inf(-1)))), at(to, 0))
	SUBQ(Imm(4), to)
	INCQ(tail)
	CMPQ(tail, Imm(uint64(softmaxUnit())))
	JNE(LabelRef(next))
	Label(whole)
}

// spread puts the float32 at m into every lane.
func spread(m Mem, r reg.VecVirtual) { VBROADCASTSS(m, r) }

// horizontal folds a register by op in the order l+8 (in AVX2 that is done), l+4, l+2, l+1 into lane 0.
func horizontal(v reg.VecVirtual, op func(a, b, dst Op)) reg.VecVirtual {
	upper := v
	if wide() {
		upper = YMM()
		VEXTRACTF64X4(Imm(1), v, upper)
		op(upper, v.AsY(), upper)
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
