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

// emit replaces each x, of which no element is above 0, by kernels.Exp(x). A NaN stays one. Step by step it takes turns with the registers: one
// step waits for the one before, and a processor holds only so many that wait.
func (u *expUnit) emit(xs ...reg.VecVirtual) {
	const (
		notLessOrNaN = 0x15
		nearest      = 8 // ties to even, which is what adding and taking away 1.5 * 2^23 gives
	)
	n, y := registers(len(xs)), registers(len(xs))
	each(xs, func(i int) { VMULPS(u.log2E, xs[i], n[i]) })
	if wide() {
		each(xs, func(i int) { VRNDSCALEPS(Imm(nearest), n[i], n[i]) })
		u.polynomial(xs, n, y)
		keep := K()
		each(xs, func(i int) {
			VCMPPS(Imm(notLessOrNaN), u.least, xs[i], keep)
			VSCALEFPS_Z(n[i], y[i], keep, xs[i])
		})
		return
	}
	whole := registers(len(xs))
	each(xs, func(i int) { VCVTPS2DQ(n[i], whole[i]) }) // of a NaN or of what is masked away -2^31, whose shift leaves 0
	each(xs, func(i int) { VCVTDQ2PS(whole[i], n[i]) })
	u.polynomial(xs, n, y)
	each(xs, func(i int) { VPSLLD(Imm(23), whole[i], whole[i]) })
	each(xs, func(i int) { VPADDD(whole[i], y[i], y[i]) })
	each(xs, func(i int) {
		VCMPPS(Imm(notLessOrNaN), u.least, xs[i], whole[i])
		VANDPS(whole[i], y[i], xs[i])
	})
}

// each calls step for every register.
func each(xs []reg.VecVirtual, step func(i int)) {
	for i := range xs {
		step(i)
	}
}

// polynomial is y = e^(x - n*ln 2).
func (u *expUnit) polynomial(xs, n, y []reg.VecVirtual) {
	r, t := registers(len(xs)), registers(len(xs))
	each(xs, func(i int) { VMULPS(u.ln2Hi, n[i], t[i]) })
	each(xs, func(i int) { VSUBPS(t[i], xs[i], r[i]) })
	each(xs, func(i int) { VMULPS(u.ln2Lo, n[i], t[i]) })
	each(xs, func(i int) { VSUBPS(t[i], r[i], r[i]) })
	each(xs, func(i int) { VMULPS(u.coef[0], r[i], y[i]) })
	for k, c := range u.coef[1:] {
		if k > 0 {
			each(xs, func(i int) { VMULPS(r[i], y[i], y[i]) })
		}
		each(xs, func(i int) { VADDPS(c, y[i], y[i]) })
	}
	each(xs, func(i int) { VMULPS(r[i], r[i], t[i]) })
	each(xs, func(i int) { VMULPS(t[i], y[i], y[i]) })
	each(xs, func(i int) { VADDPS(r[i], y[i], y[i]) })
	each(xs, func(i int) { VADDPS(u.one, y[i], y[i]) })
}
