package main

import (
	"math"

	. "polynode/kernels/internal/gen/neon/a64"
)

// larger makes d the larger of d and n in each lane, d where either is a NaN. It changes temp.
func larger(fn *Func, d, n, temp int) {
	fn.V(FCMGT, temp, n, d)
	fn.V(BIT, d, n, temp)
}

// Registers of softmax beside those of Exp, which has V0-V9 here.
const (
	softSum = 10 // V10-V13: 16 lanes
	softMax = 14
)

// softmax makes what lies behind the last score -Inf first. Such an element gives +0 to the sum; or a NaN where the largest score is
// -Inf, but then all the others give one too.
func softmax(file *File) {
	fn := expOf{file.Func("Softmax", `replaces the first keys scores of each row by Exp(score - max) and writes the max and the sum to the row's part; parts
		are stride bytes apart, rows of scores 512. keys is at least 1, grows by step with each row, and stops at 128. Scores up to the next multiple of 16 are overwritten.`,
		[]string{"part *float32", "stride int", "scores *float32", "keys int", "step int", "rows int"})}
	fn.Args("part R0", "stride R1", "scores R2", "keys R3", "step R4", "rows R5")
	fn.constants()
	fn.Label("row")
	fn.I("CMP $128, R3")
	fn.I("MOVD $128, R6")
	fn.I("CSEL LT, R3, R6, R3")
	padScores(fn.Func)
	largestScore(fn.Func)
	weighScores(fn)
	fn.I("ADD R1, R0")
	fn.I("ADD $%d, R2", scoresBytes)
	fn.I("ADD R4, R3")
	fn.I("SUBS $1, R5")
	fn.I("BNE row")
	fn.Return()
}

// largestScore writes the largest of the R9 scores at R2, of R3 made a multiple of 16, to the part at R0 and all lanes of softMax.
func largestScore(fn *Func) {
	fn.I("ADD $15, R3, R9")
	fn.I("AND $-16, R9, R9")
	fn.I("MOVD R9, R10")
	fn.I("MOVD R2, R11")
	set(fn, softMax, float32(math.Inf(-1)))
	for v := range 3 {
		fn.V(MOV, 4+v, softMax)
	}
	fn.Label("largest")
	fn.LoadQ("R11", 0, run(0, 4)...)
	for v, m := range []int{softMax, 4, 5, 6} {
		larger(fn, m, v, 7+v%2)
	}
	fn.I("ADD $64, R11")
	fn.I("SUBS $16, R10")
	fn.I("BNE largest")
	for _, v := range []int{4, 5, 6} {
		larger(fn, softMax, v, 7)
	}
	for lane := 1; lane < 4; lane++ {
		fn.V(DUP, lane, softMax, lane)
	}
	for lane := 1; lane < 4; lane++ {
		larger(fn, softMax, lane, 7)
	}
	fn.V(DUP, softMax, softMax, 0)
	fn.V(MOVZERO, 0)
	fn.V(FADD, softMax, softMax, 0) // +0 for -0
	fn.I("FMOVS F%d, (R0)", softMax)
}

// weighScores replaces the R9 scores at R2 by their weights and writes the sum of these to the part at R0.
func weighScores(fn expOf) {
	for v := range 4 {
		fn.V(MOVZERO, softSum+v)
	}
	fn.I("MOVD R2, R11")
	loop(fn.Func, "exp", 16, func() {
		for half := range 2 {
			fn.LoadQ("R11", 32*half, 0, 1)
			fn.V(FSUB, 0, 0, softMax)
			fn.V(FSUB, 1, 1, softMax)
			fn.exp(expRegs{0, 2, 4, 6, 8}, expRegs{1, 3, 5, 7, 9})
			fn.StoreQ("R11", 32*half, 2, 3)
			fn.V(FADD, softSum+2*half, softSum+2*half, 2)
			fn.V(FADD, softSum+2*half+1, softSum+2*half+1, 3)
		}
		fn.I("ADD $64, R11")
	}, nil)
	halfTree(fn.Func, softSum)
	fn.V(DUP2D, 0, softSum, 1)
	fn.V(FADD, 0, 0, softSum)
	fn.V(FADDP, 0, 0, 0)
	fn.I("FMOVS F0, 4(R0)")
}

// padScores sets the scores behind the R3 ones at R2, up to a multiple of 16, to -Inf.
func padScores(fn *Func) {
	fn.I("MOVD $%#x, R6", math.Float32bits(float32(math.Inf(-1))))
	fn.I("ADD R3<<2, R2, R7")
	fn.I("MOVD R3, R8")
	fn.I("B padded")
	fn.Label("pad")
	fn.I("MOVW.P R6, 4(R7)")
	fn.I("ADD $1, R8")
	fn.Label("padded")
	fn.I("TST $15, R8")
	fn.I("BNE pad")
}

// combine gives a row's weights and sums one register each, all lanes alike, and keeps the output in memory between the blocks.
func combine(file *File) {
	fn := expOf{file.Func("Combine", `joins the parts of blocks key blocks, stride bytes apart, into a row of out (dim), a multiple of 16, for each of
		rows rows, which stand outStride bytes apart in out and rowStride in parts.`,
		[]string{"out *float32", "outStride int", "parts *float32", "rowStride int", "stride int", "blocks int", "rows int", "dim int"})}
	fn.Args("out R20", "outStride R21", "parts R22", "rowStride R23", "stride R2", "blocks R24", "rows R25", "dim R4")
	fn.constants()
	fn.Label("row")
	fn.I("MOVD R20, R0")
	fn.I("MOVD R22, R1")
	fn.I("MOVD R24, R3")
	combineRow(fn)
	fn.I("ADD R21, R20")
	fn.I("ADD R23, R22")
	fn.I("SUBS $1, R25")
	fn.I("BNE row")
	fn.Return()
}

// combineRow joins the R3 parts at R1, R2 bytes apart, into the R4 elements at R0.
func combineRow(fn expOf) {
	const m, sum = 10, 11
	set(fn.Func, m, float32(math.Inf(-1)))
	fn.I("MOVD R1, R5")
	fn.I("MOVD R3, R9")
	fn.Label("largest")
	fn.I("FMOVS (R5), F0")
	larger(fn.Func, m, 0, 1)
	fn.I("ADD R2, R5")
	fn.I("SUBS $1, R9")
	fn.I("BNE largest")

	for _, v := range []int{sum, 4, 5, 6, 7} {
		fn.V(MOVZERO, v)
	}
	fn.I("MOVD R0, R5")
	fn.I("MOVD R4, R9")
	loop(fn.Func, "clear", 16, func() { fn.StoreQ("R5", 0, run(4, 4)...) }, map[string]int{"R5": 4})

	fn.Label("block")
	fn.I("FMOVS (R1), F0")
	fn.V(FSUB, 0, 0, m)
	fn.exp(expRegs{0, 12, 2, 3, 4})
	fn.I("FMOVS 4(R1), F0")
	fn.V(FMUL, 0, 0, 12)
	fn.V(FADD, sum, sum, 0)
	fn.I("ADD $8, R1, R6")
	fn.I("MOVD R0, R5")
	fn.I("MOVD R4, R9")
	loop(fn.Func, "weigh", 16, func() {
		fn.LoadQ("R6", 0, run(0, 4)...)
		fn.LoadQ("R5", 0, run(4, 4)...)
		for v := range 4 {
			fn.V(FMULI, v, v, 12, 0)
			fn.V(FADD, 4+v, 4+v, v)
		}
		fn.StoreQ("R5", 0, run(4, 4)...)
		fn.I("ADD $64, R6")
	}, map[string]int{"R5": 4})
	fn.I("ADD R2, R1")
	fn.I("SUBS $1, R3")
	fn.I("BNE block")

	fn.V(DUP, sum, sum, 0)
	fn.I("MOVD R4, R9")
	loop(fn.Func, "divide", 16, func() {
		fn.LoadQ("R0", 0, run(0, 4)...)
		for v := range 4 {
			fn.V(FDIV, v, v, sum)
		}
		fn.StoreQ("R0", 0, run(0, 4)...)
	}, map[string]int{"R0": 4})
}
