package main

import (
	"math"

	. "polynode/kernels/internal/gen/neon/a64"
)

// The constants of Exp, GELU and GELUErf are those of package kernels, whose tests compare every bit.
const (
	expMax    = 88.722831
	expMin    = -87.33654
	log2E     = 1.44269504
	magic     = 0x1.8p23 // added to a small number it leaves the nearest integer in the low bits
	ln2Hi     = 0.693359375
	ln2Lo     = -2.12194440e-4
	geluCubic = 0.044715
	geluSlope = -1.5957691216
	sqrtHalf  = 0.70710678119
	erfcMax   = 16
)

// expCoef are the coefficients of Exp's polynomial, the highest first.
var expCoef = []float32{1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1}

var erfcCoef = []float32{
	-2.25675431342, 1.7430764126, -0.272380191634, -0.328197923668, 0.0778800114611,
	-0.0916998669253, 0.298472471794, -0.223388071064, 0.052982382531,
}

// expOf writes Exp for several registers at once. Its constants take V16-V29.
type expOf struct{ *Func }

// Registers of Exp's constants.
const (
	kMax, kMin, kLog2E, kMagic = 16, 17, 18, 19
	kLn2Hi, kLn2Lo, kOne, kInf = 20, 21, 22, 23
	kCoef                      = 24 // V24-V29
)

func (fn expOf) constants() {
	for i, v := range []float32{expMax, expMin, log2E, magic, ln2Hi, ln2Lo, 1, float32(math.Inf(1))} {
		set(fn.Func, kMax+i, v)
	}
	for i, v := range expCoef {
		set(fn.Func, kCoef+i, v)
	}
}

// expRegs is where one Exp works: it reads x, leaves the result in y, and changes s, r and t. t may be shared, for what happens in it is
// short.
type expRegs struct{ x, y, s, r, t int }

// exp writes the steps of Exp in its comment's order, each for all of list before the next: they wait for each other.
func (fn expOf) exp(list ...expRegs) {
	all := func(step func(e expRegs)) {
		for _, e := range list {
			step(e)
		}
	}
	all(func(e expRegs) { fn.V(FMUL, e.s, e.x, kLog2E) })
	all(func(e expRegs) { fn.V(FADD, e.s, e.s, kMagic) })
	all(func(e expRegs) { fn.V(FSUB, e.y, e.s, kMagic) })
	all(func(e expRegs) { fn.V(FMUL, e.r, e.y, kLn2Hi) })
	all(func(e expRegs) { fn.V(FSUB, e.r, e.x, e.r) })
	all(func(e expRegs) { fn.V(FMUL, e.y, e.y, kLn2Lo) })
	all(func(e expRegs) { fn.V(FSUB, e.r, e.r, e.y) })
	all(func(e expRegs) { fn.V(FMUL, e.y, e.r, kCoef) })
	for i := 1; i < len(expCoef)-1; i++ {
		all(func(e expRegs) { fn.V(FADD, e.y, e.y, kCoef+i) })
		all(func(e expRegs) { fn.V(FMUL, e.y, e.y, e.r) })
	}
	all(func(e expRegs) { fn.V(FADD, e.y, e.y, kCoef+len(expCoef)-1) })
	all(func(e expRegs) {
		fn.V(FMUL, e.t, e.r, e.r)
		fn.V(FMUL, e.y, e.y, e.t)
	})
	all(func(e expRegs) { fn.V(SHL, e.s, e.s, 23) })
	all(func(e expRegs) { fn.V(FADD, e.y, e.y, e.r) })
	all(func(e expRegs) { fn.V(FADD, e.y, e.y, kOne) })
	all(func(e expRegs) { fn.V(ADD, e.y, e.y, e.s) })
	all(func(e expRegs) {
		fn.V(FCMGT, e.t, e.x, kMax)
		fn.V(BIT, e.y, kInf, e.t)
		fn.V(FCMGT, e.t, kMin, e.x)
		fn.V(BIC, e.y, e.y, e.t)
		fn.V(FCMEQ, e.t, e.x, e.x)
		fn.V(BIF, e.y, e.x, e.t) // a NaN stays one
	})
}

func exponentials() *File {
	file := NewFile("neon", "exp")
	fn := expOf{file.Func("Exp", "replaces x by its exponential. n is a multiple of 16, and not zero.", []string{"x *float32", "n int"})}
	fn.Args("x R0", "n R9")
	fn.constants()
	loop(fn.Func, "sixteen", 16, func() {
		fn.LoadQ("R0", 0, run(0, 4)...)
		fn.exp(expRegs{0, 4, 8, 12, 30}, expRegs{1, 5, 9, 13, 31}, expRegs{2, 6, 10, 14, 30}, expRegs{3, 7, 11, 15, 31})
		fn.StoreQ("R0", 0, run(4, 4)...)
	}, map[string]int{"R0": 4})
	fn.Return()
	gelu(file)
	geluErf(file)
	return file
}

func gelu(file *File) {
	fn := expOf{file.Func("GELU", "replaces x by its GELU in the tanh form. n is a multiple of 16, and not zero.", []string{"x *float32", "n int"})}
	fn.Args("x R0", "n R9")
	fn.constants()
	const cubic, slope = 14, 15
	set(fn.Func, cubic, geluCubic)
	set(fn.Func, slope, geluSlope)
	loop(fn.Func, "eight", 8, func() {
		fn.LoadQ("R0", 0, 0, 1)
		for q := range 2 { // Exp's argument goes to V2 and V3
			fn.V(FMUL, 4+q, q, q)
			fn.V(FMUL, 4+q, 4+q, cubic)
			fn.V(FADD, 4+q, 4+q, kOne)
			fn.V(FMUL, 2+q, q, slope)
			fn.V(FMUL, 2+q, 2+q, 4+q)
		}
		fn.exp(expRegs{2, 4, 8, 10, 12}, expRegs{3, 5, 9, 11, 13})
		for q := range 2 {
			fn.V(FADD, 4+q, 4+q, kOne)
			fn.V(FDIV, q, q, 4+q)
		}
		fn.StoreQ("R0", 0, 0, 1)
	}, map[string]int{"R0": 4})
	fn.Return()
}

// geluErf keeps the coefficients of erfc in R0's neighbours: the vector registers are full.
func geluErf(file *File) {
	fn := expOf{file.Func("GELUErf", "replaces x by its GELU in the exact form. n is a multiple of 16, and not zero.", []string{"x *float32", "n int"})}
	fn.Args("x R0", "n R9")
	fn.constants()
	const (
		two, half = 30, 31
		z, u, y   = 2, 4, 6 // and the registers behind them, for the second four elements
		temp      = 12
	)
	set(fn.Func, two, 2)
	set(fn.Func, half, 0.5)
	general := []int{1, 2, 3, 4, 5, 6, 7, 8, 10} // one coefficient each
	for i, r := range general {
		fn.I("MOVD $%#08x, R%d", math.Float32bits(erfcCoef[i]), r)
	}
	fn.I("MOVD $%#08x, R11", math.Float32bits(sqrtHalf))
	fn.I("MOVD $%#08x, R12", math.Float32bits(erfcMax))
	loop(fn.Func, "eight", 8, func() {
		fn.LoadQ("R0", 0, 0, 1)
		for q := range 2 {
			fn.V(DUPW, temp+q, 11)
			fn.V(FABS, z+q, q)
			fn.V(FMUL, z+q, z+q, temp+q)
			fn.V(DUPW, temp+q, 12)
			fn.V(FCMGT, u+q, z+q, temp+q)
			fn.V(BIT, z+q, temp+q, u+q)
			fn.V(FMUL, y+q, z+q, half)
			fn.V(FADD, u+q, y+q, kOne)
			fn.V(FDIV, u+q, y+q, u+q)
			fn.V(DUPW, y+q, general[8])
		}
		for i := 7; i >= 0; i-- {
			for q := range 2 {
				fn.V(DUPW, temp+q, general[i])
				fn.V(FMUL, y+q, y+q, u+q)
				fn.V(FADD, y+q, y+q, temp+q)
			}
		}
		for q := range 2 {
			fn.V(FMUL, u+q, u+q, y+q)
			fn.V(FADD, u+q, u+q, kOne)
			fn.V(FMUL, z+q, z+q, z+q)
			fn.V(FNEG, z+q, z+q)
		}
		fn.exp(expRegs{z, y, 8, 10, temp}, expRegs{z + 1, y + 1, 9, 11, temp + 1})
		for q := range 2 {
			fn.V(FMUL, u+q, u+q, y+q)
			fn.V(FSUB, y+q, two, u+q)
			fn.V(FCMLT0, temp+q, q)
			fn.V(BIF, u+q, y+q, temp+q) // 2 - e where x is not below 0
			fn.V(FMUL, q, q, half)
			fn.V(FMUL, q, q, u+q)
		}
		fn.StoreQ("R0", 0, 0, 1)
	}, map[string]int{"R0": 4})
	fn.Return()
}
