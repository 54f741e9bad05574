package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// float is the product of a tile of a float format, 16 rows by n columns.
//
// Inside a leaf each sum is a chain of additions, and one or two columns are too few chains to fill the time. Two leaves at once fill it,
// twice as fast from the cache, but reading two places at once is slower from memory, where these weights lie: 10.6 GB/s against 13 to 17.
type float struct {
	name       string
	n          int
	blockBytes int
	group      grouper

	weights, x      reg.GPVirtual
	stride, stride3 reg.GPVirtual // bytes from one column of x to the next, and three times that
	acc             [halves][]reg.VecVirtual
}

// grouper is a format's step: it adds the products of two k's, whose weights begin at weights, to the sums. x(i) is the address of the two
// inputs of column i.
type grouper func(weights Mem, x func(i int) Mem, acc [halves][]reg.VecVirtual)

const (
	unroll = 4 // how many steps of two k's the loop takes at a time
	blockK = 32
)

// generate writes the function:
//
//	for each leaf:  acc = 0;  for each k of it:  acc += w*x
//	  out += round(acc * unit)
func (f *float) generate() {
	TEXT(f.name, NOSPLIT, "func(out *int32, stride int, weights *byte, x *float32, xstride int, blocks, leaf int, unit float32) uint32")
	Doc(fmt.Sprintf("%s multiplies a panel of 16 rows by %d columns; see the package.", f.name, f.n))
	Pragma("noescape")

	r := newRounder()
	f.weights = Load(Param("weights"), GP64()).(reg.GPVirtual)
	f.x = Load(Param("x"), GP64()).(reg.GPVirtual)
	f.stride, f.stride3 = Load(Param("xstride"), GP64()).(reg.GPVirtual), GP64()
	SHLQ(Imm(2), f.stride)
	LEAQ(Mem{Base: f.stride, Index: f.stride, Scale: 2}, f.stride3)
	left := Load(Param("blocks"), GP64()).(reg.GPVirtual)
	for h := range f.acc {
		f.acc[h] = registers(f.n)
	}

	Label("leaf")
	count := Load(Param("leaf"), GP64()).(reg.GPVirtual)
	CMPQ(count, left)
	CMOVQGT(left, count) // the last leaf may be shorter
	SUBQ(count, left)
	f.loop(count)
	r.close(f.n, func(h, i int) Op { return f.acc[h][i] })
	TESTQ(left, left)
	JNZ(LabelRef("leaf"))
	r.end()
}

// loop adds up so many blocks.
func (f *float) loop(blocks reg.GPVirtual) {
	for _, half := range f.acc {
		for _, sum := range half {
			VXORPS(sum, sum, sum)
		}
	}
	const turns = blockK / (2 * unroll)
	SHLQ(Imm(2), blocks) // turns of a block
	Label("turn")
	for u := range unroll {
		f.group(Mem{Base: f.weights, Disp: u * f.blockBytes / (blockK / 2)}, func(i int) Mem { return f.column(i).Offset(8 * u) }, f.acc)
	}
	ADDQ(U32(f.blockBytes/turns), f.weights)
	ADDQ(Imm(4*blockK/turns), f.x)
	DECQ(blocks)
	JNZ(LabelRef("turn"))
}

// column is the address of the inputs of column i.
func (f *float) column(i int) Mem {
	switch i {
	case 1:
		return Mem{Base: f.x, Index: f.stride, Scale: 1}
	case 2:
		return Mem{Base: f.x, Index: f.stride, Scale: 2}
	case 3:
		return Mem{Base: f.x, Index: f.stride3, Scale: 1}
	}
	return Mem{Base: f.x}
}

// groupF32 takes weights as they are.
func groupF32(weights Mem, x func(i int) Mem, acc [halves][]reg.VecVirtual) {
	for k := range 2 {
		weight := [halves]Op{weights.Offset(64 * k), weights.Offset(64*k + width)}
		if len(acc[0]) > 1 {
			for h, at := range weight {
				r := YMM()
				VMOVUPS(at, r)
				weight[h] = r
			}
		}
		addProducts(weight, func(i int) Mem { return x(i).Offset(4 * k) }, acc)
	}
}

// groupBF16 makes two float32 of each word of weights: the low half is k, the high half k+1.
func groupBF16(weights Mem, x func(i int) Mem, acc [halves][]reg.VecVirtual) {
	var even, odd [halves]Op
	for h := range halves {
		e, o := YMM(), YMM()
		VMOVDQU(weights.Offset(width*h), o)
		VPSLLD(Imm(16), o, e)
		VPAND(data("upperHalves", 0), o, o)
		even[h], odd[h] = e, o
	}
	addProducts(even, x, acc)
	addProducts(odd, func(i int) Mem { return x(i).Offset(4) }, acc)
}

// addProducts adds the products of one k's weights, in memory or in registers, to the sums of every column.
func addProducts(weights [halves]Op, x func(i int) Mem, acc [halves][]reg.VecVirtual) {
	for i := range acc[0] {
		input, product := YMM(), YMM()
		VBROADCASTSS(x(i), input)
		for h, w := range weights {
			VMULPS(w, input, product)
			VADDPS(product, acc[h][i], acc[h][i])
		}
	}
}
