package main

import (
	"math"

	. "polynode/kernels/internal/gen/neon/a64"
)

// Registers of what quantises 32 floats, in V0-V7.
const (
	qAmax, qInv, qScale = 8, 9, 10
	qTemp               = 11 // V11-V14
	qLow, qHigh, qMost  = 20, 21, 22
	qOne, qNaN, qSign   = 23, 24, 25
	qOnes               = 26 // bytes
)

func quantisers() *File {
	file := NewFile("neon", "quantise")
	quantise(file)
	storeGroups(file)
	loadGroups(file)
	halves(file)
	return file
}

func quantConstants(fn *Func) {
	set(fn, qLow, -127)
	set(fn, qHigh, 127)
	set(fn, qMost, math.MaxFloat32)
	set(fn, qOne, 1)
	setBits(fn, qNaN, 0x7fc00000)
	setBits(fn, qSign, 0x80000000)
}

// magnitudes raises each lane of qAmax to the largest magnitude, as bits, of that lane of V0-V7: a NaN is above all.
func magnitudes(fn *Func) {
	for v := 0; v < 8; v += 2 {
		a, b := qTemp+v%4, qTemp+v%4+1
		fn.V(FABS, a, v)
		fn.V(FABS, b, v+1)
		fn.V(UMAX, a, a, b)
		fn.V(UMAX, qAmax, qAmax, a)
	}
}

// spreadLargest puts the largest lane of qAmax in all of them.
func spreadLargest(fn *Func) {
	fn.V(UMAXV, qAmax, qAmax)
	fn.V(DUP, qAmax, qAmax, 0)
}

// finite makes qInv zero where it is infinite or NaN.
func finite(fn *Func) {
	fn.V(FCMGE, qTemp, qMost, qInv)
	fn.V(AND, qInv, qInv, qTemp)
}

// narrow turns V0-V7, times qInv, into 32 int8 in V0 and V1. A NaN becomes -127.
func narrow(fn *Func) {
	for v := range 8 {
		fn.V(FMUL, v, v, qInv)
		fn.V(FMAXNM, v, v, qLow)
		fn.V(FMINNM, v, v, qHigh)
		fn.V(FCVTNS, v, v)
	}
	for v := 0; v < 8; v += 2 {
		fn.V(UZP1H, v, v, v+1)
	}
	fn.V(UZP1B, 0, 0, 2)
	fn.V(UZP1B, 1, 4, 6)
}

// quantise goes through a leaf twice, the second time while it is in the first cache.
func quantise(file *File) {
	fn := file.Func("Quantise", `quantises leaves of perLeaf blocks of 32 floats to int8, and perhaps a shorter last one, as Activations.Quantise does.
		There are blocks blocks in all. From one block to the next quants, sums and starts (-128 times the sums) go by stride of their elements,
		and scales from one leaf to the next.`,
		[]string{"quant *int8", "scale *float32", "sum *int32", "start *int32", "x *float32", "blocks int", "perLeaf int", "stride int"})
	fn.Args("quant R0", "scale R1", "sum R2", "start R3", "x R4", "stride R5", "perLeaf R8", "blocks R9")
	fn.I("LSL $2, R5, R6")
	fn.I("LSL $5, R5, R5")
	quantConstants(fn)
	fn.I("MOVW $1, R7")
	fn.V(DUPB, qOnes, 7)
	fn.Label("leaf")
	fn.I("CMP R8, R9")
	fn.I("CSEL LT, R9, R8, R10")
	fn.V(MOVZERO, qAmax)
	fn.I("MOVD R4, R11")
	fn.I("MOVD R10, R12")
	fn.Label("largest")
	fn.LoadQ("R11", 0, run(0, 8)...)
	magnitudes(fn)
	fn.I("ADD $128, R11")
	fn.I("SUBS $1, R12")
	fn.I("BNE largest")
	spreadLargest(fn)
	fn.Note("one division for both: amax/127 in lane 0, 127/amax in lane 1")
	fn.V(ZIP1, qScale, qAmax, qHigh)
	fn.V(ZIP1, qInv, qHigh, qAmax)
	fn.V(FDIV, qScale, qScale, qInv)
	fn.V(DUP, qInv, qScale, 1)
	finite(fn)
	fn.I("FMOVS F%d, (R1)", qScale)
	fn.I("ADD R6, R1")
	fn.I("SUB R10, R9")
	fn.Label("block")
	fn.LoadQ("R4", 0, run(0, 8)...)
	narrow(fn)
	fn.StoreQ("R0", 0, 0, 1)
	fn.V(MOVZERO, qTemp)
	fn.V(SDOT, qTemp, 0, qOnes)
	fn.V(SDOT, qTemp, 1, qOnes)
	fn.V(ADDV, qTemp, qTemp)
	fn.I("FMOVS F%d, R7", qTemp)
	fn.I("MOVW R7, (R2)")
	fn.I("NEG R7<<7, R7")
	fn.I("MOVW R7, (R3)")
	fn.I("ADD R5, R0")
	fn.I("ADD R6, R2")
	fn.I("ADD R6, R3")
	fn.I("ADD $128, R4")
	fn.I("SUBS $1, R10")
	fn.I("BNE block")
	fn.I("CBNZ R9, leaf")
	fn.Return()
}

// toHalf narrows the floats of a register to float16 in d; all NaNs of a sign become one. It changes temp and temp+1.
func toHalf(fn *Func, op Op, d, n, temp int) {
	fn.V(FCMEQ, temp, n, n)
	fn.V(AND, temp+1, n, qSign)
	fn.V(ORR, temp+1, temp+1, qNaN)
	fn.V(BIF, n, temp+1, temp)
	fn.V(op, d, n)
}

func storeGroups(file *File) {
	fn := file.Func("StoreGroups", "stores groups of 32 values in int8 under one float16 scale each, as KV.Store does in KVQ8.",
		[]string{"dst *byte", "scales *byte", "src *float32", "groups int"})
	fn.Args("dst R0", "scales R1", "src R2", "groups R9")
	quantConstants(fn)
	loop(fn, "group", 1, func() {
		fn.LoadQ("R2", 0, run(0, 8)...)
		fn.V(MOVZERO, qAmax)
		magnitudes(fn)
		spreadLargest(fn)
		fn.V(FDIV, qScale, qAmax, qHigh)
		toHalf(fn, FCVTN, qScale, qScale, qTemp)
		fn.I("FMOVS F%d, R7", qScale)
		fn.I("MOVH R7, (R1)")
		fn.V(FCVTL, qScale, qScale)
		fn.V(FDIV, qInv, qOne, qScale)
		finite(fn)
		narrow(fn)
		fn.StoreQ("R0", 0, 0, 1)
	}, map[string]int{"R0": 32, "R1": 2, "R2": 128})
	fn.Return()
}

// widenQuants turns 16 int8 of a register into four registers of float32; from is the last of them.
func widenQuants(fn *Func, from int) {
	fn.V(SXTL8, from-2, from)
	fn.V(SXTL8H, from, from)
	fn.V(SXTL, from-3, from-2)
	fn.V(SXTL2, from-2, from-2)
	fn.V(SXTL, from-1, from)
	fn.V(SXTL2, from, from)
	for v := from - 3; v <= from; v++ {
		fn.V(SCVTF, v, v)
	}
}

func loadGroups(file *File) {
	fn := file.Func("LoadGroups", "widens groups of 32 values in int8 under one float16 scale each.",
		[]string{"dst *float32", "src *byte", "scales *byte", "groups int"})
	fn.Args("dst R0", "src R1", "scales R2", "groups R9")
	loop(fn, "group", 1, func() {
		fn.LoadQ("R1", 0, 3, 7)
		fn.I("MOVHU (R2), R7")
		fn.I("FMOVS R7, F8")
		fn.V(FCVTL, 8, 8)
		widenQuants(fn, 3)
		widenQuants(fn, 7)
		for v := range 8 {
			fn.V(FMULI, v, v, 8, 0)
		}
		fn.StoreQ("R0", 0, run(0, 8)...)
	}, map[string]int{"R0": 128, "R1": 32, "R2": 2})
	fn.Return()
}

func halves(file *File) {
	fn := file.Func("StoreHalves", "narrows src to float16, to nearest even. n is a multiple of 16, and not zero.",
		[]string{"dst *byte", "src *float32", "n int"})
	fn.Args("dst R0", "src R1", "n R9")
	quantConstants(fn)
	loop(fn, "sixteen", 16, func() {
		fn.LoadQ("R1", 0, run(0, 4)...)
		toHalf(fn, FCVTN, 4, 0, qTemp)
		toHalf(fn, FCVTN2, 4, 1, qTemp+2)
		toHalf(fn, FCVTN, 5, 2, qTemp)
		toHalf(fn, FCVTN2, 5, 3, qTemp+2)
		fn.StoreQ("R0", 0, 4, 5)
	}, map[string]int{"R0": 2, "R1": 4})
	fn.Return()

	fn = file.Func("LoadHalves", "widens float16 values. n is a multiple of 16, and not zero.",
		[]string{"dst *float32", "src *byte", "n int"})
	fn.Args("dst R0", "src R1", "n R9")
	loop(fn, "sixteen", 16, func() {
		fn.LoadQ("R1", 0, 4, 5)
		fn.V(FCVTL, 0, 4)
		fn.V(FCVTL2, 1, 4)
		fn.V(FCVTL, 2, 5)
		fn.V(FCVTL2, 3, 5)
		fn.StoreQ("R0", 0, run(0, 4)...)
	}, map[string]int{"R0": 4, "R1": 2})
	fn.Return()
}
