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
	most      reg.VecVirtual // 127 in 4 lanes
	finite    reg.VecVirtual // the largest finite number in 4 lanes
	least     reg.VecVirtual // -127 in all bytes
	order     reg.VecVirtual // where the doublewords of packed bytes belong
}

func newQuantiser(x reg.Register) *quantiser {
	q := &quantiser{x: x, magnitude: loadedBits("magnitude", 0x7fffffff), most: XMM(), finite: XMM(), least: register(), order: register()}
	VBROADCASTSS(constant("quantMost", math.Float32bits(127)), q.most)
	VBROADCASTSS(constant("maxFloat", math.Float32bits(math.MaxFloat32)), q.finite)
	VBROADCASTSS(constant("quantLeast", 0x81818181), q.least)
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
	var m [together]reg.Register
	for b := range m {
		if b < n {
			m[b] = q.maximum(b)
		} else {
			m[b] = m[b%n]
		}
	}
	// A transposition of four times four lanes, with a maximum at each step.
	pair := func(a, b reg.Register) reg.VecVirtual {
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
func (q *quantiser) maximum(block int) reg.Register {
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
	quarter := XMM()
	VEXTRACTI128(Imm(1), top, quarter)
	VPMAXUD(quarter, top.AsX(), quarter)
	return quarter
}

// orZero is x where it is at most the largest finite number, and 0 elsewhere.
func (q *quantiser) orZero(x reg.VecVirtual) {
	mask := XMM()
	VCMPPS(Imm(lessOrEqual), q.finite, x, mask)
	VANDPS(mask, x, x)
}

// quants multiplies n blocks by their inverse scales and rounds them to int8. inverse gives that of a block in all lanes. What is too
// large becomes 127 by saturation. What is too small, and the indefinite integer that a NaN becomes, is -128 until the last step but one.
func (q *quantiser) quants(n int, inverse func(block int) reg.VecVirtual) []reg.VecVirtual {
	var out []reg.VecVirtual
	for block := range n {
		inv := inverse(block)
		var parts [4]reg.VecVirtual
		for i := range parts {
			parts[i] = register()
			VMULPS(q.part(block, i), inv, parts[i])
			VCVTPS2DQ(parts[i], parts[i])
		}
		low, high := register(), register()
		VPACKSSDW(parts[1], parts[0], low)
		VPACKSSDW(parts[3], parts[2], high)
		VPACKSSWB(high, low, low)
		VPMAXSB(q.least, low, low)
		VPERMD(low, q.order, low)
		out = append(out, low)
	}
	return out
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

// quantSums are the sums of the quants of each block, in the lanes of an xmm register. ones holds a 1 in each byte, wordOnes in
// each word.
func quantSums(packed []reg.VecVirtual, n int, ones, wordOnes reg.VecVirtual) reg.VecVirtual {
	var sums []reg.VecVirtual
	for _, r := range packed {
		s := register()
		VPMADDUBSW(r, ones, s)
		VPMADDWD(wordOnes, s, s)
		sums = append(sums, s)
	}
	first, second := YMM(), YMM()
	VPHADDD(sums[1%n], sums[0], first)
	VPHADDD(sums[3%n], sums[2%n], second)
	VPHADDD(second, first, first)
	upper := XMM()
	VEXTRACTI128(Imm(1), first, upper)
	VPADDD(upper, first.AsX(), upper)
	return upper
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

// storeLanes stores the first n lanes of an xmm register, four or one.
func storeLanes(x reg.VecVirtual, n int, to Mem) {
	if n == together {
		VMOVDQU(x, to)
	} else {
		VMOVD(x, to)
	}
}

// scratchBlocks is how many blocks one call of Quantise takes at most; the scratch memory has room for three numbers for each.
const scratchBlocks = 32

// quantise goes over the blocks three times, because each step of a block waits long for the one before: maxima, then scales and their
// inverses of many blocks at once, then quants. What belongs to a block meanwhile lies in the scratch memory.
func quantise() {
	p := function("Quantise", "func(quant *[32]int8, scale *float32, sum, start *int32, x *float32, blocks, stride int, scratch *[96]float32)",
		"Quantise makes int8 of at most 32 blocks of 32 elements as kernels.Activations.Quantise does. What belongs to a block is written stride places behind that of the block before.",
		"quant", "x", "blocks", "stride", "scratch")
	quant, x, blocks, stride, scratch := p[0], p[1], p[2], p[3], p[4]
	numbers := func(which int, block reg.Register, lane int) Mem {
		return Mem{Base: scratch, Index: block, Scale: 4, Disp: 4 * (which*scratchBlocks + lane)}
	}
	const inverses, scales, sums = 0, 1, 2
	q := newQuantiser(x)
	left, b := GP64(), GP64()
	MOVQ(blocks, left)
	XORQ(b, b)
	q.inGroups("max", left, func(n int) {
		storeLanes(q.maxima(n), n, numbers(inverses, b, 0))
		ADDQ(Imm(uint64(n)), b)
	})
	quantiseScales(scratch, blocks)
	ones, wordOnes := register(), register()
	VBROADCASTSS(constant("ones", 0x01010101), ones)
	VBROADCASTSS(constant("wordOnes", 0x00010001), wordOnes)
	bytes := GP64()
	MOVQ(stride, bytes)
	SHLQ(Imm(5), bytes)
	Load(Param("x"), x)
	MOVQ(blocks, left)
	XORQ(b, b)
	q.inGroups("quant", left, func(n int) {
		packed := q.quants(n, func(block int) reg.VecVirtual {
			inverse := register()
			VBROADCASTSS(numbers(inverses, b, block), inverse)
			return inverse
		})
		for _, r := range packed {
			VMOVDQU(r, Mem{Base: quant})
			ADDQ(bytes, quant)
		}
		storeLanes(quantSums(packed, n, ones, wordOnes), n, numbers(sums, b, 0))
		ADDQ(Imm(uint64(n)), b)
	})
	scale, sum, start := Load(Param("scale"), GP64()), Load(Param("sum"), GP64()), Load(Param("start"), GP64())
	at, number := GP64(), GP32()
	XORQ(at, at)
	XORQ(b, b)
	Label("scatter")
	MOVL(numbers(scales, b, 0), number)
	MOVL(number, Mem{Base: scale, Index: at, Scale: 4})
	MOVL(numbers(sums, b, 0), number)
	MOVL(number, Mem{Base: sum, Index: at, Scale: 4})
	SHLL(Imm(7), number)
	NEGL(number) // -128 * sum
	MOVL(number, Mem{Base: start, Index: at, Scale: 4})
	ADDQ(stride, at)
	INCQ(b)
	CMPQ(b, blocks)
	JLT(LabelRef("scatter"))
	end()
}

// quantiseScales turns the maxima in the scratch memory into scales and their inverses, 16 at a time; what stands behind the last
// block does no harm.
func quantiseScales(scratch, blocks reg.Register) {
	most, finite := loaded("quantMost", 127), loaded("maxFloat", math.MaxFloat32)
	loop("scale", blocks, func(i reg.Register) {
		amax, inverse := fresh(), fresh()
		each(VMOVUPS, elements(scratch, i, 4), amax)
		each(VDIVPS, amax, most, inverse)
		mask := fresh()
		each(immediate(lessOrEqual, VCMPPS), finite, inverse, mask)
		each(VANDPS, mask, inverse, inverse)
		each(VDIVPS, most, amax, amax)
		each(VMOVUPS, inverse, elements(scratch, i, 4))
		scale := elements(scratch, i, 4)
		for r, m := range scale {
			scale[r] = m.(Mem).Offset(4 * scratchBlocks)
		}
		each(VMOVUPS, amax, scale)
	})
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
		packed := q.quants(n, func(block int) reg.VecVirtual { return broadcastLane(inverse, block) })
		for i, r := range packed {
			VMOVDQU(r, Mem{Base: dst, Disp: 32 * i})
		}
		ADDQ(Imm(uint64(32*n)), dst)
	})
	end()
}
