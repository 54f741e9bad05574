package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Predicates of VCMPPS; a comparison with a NaN is false unless the name says otherwise, and none signals.
const (
	lessOrEqual       = 0x12
	unordered         = 0x03
	notLessOrNaN      = 0x15
	notLessEqualOrNaN = 0x16
)

// expUnit holds the constants of kernels.Exp.
type expUnit struct {
	most, least, log2E, ln2Hi, ln2Lo, magic, infinity, one group
	coefficients                                           []group // from the highest
}

func newExpUnit() *expUnit {
	u := &expUnit{
		least: operand("expMin", -87.33654),
		log2E: operand("log2E", 1.44269504),
		ln2Hi: operand("ln2Hi", 0.693359375),
		ln2Lo: operand("ln2Lo", -2.12194440e-4),
		one:   operand("one", 1),
	}
	if wide {
		u.most = operand("expTop", 100)
	} else {
		u.most = operand("expMax", 88.722831)
		u.magic = operand("magic", 0x1.8p23)
		u.infinity = operand("infinity", float32(math.Inf(1)))
	}
	for i, c := range []float32{1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1} {
		u.coefficients = append(u.coefficients, operand("expCoef"+string(rune('5'-i)), c))
	}
	return u
}

// emit is kernels.Exp of x.
func (u *expUnit) emit(x group) group {
	if wide {
		return u.emitWide(x)
	}
	return u.emitNarrow(x)
}

// emitWide clamps x from above, so that the exponent of what is too large overflows to +Inf by itself; VMINPS and VSCALEFPS let a NaN
// pass. What is too small is masked away.
func (u *expUnit) emitWide(x group) group {
	keep := make(group, len(x))
	for r := range keep {
		keep[r] = K()
		VCMPPS(Imm(notLessOrNaN), u.least[0], x[r], keep[r])
	}
	bounded, n := fresh(), fresh()
	each(VMINPS, x, u.most, bounded)
	each(VMULPS, u.log2E, bounded, n)
	each(immediate(8, VRNDSCALEPS), n, n) // to the nearest integer, ties to even: what adding and taking away 1.5 * 2^23 gives
	y := u.polynomial(bounded, n)
	for r := range y {
		VSCALEFPS_Z(n[r], y[r], keep[r], y[r])
	}
	return y
}

// emitNarrow adds n to the exponent and then puts right what x was too large, too small or a NaN.
func (u *expUnit) emitNarrow(x group) group {
	shifted, n := fresh(), fresh()
	each(VMULPS, u.log2E, x, shifted)
	each(VADDPS, u.magic, shifted, shifted)
	each(VSUBPS, u.magic, shifted, n)
	y := u.polynomial(x, n)
	each(func(ops ...Op) { VPSLLD(append([]Op{Imm(23)}, ops...)...) }, shifted, shifted)
	each(VPADDD, shifted, y, y)
	special, mask := fresh(), fresh()
	each(VADDPS, u.infinity, x, special) // +Inf, or the NaN
	each(immediate(notLessEqualOrNaN, VCMPPS), u.most, x, mask)
	blend(mask, special, y, y)
	each(immediate(notLessOrNaN, VCMPPS), u.least, x, mask)
	each(VANDPS, mask, y, y)
	return y
}

// polynomial is e^(x - n*ln 2).
func (u *expUnit) polynomial(x, n group) group {
	r, t := fresh(), fresh()
	each(VMULPS, u.ln2Hi, n, t)
	each(VSUBPS, t, x, r)
	each(VMULPS, u.ln2Lo, n, t)
	each(VSUBPS, t, r, r)
	p := fresh()
	each(VMULPS, u.coefficients[0], r, p)
	for i, c := range u.coefficients[1:] {
		if i > 0 {
			each(VMULPS, r, p, p)
		}
		each(VADDPS, c, p, p)
	}
	each(VMULPS, r, r, t)
	each(VMULPS, t, p, p)
	each(VADDPS, r, p, p)
	each(VADDPS, u.one, p, p)
	return p
}

// interleaved is u, how many times 16 lanes go through an exponential at once, where there are registers for it.
func interleaved(u int) int {
	if wide {
		return u
	}
	return 1
}

func exp() {
	p := function("Exp", "func(x *float32, n int)", "Exp replaces each element of x (n) by kernels.Exp of it.", "x", "n")
	x, n := p[0], p[1]
	u := newExpUnit()
	unrolledLoop(n, interleaved(3), func(i reg.Register) {
		v := fresh()
		each(VMOVUPS, elements(x, i, 4), v)
		each(VMOVUPS, u.emit(v), elements(x, i, 4))
	})
	end()
}

func gelu() {
	p := function("GELU", "func(x *float32, n int)", "GELU is kernels.GELU of x (n).", "x", "n")
	x, n := p[0], p[1]
	u := newExpUnit()
	slope, cubic := operand("geluSlope", -1.5957691216), operand("geluCubic", 0.044715)
	unrolledLoop(n, interleaved(3), func(i reg.Register) {
		v, c, a := fresh(), fresh(), fresh()
		each(VMOVUPS, elements(x, i, 4), v)
		each(VMULPS, v, v, c)
		each(VMULPS, cubic, c, c)
		each(VADDPS, u.one, c, c)
		each(VMULPS, slope, v, a)
		each(VMULPS, c, a, a)
		y := u.emit(a)
		each(VADDPS, u.one, y, y)
		each(VDIVPS, y, v, y)
		each(VMOVUPS, y, elements(x, i, 4))
	})
	end()
}

var erfcCoefficients = []float32{
	0.052982382531, -0.223388071064, 0.298472471794, -0.0916998669253, 0.0778800114611,
	-0.328197923668, -0.272380191634, 1.7430764126, -2.25675431342,
}

func geluErf() {
	p := function("GELUErf", "func(x *float32, n int)", "GELUErf is kernels.GELUErf of x (n).", "x", "n")
	x, n := p[0], p[1]
	u := newExpUnit()
	magnitude, sign := operandBits("magnitude", 0x7fffffff), operandBits("sign", 0x80000000)
	sqrtHalf, half, two, most := operand("sqrtHalf", 0.70710678119), operand("half", 0.5), loaded("two", 2), loaded("erfcMax", 16)
	var coefficients []group
	for i, c := range erfcCoefficients {
		coefficients = append(coefficients, stored("erfcCoef"+string(rune('8'-i)), c))
	}
	unrolledLoop(n, interleaved(2), func(i reg.Register) {
		v, z := fresh(), fresh()
		each(VMOVUPS, elements(x, i, 4), v)
		each(VANDPS, magnitude, v, z)
		each(VMULPS, sqrtHalf, z, z)
		each(VMINPS, z, most, z) // of a NaN it is the NaN
		h, q := fresh(), fresh()
		each(VMULPS, half, z, h)
		each(VADDPS, u.one, h, q)
		each(VDIVPS, q, h, q)
		poly := fresh()
		each(VMULPS, coefficients[0], q, poly)
		for j, c := range coefficients[1:] {
			if j > 0 {
				each(VMULPS, q, poly, poly)
			}
			each(VADDPS, c, poly, poly)
		}
		each(VMULPS, q, poly, poly)
		each(VADDPS, u.one, poly, poly)
		each(VMULPS, z, z, z)
		each(VXORPS, sign, z, z)
		e := u.emit(z)
		each(VMULPS, poly, e, e)
		reflect(v, e, two)
		each(VMULPS, half, v, v)
		each(VMULPS, e, v, v)
		each(VMOVUPS, v, elements(x, i, 4))
	})
	end()
}

// reflect emits e = two - e where v is not below zero.
func reflect(v, e, two group) {
	zero := register()
	VXORPS(zero, zero, zero)
	if wide {
		for r := range v {
			k := K()
			VCMPPS(Imm(notLessOrNaN), zero, v[r], k)
			VSUBPS(e[r], two[0], k, e[r])
		}
		return
	}
	mask, other := fresh(), fresh()
	each(immediate(notLessOrNaN, VCMPPS), same(zero), v, mask)
	each(VSUBPS, e, two, other)
	blend(mask, other, e, e)
}
