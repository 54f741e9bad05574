package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// The bytes of one row of a panel stand 4 at a time, 64 bytes apart, behind the 16 scales of their block.

func unpackQ8() {
	p := function("UnpackQ8", "func(dst *float32, panel *byte, lane, blocks int)",
		"UnpackQ8 dequantises one row of a panel of Q8.", "dst", "panel", "lane", "blocks")
	dst, panel, lane, blocks := p[0], p[1], p[2], p[3]
	excess := XMM()
	VBROADCASTSS(constant("excess", 0x80808080), excess)
	Label("loop")
	scale := halfInAllLanes(Mem{Base: panel, Index: lane, Scale: 2})
	for i := range 2 {
		w := rowBytes(panel, lane, 32+256*i)
		VPXOR(excess, w, w) // w+128 becomes w
		widen(w, scale, Mem{Base: dst, Disp: 64 * i})
	}
	nextBlock(dst, panel, blocks, 32+512)
}

func unpackQ4() {
	p := function("UnpackQ4", "func(dst *float32, panel *byte, levels *int8, lane, blocks int)",
		"UnpackQ4 dequantises one row of a panel of Q4; levels are the 16 levels of a nibble.", "dst", "panel", "levels", "lane", "blocks")
	dst, panel, lane, blocks := p[0], p[1], p[3], p[4]
	levels, nibble := XMM(), XMM()
	VMOVDQU(Mem{Base: p[2]}, levels)
	VBROADCASTSS(constant("nibble", 0x0f0f0f0f), nibble)
	Label("loop")
	scale := halfInAllLanes(Mem{Base: panel, Index: lane, Scale: 2})
	pairs, w := rowBytes(panel, lane, 32), XMM()
	VPAND(nibble, pairs, w)
	VPSHUFB(w, levels, w)
	widen(w, scale, Mem{Base: dst})
	VPSRLW(Imm(4), pairs, w)
	VPAND(nibble, w, w)
	VPSHUFB(w, levels, w)
	widen(w, scale, Mem{Base: dst, Disp: 64})
	nextBlock(dst, panel, blocks, 32+256)
}

// rowBytes gathers 16 bytes of a row, at disp in the block.
func rowBytes(panel, lane reg.Register, disp int) reg.VecVirtual {
	w := XMM()
	VMOVD(Mem{Base: panel, Index: lane, Scale: 4, Disp: disp}, w)
	for i := range 3 {
		VPINSRD(Imm(uint64(i+1)), Mem{Base: panel, Index: lane, Scale: 4, Disp: disp + 64*(i+1)}, w, w)
	}
	return w
}

// widen stores 16 int8 times scale.
func widen(w, scale reg.VecVirtual, dst Mem) {
	for i := range 2 {
		v := YMM()
		if i > 0 {
			VPSRLDQ(Imm(8), w, w)
		}
		VPMOVSXBD(w, v)
		VCVTDQ2PS(v, v)
		VMULPS(scale, v, v)
		VMOVUPS(v, dst.Offset(32*i))
	}
}

func nextBlock(dst, panel, blocks reg.Register, size int) {
	ADDQ(U32(size), panel)
	ADDQ(Imm(128), dst)
	DECQ(blocks)
	JNZ(LabelRef("loop"))
	end()
}
