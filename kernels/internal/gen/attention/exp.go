package main

import (
	"fmt"
	"math"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Constants of kernels.Exp.
const (
	expMin = -87.33654
	log2E  = 1.44269504
	ln2Hi  = 0.693359375
	ln2Lo  = -2.12194440e-4
)

// expCoef are the coefficients from the highest on.
var expCoef = []float32{
	1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1,
}

// constants are the float32 in the data section: each is repeated until it fills a register of AVX2, and AVX-512 spreads it while it reads.
var constants = map[uint32]Mem{}

// constant is the address of x in the data section.
func constant(x float32) Mem {
	bits := math.Float32bits(x)
	if _, ok := constants[bits]; !ok {
		constants[bits] = GLOBL(fmt.Sprintf("float32_%08x", bits), attr.RODATA|attr.NOPTR)
		for i := range 8 {
			DATA(4*i, U32(bits))
		}
	}
	return constants[bits]
}

// expUnit holds the constants of kernels.Exp: in registers where there are enough of them.
type expUnit struct {
	least, log2E, ln2Hi, ln2Lo, one Op
	coef                            []Op
}

func newExpUnit() *expUnit {
	load := func(x float32) Op {
		if !wide() {
			return constant(x)
		}
		r := register()
		spread(constant(x), r)
		return r
	}
	u := &expUnit{least: load(expMin), log2E: load(log2E), ln2Hi: load(ln2Hi), ln2Lo: load(ln2Lo), one: load(1)}
	for _, c := range expCoef {
		u.coef = append(u.coef, load(c))
	}
	return u
}

// emit replaces x, of which no element is above 0, by kernels.Exp(x). A NaN stays one.
func (u *expUnit) emit(x reg.VecVirtual) {
	const (
		notLessOrNaN = 0x15
		nearest      = 8 // ties to even, which is what adding and taking away 1.5 * 2^23 gives
	)
	n, y := register(), register()
	VMULPS(u.log2E, x, n)
	if wide() {
		keep := K()
		VCMPPS(Imm(notLessOrNaN), u.least, x, keep)
		VRNDSCALEPS(Imm(nearest), n, n)
		u.polynomial(x, n, y)
		VSCALEFPS_Z(n, y, keep, x)
		return
	}
	whole, keep := YMM(), YMM()
	VCVTPS2DQ(n, whole) // of a NaN or of what is masked away -2^31, whose shift leaves 0
	VCVTDQ2PS(whole, n)
	u.polynomial(x, n, y)
	VPSLLD(Imm(23), whole, whole)
	VPADDD(whole, y, y)
	VCMPPS(Imm(notLessOrNaN), u.least, x, keep)
	VANDPS(keep, y, x)
}

// polynomial is y = e^(x - n*ln 2).
func (u *expUnit) polynomial(x, n, y reg.VecVirtual) {
	r, t := register(), register()
	VMULPS(u.ln2Hi, n, t)
	VSUBPS(t, x, r)
	VMULPS(u.ln2Lo, n, t)
	VSUBPS(t, r, r)
	VMULPS(u.coef[0], r, y)
	for i, c := range u.coef[1:] {
		if i > 0 {
			VMULPS(r, y, y)
		}
		VADDPS(c, y, y)
	}
	VMULPS(r, r, t)
	VMULPS(t, y, y)
	VADDPS(r, y, y)
	VADDPS(u.one, y, y)
}
