package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func add() {
	p := function("Add", "func(dst, src *float32, n int)", "Add adds src to dst (n).", "dst", "src", "n")
	dst, src, n := p[0], p[1], p[2]
	loop("loop", n, func(i reg.Register) {
		y := fresh()
		each(VMOVUPS, elements(dst, i, 4), y)
		each(VADDPS, elements(src, i, 4), y, y)
		each(VMOVUPS, y, elements(dst, i, 4))
	})
	end()
}

func addInt32() {
	p := function("AddInt32", "func(dst, src *int32, n int)", "AddInt32 adds src to dst (n).", "dst", "src", "n")
	dst, src, n := p[0], p[1], p[2]
	loop("loop", n, func(i reg.Register) {
		y := fresh()
		each(VMOVUPS, elements(dst, i, 4), y)
		each(VPADDD, elements(src, i, 4), y, y)
		each(VMOVUPS, y, elements(dst, i, 4))
	})
	end()
}

func addScaled() {
	p := function("AddScaled", "func(acc, x *float32, n int, w float32)",
		"AddScaled adds x*w to acc (n), product and sum rounded.", "acc", "x", "n")
	acc, x, n, w := p[0], p[1], p[2], spread("w")
	loop("loop", n, func(i reg.Register) {
		y := fresh()
		each(VMULPS, elements(x, i, 4), w, y)
		each(VADDPS, elements(acc, i, 4), y, y)
		each(VMOVUPS, y, elements(acc, i, 4))
	})
	end()
}

func divide() {
	p := function("Divide", "func(x *float32, n int, by float32)", "Divide divides x (n) by a number.", "x", "n")
	x, n, by := p[0], p[1], spread("by")
	loop("loop", n, func(i reg.Register) {
		y := fresh()
		each(VMOVUPS, elements(x, i, 4), y)
		each(VDIVPS, by, y, y)
		each(VMOVUPS, y, elements(x, i, 4))
	})
	end()
}

func finish() {
	p := function("Finish", "func(dst *float32, sums *int32, bias *float32, n int, unit float32)",
		"Finish writes float32(sums)*unit + bias to dst (n); bias may be nil.", "dst", "sums", "bias", "n")
	dst, sums, bias, n, unit := p[0], p[1], p[2], p[3], spread("unit")
	scaled := func(i reg.Register) group {
		y := fresh()
		each(VCVTDQ2PS, elements(sums, i, 4), y)
		each(VMULPS, unit, y, y)
		return y
	}
	TESTQ(bias, bias)
	JZ(LabelRef("plain"))
	loop("biased", n, func(i reg.Register) {
		y := scaled(i)
		each(VADDPS, elements(bias, i, 4), y, y)
		each(VMOVUPS, y, elements(dst, i, 4))
	})
	end()
	Label("plain")
	loop("loop", n, func(i reg.Register) {
		each(VMOVUPS, scaled(i), elements(dst, i, 4))
	})
	end()
}
