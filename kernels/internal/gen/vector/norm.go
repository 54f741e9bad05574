package main

import (
	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/reg"
)

func sumLanes() {
	p := function("SumLanes", "func(sum, x *float32, n int)",
		"SumLanes adds x (n) to 16 sums, element i to sum i mod 16, in the order of i.", "sum", "x", "n")
	sum, x, n := p[0], p[1], p[2]
	zero := GP64()
	XORQ(zero, zero)
	acc := fresh()
	each(VMOVUPS, elements(sum, zero, 4), acc)
	loop("loop", n, func(i reg.Register) {
		each(VADDPS, elements(x, i, 4), acc, acc)
	})
	each(VMOVUPS, acc, elements(sum, zero, 4))
	end()
}

func sumSquares() {
	p := function("SumSquares", "func(sum, x *float32, n int, mean float32)",
		"SumSquares adds (x-mean)*(x-mean) to 16 sums, as SumLanes does.", "sum", "x", "n")
	sum, x, n := p[0], p[1], p[2]
	mean, zero := spread("mean"), GP64()
	XORQ(zero, zero)
	acc := fresh()
	each(VMOVUPS, elements(sum, zero, 4), acc)
	loop("loop", n, func(i reg.Register) {
		d := fresh()
		each(VMOVUPS, elements(x, i, 4), d)
		each(VSUBPS, mean, d, d)
		each(VMULPS, d, d, d)
		each(VADDPS, d, acc, acc)
	})
	each(VMOVUPS, acc, elements(sum, zero, 4))
	end()
}

func normalise() {
	p := function("Normalise", "func(dst, x, w, b *float32, n int, mean, inv float32)",
		"Normalise writes ((x-mean)*inv)*w + b to dst (n), which may be x.", "dst", "x", "w", "b", "n")
	dst, x, w, b, n := p[0], p[1], p[2], p[3], p[4]
	mean, inv := spread("mean"), spread("inv")
	loop("loop", n, func(i reg.Register) {
		y := fresh()
		each(VMOVUPS, elements(x, i, 4), y)
		each(VSUBPS, mean, y, y)
		each(VMULPS, inv, y, y)
		each(VMULPS, elements(w, i, 4), y, y)
		each(VADDPS, elements(b, i, 4), y, y)
		each(VMOVUPS, y, elements(dst, i, 4))
	})
	end()
}
