package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// rounder turns the float32 sums of leaves into integers, adds those to out, and watches over their size. It is the same for all formats.
type rounder struct {
	out    reg.GPVirtual
	stride reg.GPVirtual // bytes from one column of out to the next
	worst  reg.VecVirtual
}

// newRounder loads the parameters out and stride.
func newRounder() *rounder {
	r := &rounder{worst: YMM()}
	r.out = Load(Param("out"), GP64()).(reg.GPVirtual)
	r.stride = Load(Param("stride"), GP64()).(reg.GPVirtual)
	SHLQ(Imm(2), r.stride)
	VPXOR(r.worst, r.worst, r.worst)
	return r
}

// close rounds a leaf's sums, which are where acc says for half h of column i, and adds them to out: c = acc*2^Exponent, to the nearest integer, ties
// to even. A c out of bounds makes worst too large and out wrong, which the caller learns in the end.
func (r *rounder) close(n int, acc func(h, i int) Op) {
	unit, c, whole := YMM(), YMM(), YMM()
	VBROADCASTSS(parameter("unit"), unit)
	at := GP64()
	MOVQ(r.out, at)
	for i := range n {
		if i > 0 {
			ADDQ(r.stride, at)
		}
		for h := range halves {
			VMULPS(acc(h, i), unit, c)
			VCVTPS2DQ(c, whole)
			VPADDD(c, c, c) // without the sign
			VPMAXUD(c, r.worst, r.worst)
			sums := Mem{Base: at, Disp: h * width}
			VPADDD(sums, whole, whole)
			VMOVDQU(whole, sums)
		}
	}
}

// end returns twice the largest |contribution| of all rows and columns, as bits: floats without their signs are in the order of their bits, and infinity
// and NaN come last.
func (r *rounder) end() {
	v, half := r.worst.AsX(), XMM()
	VEXTRACTI128(Imm(1), r.worst, half)
	VPMAXUD(half, v, v)
	VPSRLDQ(Imm(8), v, half)
	VPMAXUD(half, v, v)
	VPSRLDQ(Imm(4), v, half)
	VPMAXUD(half, v, v)
	largest := GP32()
	VMOVD(v, largest)
	Store(largest, ReturnIndex(0))
	VZEROUPPER()
	RET()
}

// parameter is the address of a parameter.
func parameter(name string) Mem {
	b, err := Param(name).Resolve()
	if err != nil {
		panic(err)
	}
	return b.Addr
}
