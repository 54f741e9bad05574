package main

import . "polynode/kernels/internal/gen/neon/a64"

// unpackers dequantise one row of a panel: its four k's of each group are 64 bytes behind those of the group before.
func unpackers() *File {
	file := NewFile("neon", "unpack")
	fn := file.Func("UnpackQ8", "dequantises row lane of blocks blocks of a panel: the embedding lookup.",
		[]string{"dst *float32", "panel *byte", "lane int", "blocks int"})
	fn.Args("dst R0", "panel R1", "lane R3", "blocks R9")
	fn.I("MOVW $128, R7")
	fn.V(DUPB, 16, 7)
	rowPointers(fn)
	loop(fn, "block", 1, func() {
		rowScale(fn)
		gather(fn, 3, 0)
		gather(fn, 7, 4)
		for _, v := range []int{3, 7} {
			fn.V(EOR, v, v, 16) // w+128 as an unsigned byte is w as a signed one but for its top bit
		}
		scaleQuants(fn)
	}, map[string]int{"R0": 128, "R1": 544, "R2": 544})
	fn.Return()

	fn = file.Func("UnpackQ4", "dequantises row lane of blocks blocks of a panel, whose quants are numbers of 16 levels.",
		[]string{"dst *float32", "panel *byte", "levels *int8", "lane int", "blocks int"})
	fn.Args("dst R0", "panel R1", "levels R4", "lane R3", "blocks R9")
	fn.LoadQ("R4", 0, 17)
	fn.I("MOVW $15, R7")
	fn.V(DUPB, 16, 7)
	rowPointers(fn)
	loop(fn, "block", 1, func() {
		rowScale(fn)
		gather(fn, 3, 0)
		fn.V(USHR8, 7, 3, 4)
		fn.V(AND, 3, 3, 16)
		for _, v := range []int{3, 7} {
			fn.V(TBL, v, 17, v)
		}
		scaleQuants(fn)
	}, map[string]int{"R0": 128, "R1": 288, "R2": 288})
	fn.Return()
	return file
}

// rowPointers makes R2 the address of the row's scale in the first block of R1, and R1 that of its quants. It changes R3.
func rowPointers(fn *Func) {
	fn.I("ADD R3<<1, R1, R2")
	fn.I("ADD R3<<2, R1, R1")
	fn.I("ADD $32, R1")
}

// rowScale widens the row's scale into V8.
func rowScale(fn *Func) {
	fn.I("MOVHU (R2), R7")
	fn.I("FMOVS R7, F8")
	fn.V(FCVTL, 8, 8)
}

// gather loads the row's quants of four groups into a register.
func gather(fn *Func, d, group int) {
	for g := range 4 {
		fn.I("MOVWU %d(R1), R7", 64*(group+g))
		fn.I("VMOV R7, V%d.S[%d]", d, g)
	}
}

// scaleQuants writes the 32 int8 of V3 and V7, times the scale.
func scaleQuants(fn *Func) {
	widenQuants(fn, 3)
	widenQuants(fn, 7)
	for v := range 8 {
		fn.V(FMULI, v, v, 8, 0)
	}
	fn.StoreQ("R0", 0, run(0, 8)...)
}
