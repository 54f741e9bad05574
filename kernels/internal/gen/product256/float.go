package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// float is the product of a tile of a float format, 16 rows by n columns.
type float struct {
	name  string
	n     int
	group grouper
}

// grouper is a format's step: it adds the products of two k's, whose weights begin at weights, to the sums; column(i) is the address of the two
// inputs of column i. It returns how many bytes of weights that are.
type grouper func(weights Mem, column func(i int) Mem, acc [halves][]reg.VecVirtual) (bytes int)

// unroll is how many steps of two k's the loop takes at a time: BlockK is a multiple of them.
const unroll = 4

// generate writes the function:
//
//	for each leaf:  acc = 0;  for each k of it:  acc += w*x
//	  out += round(acc * unit)
func (f float) generate() {
	TEXT(f.name, NOSPLIT, "func(out *int32, stride int, weights *byte, x *float32, xstride int, blocks, leaf int, unit float32) uint32")
	Doc(fmt.Sprintf("%s multiplies a panel of 16 rows by %d columns; see Tile.", f.name, f.n))
	Pragma("noescape")

	r := newRounder()
	weights := Load(Param("weights"), GP64()).(reg.GPVirtual)
	x := Load(Param("x"), GP64()).(reg.GPVirtual)
	stride, stride3 := Load(Param("xstride"), GP64()).(reg.GPVirtual), GP64()
	SHLQ(Imm(2), stride)
	LEAQ(Mem{Base: stride, Index: stride, Scale: 2}, stride3)
	column := func(i int) Mem {
		return []Mem{{Base: x}, {Base: x, Index: stride, Scale: 1}, {Base: x, Index: stride, Scale: 2}, {Base: x, Index: stride3, Scale: 1}}[i]
	}
	left := Load(Param("blocks"), GP64()).(reg.GPVirtual)
	var acc [halves][]reg.VecVirtual
	for h := range acc {
		for range f.n {
			acc[h] = append(acc[h], YMM())
		}
	}

	Label("leaf")
	count := Load(Param("leaf"), GP64()).(reg.GPVirtual)
	CMPQ(count, left)
	CMOVQGT(left, count) // the last leaf may be shorter
	SUBQ(count, left)
	SHLQ(Imm(2), count) // steps of 2*unroll k's
	for _, half := range acc {
		for _, a := range half {
			VXORPS(a, a, a)
		}
	}

	Label("step")
	at := 0
	for u := range unroll {
		at += f.group(Mem{Base: weights, Disp: at}, func(i int) Mem { return column(i).Offset(8 * u) }, acc)
	}
	ADDQ(U32(at), weights)
	ADDQ(Imm(8*unroll), x)
	DECQ(count)
	JNZ(LabelRef("step"))

	r.close(f.n, func(h, i int) Op { return acc[h][i] })
	TESTQ(left, left)
	JNZ(LabelRef("leaf"))
	r.end()
}

// groupF32 takes weights as they are.
func groupF32(weights Mem, column func(i int) Mem, acc [halves][]reg.VecVirtual) (bytes int) {
	for k := range 2 {
		addProducts([halves]Op{weights.Offset(64 * k), weights.Offset(64*k + width)}, func(i int) Mem { return column(i).Offset(4 * k) }, acc)
	}
	return 128
}

// groupBF16 makes two float32 of each word of weights: the low half is k, the high half k+1.
func groupBF16(weights Mem, column func(i int) Mem, acc [halves][]reg.VecVirtual) (bytes int) {
	var even, odd [halves]Op
	for h := range halves {
		e, o := YMM(), YMM()
		VMOVDQU(weights.Offset(width*h), o)
		VPSLLD(Imm(16), o, e)
		VPSRLD(Imm(16), o, o)
		VPSLLD(Imm(16), o, o)
		even[h], odd[h] = e, o
	}
	addProducts(even, column, acc)
	addProducts(odd, func(i int) Mem { return column(i).Offset(4) }, acc)
	return 64
}

// addProducts adds the products of one k's weights, in memory or in registers, to the sums of every column.
func addProducts(weights [halves]Op, column func(i int) Mem, acc [halves][]reg.VecVirtual) {
	if len(acc[0]) > 1 {
		for h, w := range weights {
			if m, ok := w.(Mem); ok {
				r := YMM()
				VMOVUPS(m, r)
				weights[h] = r
			}
		}
	}
	for i := range acc[0] {
		x, product := YMM(), YMM()
		VBROADCASTSS(column(i), x)
		for h, w := range weights {
			VMULPS(w, x, product)
			VADDPS(product, acc[h][i], acc[h][i])
		}
	}
}
