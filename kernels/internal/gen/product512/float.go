package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// float is the product of a tile of a float format, 16 rows by n columns.
type float struct {
	name string
	doc  string
	n    int
	bf16 bool

	prefetchFrom int // as in quantised
}

const floatSignature = "(out *int32, stride int, load, store uint16, weights *byte, x *float32, pitch int, " +
	"blocks, leaf int, unit, limit float32) bool"

// floatStep is how many k's one turn of the loop takes.
const floatStep = 8

// generate writes the function:
//
//	for each leaf:  acc = 0;  for each k: acc += w * x;  sums += round(acc * unit)
//
// The columns hide each other's latency of an addition; for one column the leaves do.
func (f float) generate() {
	TEXT(f.name, NOSPLIT, "func"+floatSignature)
	Doc(f.doc)
	Pragma("noescape")

	l := newLeaves(f.n)
	l.unit = func(int) Mem { return parameter("unit") }
	l.start()
	weights := Load(Param("weights"), GP64()).(reg.GPVirtual)
	x := loadColumns(f.n)
	left := Load(Param("blocks"), GP64()).(reg.GPVirtual)
	var odd reg.VecVirtual
	if f.bf16 {
		odd = upperHalves()
	}

	Label("leaf")
	count := Load(Param("leaf"), GP64()).(reg.GPVirtual)
	CMPQ(count, left)
	CMOVQGT(left, count) // the last leaf may be shorter
	SUBQ(count, left)
	SHLQ(U8(2), count) // 32/floatStep turns a block
	l.open()

	Label("step")
	size := 64 * floatStep
	if f.bf16 {
		size /= 2
	}
	if f.n >= f.prefetchFrom {
		for at := 0; at < size; at += 64 {
			PREFETCHT1(Mem{Base: weights, Disp: prefetchDistance + at})
		}
	} else {
		prefetchNextPage(weights)
	}
	w, product := ZMM(), ZMM()
	multiply := func(k int) {
		for i, acc := range l.acc {
			VMULPS_BCST(x.at(i, 4*k), w, product)
			VADDPS(product, acc, acc)
		}
	}
	for k := 0; k < floatStep; k += 2 {
		if f.bf16 {
			pair := Mem{Base: weights, Disp: 32 * k}
			VPSLLD(Imm(16), pair, w)
			multiply(k)
			VPANDD(pair, odd, w)
			multiply(k + 1)
			continue
		}
		VMOVUPS(Mem{Base: weights, Disp: 64 * k}, w)
		multiply(k)
		VMOVUPS(Mem{Base: weights, Disp: 64*k + 64}, w)
		multiply(k + 1)
	}
	ADDQ(U32(size), weights)
	x.advance(4 * floatStep)
	DECQ(count)
	JNZ(LabelRef("step"))

	l.closeAll()
	TESTQ(left, left)
	JNZ(LabelRef("leaf"))
	l.write()
	l.end()
}

// upperHalves is the mask of the upper halves of 32-bit words, which hold the odd k's of bfloat16.
func upperHalves() reg.VecVirtual {
	bits, mask := GP32(), ZMM()
	MOVL(U32(0xffff0000), bits)
	VPBROADCASTD(bits, mask)
	return mask
}

// xColumns addresses up to eight columns of x with four registers: column i is even or odd, plus 0, 2, 4 or 6 pitches.
type xColumns struct {
	base   [2]reg.GPVirtual
	pitch  reg.GPVirtual // bytes from column to column
	triple reg.GPVirtual // three times that
	n      int
}

// loadColumns loads the parameters x and pitch.
func loadColumns(n int) *xColumns {
	c := &xColumns{n: n}
	c.base[0] = Load(Param("x"), GP64()).(reg.GPVirtual)
	if n == 1 {
		return c
	}
	c.pitch = Load(Param("pitch"), GP64()).(reg.GPVirtual)
	SHLQ(U8(2), c.pitch)
	c.base[1] = GP64()
	LEAQ(Mem{Base: c.base[0], Index: c.pitch, Scale: 1}, c.base[1])
	if n > 6 {
		c.triple = GP64()
		LEAQ(Mem{Base: c.pitch, Index: c.pitch, Scale: 2}, c.triple)
	}
	return c
}

// at is the address of column i, some bytes on.
func (c *xColumns) at(i, bytes int) Mem {
	base := c.base[i%2]
	switch i / 2 {
	case 0:
		return Mem{Base: base, Disp: bytes}
	case 3:
		return Mem{Base: base, Index: c.triple, Scale: 2, Disp: bytes}
	}
	return Mem{Base: base, Index: c.pitch, Scale: uint8(i / 2 * 2), Disp: bytes}
}

// advance moves all columns on.
func (c *xColumns) advance(bytes int) {
	for i := range min(c.n, 2) {
		ADDQ(U32(bytes), c.base[i])
	}
}
