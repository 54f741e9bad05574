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

// timesC is dst = a * x.
func timesC(x float32, a, dst reg.VecVirtual) {
	if wide() {
		VMULPS_BCST(constant(x), a, dst)
		return
	}
	VMULPS(constant(x), a, dst)
}

// plusC is dst = a + x.
func plusC(x float32, a, dst reg.VecVirtual) {
	if wide() {
		VADDPS_BCST(constant(x), a, dst)
		return
	}
	VADDPS(constant(x), a, dst)
}

// exp replaces x, of which no element is above 0, by kernels.Exp(x). A NaN stays one.
func exp(x reg.VecVirtual) {
	const (
		notLessOrNaN = 0x15
		nearest      = 8 // ties to even, which is what adding and taking away 1.5 * 2^23 gives
	)
	n, y := register(), register()
	timesC(log2E, x, n)
	if wide() {
		keep := K()
		VCMPPS_BCST(Imm(notLessOrNaN), constant(expMin), x, keep)
		VRNDSCALEPS(Imm(nearest), n, n)
		expPolynomial(x, n, y)
		VSCALEFPS_Z(n, y, keep, x)
		return
	}
	whole, keep := YMM(), YMM()
	VCVTPS2DQ(n, whole) // of a NaN or of what is masked away -2^31, whose shift leaves 0
	VCVTDQ2PS(whole, n)
	expPolynomial(x, n, y)
	VPSLLD(Imm(23), whole, whole)
	VPADDD(whole, y, y)
	VCMPPS(Imm(notLessOrNaN), constant(expMin), x, keep)
	VANDPS(keep, y, x)
}

// expPolynomial is y = e^(x - n*ln 2).
func expPolynomial(x, n, y reg.VecVirtual) {
	r, t := register(), register()
	timesC(ln2Hi, n, t)
	VSUBPS(t, x, r)
	timesC(ln2Lo, n, t)
	VSUBPS(t, r, r)
	timesC(expCoef[0], r, y)
	for i, c := range expCoef[1:] {
		if i > 0 {
			VMULPS(r, y, y)
		}
		plusC(c, y, y)
	}
	VMULPS(r, r, t)
	VMULPS(t, y, y)
	VADDPS(r, y, y)
	plusC(1, y, y)
}
