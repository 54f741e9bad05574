package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// together is how many blocks of 32 are quantised at once: one lane of an xmm register each in all that is done per block.
const together = 4

// quantiser emits the quantisation of blocks of 32 elements to int8: kernels.Activations.Quantise and kernels.KV.Store.
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
// 128 bits, so that doubleword 4*i+j of the result is what part i of register j had.
func packOrder() Mem {
	parts := 4 * blocksPerRegister() / 2 // of 128 bits in a register
	return table("packOrder", 4*parts, func(i int) uint32 { return uint32(i%parts*4 + i/parts) })
}

// blocksPerRegister is how many blocks of bytes a register holds.
func blocksPerRegister() int { return 3 - registers() }

// part is 16 (wide) or 8 elements of a block in memory.
func (q *quantiser) part(block, part int) Mem {
	size := 32 * blocksPerRegister()
	return Mem{Base: q.x, Disp: block*128 + part*size}
}

// partsPerBlock is how many registers hold the 32 elements of a block.
func partsPerBlock() int { return 2 * registers() }

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
	for part := range partsPerBlock() {
		r := register()
		if wide {
			VPANDD(q.part(block, part), q.magnitude[0], r)
		} else {
			VPAND(q.part(block, part), q.magnitude[0], r)
		}
		if part > 0 {
			VPMAXUD(r, top, top)
		} else {
			top = r
		}
	}
	half := top
	if wide {
		half = YMM()
		VEXTRACTI64X4(Imm(1), top, half)
		VPMAXUD(top.AsY(), half, half)
	}
	quarter := XMM()
	VEXTRACTI128(Imm(1), half, quarter)
	VPMAXUD(quarter, half.AsX(), quarter)
	return quarter
}

// orZero is x where it is at most the largest finite number, and 0 elsewhere.
func (q *quantiser) orZero(x reg.VecVirtual) {
	mask := XMM()
	VCMPPS(Imm(lessOrEqual), q.finite, x, mask)
	VANDPS(mask, x, x)
}

// quants multiplies n blocks by their inverse scales and rounds them to int8. Each result holds blocksPerRegister blocks. What is too
// large becomes 127 by saturation. What is too small, and the indefinite integer that a NaN becomes, is -128 until the last step.
func (q *quantiser) quants(inverse reg.VecVirtual, n int) []reg.VecVirtual {
	var out []reg.VecVirtual
	for first := 0; first < n; first += blocksPerRegister() {
		var parts [4]reg.VecVirtual
		for i := range parts {
			block := first + i/partsPerBlock()
			if block >= n {
				parts[i] = parts[i-partsPerBlock()]
				continue
			}
			if i%partsPerBlock() == 0 {
				inv := broadcastLane(inverse, block)
				for j := range partsPerBlock() {
					parts[i+j] = register()
					VMULPS(q.part(block, j), inv, parts[i+j])
					VCVTPS2DQ(parts[i+j], parts[i+j])
				}
			}
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

// halves are the blocks of 32 bytes in registers, each in a ymm register.
func halves(packed []reg.VecVirtual, n int) []reg.Register {
	var out []reg.Register
	for _, r := range packed {
		out = append(out, r.AsY())
		if wide && len(out) < n {
			upper := YMM()
			VEXTRACTI64X4(Imm(1), r, upper)
			out = append(out, upper)
		}
	}
	return out
}

// quantSums are the sums of the quants of each block, in the lanes of an xmm register. ones holds a 1 in each byte, wordOnes (AVX2) in
// each word.
func quantSums(packed []reg.VecVirtual, n int, ones, wordOnes reg.VecVirtual) reg.VecVirtual {
	var sums []reg.VecVirtual
	for _, r := range packed {
		s := register()
		if wide {
			VPXORD(s, s, s)
			VPDPBUSD(r, ones, s)
		} else {
			VPMADDUBSW(r, ones, s)
			VPMADDWD(wordOnes, s, s)
		}
		sums = append(sums, s)
	}
	eighths := halves(sums, n)
	for len(eighths) < together {
		eighths = append(eighths, eighths[len(eighths)%n])
	}
	first, second := YMM(), YMM()
	VPHADDD(eighths[1], eighths[0], first)
	VPHADDD(eighths[3], eighths[2], second)
	VPHADDD(second, first, first)
	upper := XMM()
	VEXTRACTI128(Imm(1), first, upper)
	VPADDD(upper, first.AsX(), upper)
	return upper
}

// inGroups emits body for four blocks at a time and then for one, until blocks is used up; body advances all pointers but x.
func (q *quantiser) inGroups(blocks reg.Register, body func(n int)) {
	for _, n := range []int{together, 1} {
		loop, done := "loop"+string(rune('0'+n)), "done"+string(rune('0'+n))
		Label(loop)
		CMPQ(blocks, Imm(uint64(n)))
		JLT(LabelRef(done))
		body(n)
		ADDQ(U32(n*128), q.x)
		SUBQ(Imm(uint64(n)), blocks)
		JMP(LabelRef(loop))
		Label(done)
	}
	end()
}

func quantise() {
	p := function("Quantise", "func(quant *[32]int8, scale *float32, sum, start *int32, x *float32, blocks, stride int)",
		"Quantise makes int8 of blocks of 32 elements as kernels.Activations.Quantise does. What belongs to a block is written stride places behind that of the block before.",
		"quant", "scale", "sum", "start", "x", "blocks", "stride")
	quant, scale, sum, start, blocks, stride := p[0], p[1], p[2], p[3], p[5], p[6]
	q := newQuantiser(p[4])
	ones, wordOnes := register(), register()
	VBROADCASTSS(constant("ones", 0x01010101), ones)
	if !wide {
		VBROADCASTSS(constant("wordOnes", 0x00010001), wordOnes)
	}
	at, bytes := GP64(), GP64()
	XORQ(at, at)
	MOVQ(stride, bytes)
	SHLQ(Imm(5), bytes)
	q.inGroups(blocks, func(n int) {
		amax := q.maxima(n)
		inverse := XMM()
		VDIVPS(amax, q.most, inverse)
		q.orZero(inverse)
		VDIVPS(q.most, amax, amax)
		packed := q.quants(inverse, n)
		sums := quantSums(packed, n, ones, wordOnes)
		for _, r := range halves(packed, n) {
			VMOVDQU(r, Mem{Base: quant})
			ADDQ(bytes, quant)
		}
		starts := XMM() // -128 * sum
		VPXOR(starts, starts, starts)
		VPSUBD(sums, starts, starts)
		VPSLLD(Imm(7), starts, starts)
		for lane := range n {
			for _, to := range []struct{ from, base reg.Register }{{amax, scale}, {sums, sum}, {starts, start}} {
				m := Mem{Base: to.base, Index: at, Scale: 4}
				if lane == 0 {
					VMOVD(to.from, m)
				} else {
					VPEXTRD(Imm(uint64(lane)), to.from, m)
				}
			}
			ADDQ(stride, at)
		}
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
	q.inGroups(groups, func(n int) {
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
		for i, r := range halves(q.quants(inverse, n), n) {
			VMOVDQU(r, Mem{Base: dst, Disp: 32 * i})
		}
		ADDQ(Imm(uint64(32*n)), dst)
	})
}
