package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// quantised is the product of a tile of a quantised format, 16 rows by n columns.
type quantised struct {
	name, doc  string
	n          int
	unpack     func(q *quantised, quants reg.GPVirtual, multiply multiplier)
	blockBytes int

	table, nibble reg.VecVirtual // Q4 only
}

// multiplier adds the products of 16 rows × 4 k's of weights, 0 to 255 and 128 too large, with the activations from byte k of their
// block on to the dot products of every column.
type multiplier func(weights reg.VecVirtual, k int)

const signature = "(out *int32, stride int, load, store uint16, weights *byte, quants *[32]int8, scales *float32, starts *int32, " +
	"blocks, leaf int, unit, limit float32) bool"

// generate writes the function:
//
//	for each leaf:  acc = 0
//	  for each of its blocks:  dot = start;  dot += weights * quants;  acc += float32(dot) * (wscale * scale)
//	  sums += round(acc * unit)
func (q quantised) generate() {
	TEXT(q.name, NOSPLIT, "func"+signature)
	Doc(q.doc)
	Pragma("noescape")

	l := newLeaves(q.n)
	weights := Load(Param("weights"), GP64()).(reg.GPVirtual)
	quants := Load(Param("quants"), GP64()).(reg.GPVirtual)
	scales := Load(Param("scales"), GP64()).(reg.GPVirtual)
	starts := Load(Param("starts"), GP64()).(reg.GPVirtual)
	left := Load(Param("blocks"), GP64()).(reg.GPVirtual)
	// The pointer stands behind the scales of a block: the offsets of its quants are then multiples of 64, which encode in a byte.
	ADDQ(Imm(32), weights)
	if q.blockBytes == 32+256 {
		q.loadTable()
	}
	dots := make([]reg.VecVirtual, q.n)
	for i := range dots {
		dots[i] = ZMM()
	}

	Label("leaf")
	count := Load(Param("leaf"), GP64()).(reg.GPVirtual)
	CMPQ(count, left)
	CMOVQGT(left, count) // the last leaf may be shorter
	SUBQ(count, left)
	l.open()

	Label("block")
	for i, dot := range dots {
		VPBROADCASTD(Mem{Base: starts, Disp: 4 * i}, dot)
	}
	q.unpack(&q, weights, func(w reg.VecVirtual, k int) {
		for i, dot := range dots {
			VPDPBUSD_BCST(Mem{Base: quants, Disp: 32*i + k}, w, dot)
		}
	})
	wscale, scale := ZMM(), ZMM()
	VCVTPH2PS(Mem{Base: weights, Disp: -32}, wscale)
	for i, dot := range dots {
		VMULPS_BCST(Mem{Base: scales, Disp: 4 * i}, wscale, scale)
		VCVTDQ2PS(dot, dot)
		VMULPS(scale, dot, dot)
		VADDPS(dot, l.acc[i], l.acc[i])
	}
	ADDQ(U32(q.blockBytes), weights)
	ADDQ(U32(32*q.n), quants)
	ADDQ(U32(4*q.n), scales)
	ADDQ(U32(4*q.n), starts)
	DECQ(count)
	JNZ(LabelRef("block"))

	l.close()
	TESTQ(left, left)
	JNZ(LabelRef("leaf"))
	l.end()
}

// unpackQ8 multiplies by the quants as they are stored.
func unpackQ8(q *quantised, quants reg.GPVirtual, multiply multiplier) {
	w := ZMM()
	for g := range 8 {
		VMOVDQU32(Mem{Base: quants, Disp: 64 * g}, w)
		multiply(w, 4*g)
	}
}

// levels are kernels.q4Levels.
var levels = [16]int8{-63, -49, -39, -30, -22, -16, -10, -4, 1, 6, 11, 17, 23, 31, 40, 53}

// loadTable loads what unpackQ4 needs: the levels plus 128 for VPSHUFB, in every 128 bits, and the mask of a nibble.
func (q *quantised) loadTable() {
	name := "q4Levels"
	if q.n == 1 {
		GLOBL(name, RODATA|NOPTR)
		for i, level := range levels {
			DATA(i, U8(int(level)+128))
		}
		GLOBL("nibble", RODATA|NOPTR)
		DATA(0, U32(0x0f0f0f0f))
	}
	q.table, q.nibble = ZMM(), ZMM()
	VBROADCASTI32X4(NewDataAddr(Symbol{Name: name, Static: true}, 0), q.table)
	VPBROADCASTD(NewDataAddr(Symbol{Name: "nibble", Static: true}, 0), q.nibble)
}

// unpackQ4 looks the nibbles up: byte j of group g is k = 4g+j in its low and k = 16+4g+j in its high nibble.
func unpackQ4(q *quantised, quants reg.GPVirtual, multiply multiplier) {
	low, high := ZMM(), ZMM()
	for g := range 4 {
		VMOVDQU32(Mem{Base: quants, Disp: 64 * g}, low)
		VPSRLW(Imm(4), low, high)
		VPANDD(q.nibble, low, low)
		VPANDD(q.nibble, high, high)
		VPSHUFB(low, q.table, low)
		VPSHUFB(high, q.table, high)
		multiply(low, 4*g)
		multiply(high, 16+4*g)
	}
}
