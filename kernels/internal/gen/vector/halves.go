package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func storeHalves() {
	p := function("StoreHalves", "func(dst *byte, src *float32, n int)",
		"StoreHalves narrows src (n) to float16 as kernels.F32ToF16 does.", "dst", "src", "n")
	dst, src, n := p[0], p[1], p[2]
	sign, nan := loadedBits("sign", 0x80000000), loadedBits("quietNaN", 0x7fc00000)
	loop("loop", n, func(i reg.Register) {
		v := fresh()
		each(VMOVUPS, elements(src, i, 4), v)
		oneNaN(v, sign, nan)
		each(immediate(0, VCVTPS2PH), v, elements(dst, i, 2))
	})
	end()
}

// oneNaN makes each NaN in v the quiet one without a payload, of the same sign.
func oneNaN(v, sign, nan group) {
	if wide {
		k := K()
		VCMPPS(Imm(unordered), v[0], v[0], k)
		const signOrNaN = 0xea // (v & sign) | nan
		VPTERNLOGD(Imm(signOrNaN), nan[0], sign[0], k, v[0])
		return
	}
	mask, quiet := fresh(), fresh()
	each(immediate(unordered, VCMPPS), v, v, mask)
	each(VANDPS, sign, v, quiet)
	each(VORPS, nan, quiet, quiet)
	blend(mask, quiet, v, v)
}

func loadHalves() {
	p := function("LoadHalves", "func(dst *float32, src *byte, n int)", "LoadHalves widens the float16 of src (n).", "dst", "src", "n")
	dst, src, n := p[0], p[1], p[2]
	loop("loop", n, func(i reg.Register) {
		v := fresh()
		each(VCVTPH2PS, elements(src, i, 2), v)
		each(VMOVUPS, v, elements(dst, i, 4))
	})
	end()
}

func loadGroups() {
	p := function("LoadGroups", "func(dst *float32, src, scales *byte, groups int)",
		"LoadGroups widens groups of 32 int8 with a float16 scale each.", "dst", "src", "scales", "groups")
	dst, src, scales, groups := p[0], p[1], p[2], p[3]
	Label("loop")
	scale := halfInAllLanes(Mem{Base: scales})
	for part := range partsPerBlock() {
		n := 32 / partsPerBlock()
		v := register()
		VPMOVSXBD(Mem{Base: src, Disp: part * n}, v)
		VCVTDQ2PS(v, v)
		VMULPS(scale, v, v)
		VMOVUPS(v, Mem{Base: dst, Disp: 4 * part * n})
	}
	ADDQ(Imm(2), scales)
	ADDQ(Imm(32), src)
	ADDQ(Imm(128), dst)
	DECQ(groups)
	JNZ(LabelRef("loop"))
	end()
}

// partsPerBlock is how many registers hold 32 elements.
func partsPerBlock() int { return 2 * perGroup() }

// halfInAllLanes is a float16 of memory, widened, in all lanes of a register.
func halfInAllLanes(m Mem) reg.VecVirtual {
	scale := register()
	if wide {
		half := YMM()
		VPBROADCASTW(m, half)
		VCVTPH2PS(half, scale)
		return scale
	}
	half := XMM()
	VPBROADCASTW(m, half)
	VCVTPH2PS(half, scale)
	return scale
}
