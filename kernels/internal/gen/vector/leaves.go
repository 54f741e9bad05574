package main

import (
	"fmt"
	"math/bits"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// quantise writes Quantise4 or Quantise1, for leaves of so many blocks. Models have no other leaves.
//
// A group is measured while the one before is multiplied: from the magnitudes to the inverse scale each step waits long for the last. One
// group after the other took two fifths longer (Zen 4).
func quantise(leaf int) {
	name := fmt.Sprintf("Quantise%d", leaf)
	p := function(name, "func(quant *[32]int8, scale *float32, sum, start *int32, x *float32, groups, stride int)",
		name+fmt.Sprintf(" makes int8 of groups of %d blocks of 32 elements as kernels.Activations.Quantise does, with %d in a leaf. "+
			"What belongs to a block or a leaf is written stride places behind that of the one before.", together, leaf),
		"quant", "scale", "sum", "start", "x", "groups")
	x, groups := p[4], p[5]
	bytes, numbers := newStride(32), newStride(4)
	quants, scales := column{p[0], bytes}, column{p[1], numbers}
	sums, starts := column{p[2], numbers}, column{p[3], numbers}
	q, zero := newQuantiser(x), register()
	VPXOR(zero, zero, zero)

	scale, inverse := XMM(), XMM()
	q.measure(leaf, scale, inverse)
	Label("group")
	scales.storeLanes(scale, together/leaf)
	spread := q.spread(leaf, inverse)
	next := GP64()
	LEAQ(Mem{Base: x, Disp: together * 128}, next)
	CMPQ(groups, Imm(1))
	CMOVQEQ(x, next) // the last one is measured again, for nothing
	q.x = next
	q.measure(leaf, scale, inverse)
	q.x = x

	var quarters []reg.VecVirtual
	for block := range together {
		packed := q.quants(block, spread(block))
		VMOVDQU(packed, quants.at(block))
		quarters = append(quarters, quarterSums(packed, zero))
	}
	sum, start := blockSums(quarters, zero)
	sums.storeLanes(sum, together)
	starts.storeLanes(start, together)
	MOVQ(next, x)
	quants.advance(together)
	scales.advance(together / leaf)
	sums.advance(together)
	starts.advance(together)
	DECQ(groups)
	JNZ(LabelRef("group"))
	end()
}

// measure sets the scales and the inverse scales of the leaves of a group, in the lanes of xmm registers.
func (q *quantiser) measure(leaf int, scale, inverse reg.VecVirtual) {
	var amax reg.VecVirtual
	if leaf == together {
		amax = q.maximumOfGroup()
	} else {
		amax = q.maxima(together)
	}
	VDIVPS(q.most, amax, scale)
	most := XMM()
	VMOVAPS(q.most, most)
	VDIVPS(amax, most, inverse)
	q.orZero(inverse)
}

// spread keeps a group's inverse scales, so that their register may be written again. The result gives that
// of a block in all lanes.
func (q *quantiser) spread(leaf int, inverse reg.VecVirtual) func(block int) reg.VecVirtual {
	if leaf == together {
		all := broadcastLane(inverse, 0)
		return func(int) reg.VecVirtual { return all }
	}
	kept := XMM()
	VMOVAPS(inverse, kept)
	return func(block int) reg.VecVirtual { return broadcastLane(kept, block) }
}

// quarterSums are the sums of each quarter of a block's quants, plus 8 times 128, in quadwords.
func quarterSums(packed, zero reg.VecVirtual) reg.VecVirtual {
	sums := register()
	VPXOR(constant("excess", 0x80808080), packed, sums)
	VPSADBW(zero, sums, sums)
	return sums
}

// blockSums are the sums of the quants of four blocks, whose quarterSums it takes, and -128 times that, in the lanes of xmm registers.
func blockSums(quarters []reg.VecVirtual, zero reg.VecVirtual) (sum, start reg.VecVirtual) {
	const lowerHalves = 0x88
	VSHUFPS(Imm(lowerHalves), quarters[1], quarters[0], quarters[0])
	VSHUFPS(Imm(lowerHalves), quarters[3], quarters[2], quarters[2])
	VPHADDD(quarters[2], quarters[0], quarters[0])
	sum, start = XMM(), XMM()
	VEXTRACTI128(Imm(1), quarters[0], sum)
	VPADDD(quarters[0].AsX(), sum, sum)
	VPSUBD(constant("blockExcess", 32*128), sum, sum)
	VPSUBD(sum, zero.AsX(), start)
	VPSLLD(Imm(7), start, start)
	return sum, start
}

// stride is the distance between two places, in bytes, and three times that.
type stride struct{ once, thrice reg.Register }

// newStride multiplies the parameter of that name by the bytes in a place, a power of two.
func newStride(size int) stride {
	s := stride{Load(Param("stride"), GP64()), GP64()}
	SHLQ(Imm(uint64(bits.TrailingZeros(uint(size)))), s.once)
	LEAQ(Mem{Base: s.once, Index: s.once, Scale: 2}, s.thrice)
	return s
}

// column is a run of places of which one row's numbers are stored to.
type column struct {
	next reg.Register // the address of the next place
	stride
}

// at is a place i further on, of four.
func (c column) at(i int) Mem {
	switch i {
	case 1, 2:
		return Mem{Base: c.next, Index: c.once, Scale: uint8(i)}
	case 3:
		return Mem{Base: c.next, Index: c.thrice, Scale: 1}
	}
	return Mem{Base: c.next}
}

// advance moves by one place or by four.
func (c column) advance(places int) {
	if places == 1 {
		ADDQ(c.once, c.next)
	} else {
		LEAQ(Mem{Base: c.next, Index: c.once, Scale: uint8(places)}, c.next)
	}
}

// storeLanes stores the first n lanes of an xmm register.
func (c column) storeLanes(x reg.VecVirtual, n int) {
	VMOVD(x, c.at(0))
	for i := 1; i < n; i++ {
		VPEXTRD(Imm(uint64(i)), x, c.at(i))
	}
}
