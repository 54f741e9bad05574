package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// together is how many blocks of 32 are quantised at once: one lane of an xmm register each in all that is done per block.
const together = 4

// quantiser emits the quantisation of blocks of 32 elements to int8: kernels.Activations.Quantise and kernels.KV.Store. There is only this
// version, for AVX2: with registers of 512 bits, which must be halved for most of the steps, the first took a fifth longer, and for a
// head of 128 there was no difference that stood out of the noise (Zen 4).
type quantiser struct {
	x         reg.Register // the blocks
	magnitude group
	order     reg.VecVirtual // where the doublewords of packed bytes belong

	// In memory, so that enough registers are left:
	most   Mem // 127 in all lanes
	finite Mem // the largest finite number in all lanes
	least  Mem // -127 in all bytes
}

func newQuantiser(x reg.Register) *quantiser {
	q := &quantiser{
		x: x, magnitude: loadedBits("magnitude", 0x7fffffff), order: register(),
		most:   constant("quantMost", math.Float32bits(127)),
		finite: constant("maxFloat", math.Float32bits(math.MaxFloat32)),
		least:  constant("quantLeast", 0x81818181),
	}
	VMOVUPS(packOrder(), q.order)
	return q
}

// packOrder is the permutation that puts the doublewords of four packed registers into the registers' order: packing works inside each
// 128 bits, so that doubleword 4*i+j of the result is what half i of register j had.
func packOrder() Mem {
	return table("packOrder", 8, func(i int) uint32 { return uint32(i%2*4 + i/2) })
}

// part is 8 elements of a block in memory.
func (q *quantiser) part(block, part int) Mem {
	return Mem{Base: q.x, Disp: block*128 + part*32}
}

// maxima is the largest magnitude of each of n blocks, as bits, in the lanes of an xmm register. The bits of non-negative floats order
// like integers, with every NaN above Inf.
func (q *quantiser) maxima(n int) reg.VecVirtual {
	var m [together]reg.VecVirtual
	for b := range m {
		if b < n {
			m[b] = q.maximum(b)
		} else {
			m[b] = m[b%n]
		}
	}
	// A transposition of four times four lanes, with a maximum at each step.
	pair := func(a, b reg.VecVirtual) reg.VecVirtual {
		low, high := XMM(), XMM()
		VPUNPCKLDQ(b, a, low)
		VPUNPCKHDQ(b, a, high)
		VPMAXUD(high, low, low)
		return low
	}
	first, second := pair(m[0], m[1]), pair(m[2], m[3])
	low := XMM()
	VPUNPCKLQDQ(second, first, low)
	VPUNPCKHQDQ(second, first, first)
	VPMAXUD(first, low, low)
	return low
}

// maximum is the largest magnitudes of a block in four lanes.
func (q *quantiser) maximum(block int) reg.VecVirtual { return halve(q.top(block)) }

// top is the largest magnitudes of a block in eight lanes.
func (q *quantiser) top(block int) reg.VecVirtual {
	var top reg.VecVirtual
	for part := range 4 {
		r := register()
		VPAND(q.part(block, part), q.magnitude[0], r)
		if part > 0 {
			VPMAXUD(r, top, top)
		} else {
			top = r
		}
	}
	return top
}

// halve is the larger ones of the lanes of a register's halves.
func halve(x reg.VecVirtual) reg.VecVirtual {
	half := XMM()
	VEXTRACTI128(Imm(1), x, half)
	VPMAXUD(half, x.AsX(), half)
	return half
}

// maximumOfGroup is the largest magnitude of four blocks, as bits, in all lanes of an xmm register.
func (q *quantiser) maximumOfGroup() reg.VecVirtual {
	tops := []reg.VecVirtual{q.top(0), q.top(1), q.top(2), q.top(3)}
	VPMAXUD(tops[1], tops[0], tops[0])
	VPMAXUD(tops[3], tops[2], tops[2])
	VPMAXUD(tops[2], tops[0], tops[0])
	m, other := halve(tops[0]), XMM()
	for _, order := range []uint64{0x4e, 0xb1} { // the other two lanes, then the neighbour
		VPSHUFD(Imm(order), m, other)
		VPMAXUD(other, m, m)
	}
	return m
}

// orZero is x where it is at most the largest finite number, and 0 elsewhere.
func (q *quantiser) orZero(x reg.VecVirtual) {
	mask := XMM()
	VCMPPS(Imm(lessOrEqual), q.finite, x, mask)
	VANDPS(mask, x, x)
}

// quants multiplies a block by its inverse scale, which is in all lanes, and rounds it to int8. What is too large becomes 127 by
// saturation. What is too small, and the indefinite integer that a NaN becomes, is -128 until the last step but one.
func (q *quantiser) quants(block int, inverse reg.VecVirtual) reg.VecVirtual {
	var parts [4]reg.VecVirtual
	for i := range parts {
		parts[i] = register()
		VMULPS(q.part(block, i), inverse, parts[i])
		VCVTPS2DQ(parts[i], parts[i])
	}
	VPACKSSDW(parts[1], parts[0], parts[0])
	VPACKSSDW(parts[3], parts[2], parts[2])
	VPACKSSWB(parts[2], parts[0], parts[0])
	VPMAXSB(q.least, parts[0], parts[0])
	VPERMD(parts[0], q.order, parts[0])
	return parts[0]
}

// broadcastLane is one of an xmm register's four lanes in all lanes of a register.
func broadcastLane(x reg.VecVirtual, lane int) reg.VecVirtual {
	r := register()
	if lane == 0 {
		VBROADCASTSS(x, r)
		return r
	}
	t := XMM()
	VPSHUFD(Imm(uint64(lane*0x55)), x, t)
	VBROADCASTSS(t, r)
	return r
}

// inGroups emits body for four blocks at a time and then for one, until there are no more of blocks, which it uses up; body
// advances all pointers but x.
func (q *quantiser) inGroups(label string, blocks reg.Register, body func(n int)) {
	for _, n := range []int{together, 1} {
		loop, done := label+string(rune('0'+n)), label+"Done"+string(rune('0'+n))
		Label(loop)
		CMPQ(blocks, Imm(uint64(n)))
		JLT(LabelRef(done))
		body(n)
		ADDQ(U32(n*128), q.x)
		SUBQ(Imm(uint64(n)), blocks)
		JMP(LabelRef(loop))
		Label(done)
	}
}

func storeGroups() {
	p := function("StoreGroups", "func(dst, scales *byte, src *float32, groups int)",
		"StoreGroups quantises groups of 32 values with a float16 scale each, as kernels.KV.Store does.", "dst", "scales", "src", "groups")
	dst, scales, groups := p[0], p[1], p[3]
	q := newQuantiser(p[2])
	one, nan := XMM(), XMM()
	VBROADCASTSS(constant("one", math.Float32bits(1)), one)
	VBROADCASTSS(constant("quietNaN", 0x7fc00000), nan)
	q.inGroups("group", groups, func(n int) {
		scale := q.maxima(n)
		VDIVPS(q.most, scale, scale)
		mask := XMM()
		VCMPPS(Imm(unordered), scale, scale, mask)
		VBLENDVPS(mask, nan, scale, scale) // one NaN for all
		VCVTPS2PH(Imm(0), scale, scale)
		if n == together {
			VMOVQ(scale, Mem{Base: scales})
		} else {
			VPEXTRW(Imm(0), scale, Mem{Base: scales})
		}
		ADDQ(Imm(uint64(2*n)), scales)
		VCVTPH2PS(scale, scale)
		inverse := XMM()
		VDIVPS(scale, one, inverse)
		q.orZero(inverse)
		for block := range n {
			VMOVDQU(q.quants(block, broadcastLane(inverse, block)), Mem{Base: dst, Disp: 32 * block})
		}
		ADDQ(Imm(uint64(32*n)), dst)
	})
	end()
}
