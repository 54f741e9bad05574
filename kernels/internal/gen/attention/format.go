package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// format is how keys and values are stored: kernels.KVFormat.
type format struct {
	name    string
	element int  // bytes
	scaled  bool // a float16 scale for each group of 32 elements stands behind the elements
}

var (
	f16 = format{name: "F16", element: 2}
	q8  = format{name: "Q8", element: 1, scaled: true}
	f32 = format{name: "F32", element: 4}
)

// vectorBytes is the size of a stored head vector.
func (f format) vectorBytes(dim int) int {
	if f.scaled {
		return dim*f.element + 2*((dim+group-1)/group)
	}
	return dim * f.element
}

// registerBytes is the size of the stored elements that fill one register.
func (f format) registerBytes() int { return size() / 4 * f.element }

// load widens the elements at m. An int8 times a float16 needs no more bits than a float32 has: the product is exact.
func (f format) load(m Mem, scale Op, dst reg.VecVirtual) {
	switch f {
	case f16:
		VCVTPH2PS(m, dst)
	case f32:
		VMOVUPS(m, dst)
	case q8:
		VPMOVSXBD(m, dst)
		VCVTDQ2PS(dst, dst)
		if s, ok := scale.(Mem); ok {
			times(s, dst, dst)
		} else {
			VMULPS(scale, dst, dst)
		}
	}
}

// loadScale puts the float16 at m into every lane.
func loadScale(m Mem) reg.VecVirtual {
	scale := register()
	if wide() {
		halves := YMM()
		VPBROADCASTW(m, halves)
		VCVTPH2PS(halves, scale)
	} else {
		halves := XMM()
		VPBROADCASTW(m, halves)
		VCVTPH2PS(halves, scale)
	}
	return scale
}

// widenScales puts the scales of one vector of 128 elements into local memory as float32, from where they are read as operands that fill all
// lanes.
func widenScales(scales Mem, local Mem) {
	four := XMM()
	VCVTPH2PS(scales, four)
	VMOVUPS(four, local)
}

// prefetch asks for what follows the bytes [lo, hi) behind base at some distance. Only Q8 needs it: between two of its loads there is so much
// to compute that the processor does not run far enough ahead by itself (13 GB/s instead of 7). Float16 is read as fast as memory goes, and
// asking costs it a tenth.
func (f format) prefetch(base reg.Register, lo, hi int) {
	const line, ahead = 64, 4096
	if !f.scaled {
		return
	}
	for l := (lo + line - 1) / line * line; l < hi; l += line {
		PREFETCHT0(at(base, l+ahead))
	}
}
