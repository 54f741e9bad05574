package main

import (
	"fmt"

	. "polynode/kernels/internal/gen/neon/a64"
)

// Registers of the float products.
const (
	floatAccs  = 0  // V0-V15: the sums of a leaf, four a column
	floatIn    = 16 // V16-V19: four k's of each column
	floatW     = 20 // V20-V23: the weights of 16 rows for one k
	floatPairs = 24 // V24-V27: bfloat16 weights of two k's
	floatTemp  = 28 // V28 and V29
	oddMask    = 30
)

func floatProducts() *File {
	file := NewFile("neon", "product_float")
	for _, bf16 := range []bool{false, true} {
		for _, cols := range []int{1, 2, 4} {
			floatProduct(file, bf16, cols)
		}
	}
	return file
}

// floatProduct writes the product of a run of blocks of a panel of floats with some columns.
func floatProduct(file *File, bf16 bool, cols int) {
	name := map[bool]string{false: "F32", true: "BF16"}[bf16]
	doc := fmt.Sprintf(`adds the contributions of a panel's leaves to sums (%d, 16). There are blocks blocks, in leaves of perLeaf and
		perhaps a shorter last one, and %d columns that lie stride bytes apart. unit is 2^Exponent. The result is the bits of the
		largest magnitude of a contribution: where that is not below the matrix's limit, sums are meaningless.`, cols, cols)
	fn := file.Func(fmt.Sprintf("%sDot%d", name, cols), doc,
		[]string{"sums *int32", "panel *byte", "x *float32", "stride int", "blocks int", "perLeaf int", "unit float32"}, "top uint32")
	fn.Args("sums R0", "panel R1", "x R9", "stride R5", "blocks R6", "perLeaf R7", "unit R8")
	for c := 1; c < cols; c++ {
		fn.I("ADD R5, R%d, R%d", 8+c, 9+c)
	}
	fn.V(MOVZERO, top)
	if bf16 {
		fn.I("MOVW $0xffff0000, R2")
		fn.V(DUPW, oddMask, 2)
	}
	fn.Label("leaf")
	fn.I("CMP R7, R6")
	fn.I("CSEL LT, R6, R7, R15")
	fn.I("SUB R15, R6")
	fn.I("LSL $3, R15") // fours of k's
	for _, v := range run(floatAccs, 4*cols) {
		fn.V(MOVZERO, v)
	}
	fn.Label("four")
	for c := range cols {
		fn.I("FMOVQ.P 16(R%d), F%d", 9+c, floatIn+c)
	}
	if bf16 {
		addFourBF16(fn, cols)
		fn.I("ADD $128, R1")
	} else {
		for k := range 4 {
			fn.LoadQ("R1", 64*k, run(floatW, 4)...)
			addOne(fn, cols, k)
		}
		fn.I("ADD $256, R1")
	}
	fn.I("SUBS $1, R15")
	fn.I("BNE four")
	roundFloats(fn, cols)
	fn.I("CBNZ R6, leaf")
	fn.V(UMAXV, top, top)
	fn.Return(fmt.Sprintf("top F%d", top))
}

// addFourBF16 widens the weights of four k's, which are stored in pairs, and adds their products.
func addFourBF16(fn *Func, cols int) {
	for k := range 4 {
		if k%2 == 0 {
			fn.LoadQ("R1", 32*k, run(floatPairs, 4)...)
		}
		for q := range 4 {
			if k%2 == 0 {
				fn.V(SHL, floatW+q, floatPairs+q, 16)
			} else {
				fn.V(AND, floatW+q, floatPairs+q, oddMask)
			}
		}
		addOne(fn, cols, k)
	}
}

// addOne adds the products of the k that is in lane k of the inputs.
func addOne(fn *Func, cols, k int) {
	for c := range cols {
		for q := range 4 {
			temp, acc := floatTemp+q%2, floatAccs+4*c+q
			fn.V(FMULI, temp, floatW+q, floatIn+c, k)
			fn.V(FADD, acc, acc, temp)
		}
	}
}

// roundFloats ends a leaf: its sums, times 2^Exponent and rounded, are added to the integers.
func roundFloats(fn *Func, cols int) {
	fn.V(DUPW, floatW, 8)
	for c := range cols {
		fn.LoadQ("R0", 64*c, run(floatPairs, 4)...)
		for q := range 4 {
			addRounded(fn, floatPairs+q, floatAccs+4*c+q, floatW, floatTemp)
		}
		fn.StoreQ("R0", 64*c, run(floatPairs, 4)...)
	}
}
