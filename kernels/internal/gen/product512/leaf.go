package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// leaves is the integer side of a tile, the same for all formats: the sums of rounded leaves and the watch over their size.
type leaves struct {
	n      int
	acc    []reg.VecVirtual // per column, the float32 sums of the leaf in progress
	sums   []reg.VecVirtual // per column, the int32 sums of the leaves before
	worst  reg.VecVirtual   // per row, twice the largest |contribution| so far, as bits: the sign has been shifted out
	load   reg.OpmaskVirtual
	store  reg.OpmaskVirtual
	unit   func(column int) Mem // what a leaf's sum is multiplied by, float32
	limit  Mem                  // float32
	out    reg.GPVirtual
	stride reg.GPVirtual // bytes from one column of out to the next
}

// newLeaves loads the parameters out, stride, load, store and limit.
func newLeaves(n int) *leaves {
	l := &leaves{n: n, load: K(), store: K(), worst: ZMM()}
	for range n {
		l.acc = append(l.acc, ZMM())
		l.sums = append(l.sums, ZMM())
	}
	l.limit = parameter("limit")
	KMOVW(parameter("load"), l.load)
	KMOVW(parameter("store"), l.store)
	l.out = Load(Param("out"), GP64()).(reg.GPVirtual)
	l.stride = Load(Param("stride"), GP64()).(reg.GPVirtual)
	SHLQ(Imm(2), l.stride)
	VPXORD(l.worst, l.worst, l.worst)
	return l
}

// start starts the sums with what is in out, or with zero in rows that load leaves out: a tile whose K is cut is continued by another call.
func (l *leaves) start() {
	for _, sum := range l.sums {
		VPXORD(sum, sum, sum)
	}
	// A load under an empty mask would still wait for its line, which is seldom in the cache.
	KORTESTW(l.load, l.load)
	JZ(LabelRef("loaded"))
	l.eachOut(func(i int, at Mem) { VMOVDQU32_Z(at, l.load, l.sums[i]) })
	Label("loaded")
}

// parameter is the address of a parameter.
func parameter(name string) Mem {
	b, err := Param(name).Resolve()
	if err != nil {
		panic(err)
	}
	return b.Addr
}

// eachOut calls do with the address of every column of out.
func (l *leaves) eachOut(do func(i int, at Mem)) {
	at := GP64()
	MOVQ(l.out, at)
	for i := range l.n {
		if i > 0 {
			ADDQ(l.stride, at)
		}
		do(i, Mem{Base: at})
	}
}

// open clears acc, as if an empty leaf came before the first.
func (l *leaves) open() {
	for _, acc := range l.acc {
		VPXORD(acc, acc, acc)
	}
}

// close rounds the leaf's sum in one column and adds it up: c = acc*unit, to the nearest integer, ties to even. A c out of bounds
// makes worst too large and sums wrong, which the caller learns in the end.
func (l *leaves) close(column int) {
	c, whole := ZMM(), ZMM()
	VMULPS_BCST(l.unit(column), l.acc[column], c)
	VCVTPS2DQ(c, whole)
	VPADDD(whole, l.sums[column], l.sums[column])
	VPADDD(c, c, c)
	VPMAXUD(c, l.worst, l.worst)
}

// closeAll closes the leaf in all columns.
func (l *leaves) closeAll() {
	for column := range l.n {
		l.close(column)
	}
}

// write writes the sums.
func (l *leaves) write() {
	l.eachOut(func(i int, at Mem) { VMOVDQU32(l.sums[i], l.store, at) })
}

// end returns whether every contribution stayed within the limit: floats without their signs are in the order of their bits, and
// infinity and NaN come last.
func (l *leaves) end() {
	limit, over := ZMM(), K()
	VBROADCASTSS(l.limit, limit)
	VPADDD(limit, limit, limit)
	const greater = 6
	VPCMPUD(Imm(greater), limit, l.worst, l.store, over)
	KORTESTW(over, over)
	ok := GP8()
	SETEQ(ok)
	Store(ok, ReturnIndex(0))
	VZEROUPPER()
	RET()
}
