package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

const (
	width = 32 // bytes of a register

	// inRegisters is the largest number of columns whose float32 sums stay in registers. Those of more lie in working memory, whose reads cost
	// nothing beside so much arithmetic.
	inRegisters = 1

	// nosplit is the largest frame of a function that does not ask for more stack: the linker allows 800 bytes with all that calls it.
	nosplit = 700
)

// quantised is the product of a tile of a quantised format, 16 rows by n columns.
type quantised struct {
	name       string
	n          int
	blockBytes int
	together   int // how many halves of a panel are multiplied at once: 1 or 2
	dot        dotter

	quants, starts reg.GPVirtual // of the block in progress, per column
	scales         reg.GPVirtual // of the leaf in progress, per column

	acc  [halves][]reg.VecVirtual // per column, the float32 sums of the leaf in progress, if they are in registers
	sums Mem                      // the same in working memory
	work Mem                      // the working memory of dot
}

// dotter is how the dot products of one block are computed in a format. Its functions write code in the order in which they are called.
type dotter interface {
	// load loads constants, once.
	load(q *quantised)
	// scratch is how many bytes of working memory prepare needs for so many columns.
	scratch(n int) int
	// prepare puts into working memory what rows needs of a block's activations.
	prepare(q *quantised, work Mem)
	// rows computes the dot products of one or two halves of a panel, whose quants begin at weights, with every column: dots[half][column].
	rows(q *quantised, weights []Mem, work Mem, dots [][]reg.VecVirtual)
}

// generate writes the function:
//
//	for each leaf:  acc = 0
//	  for each of its blocks:  acc += float32(dot) * wscale
//	  out += round(acc * scale * unit)
func (q *quantised) generate() {
	frame := width + q.dot.scratch(q.n)
	if q.n > inRegisters {
		frame += halves * width * q.n
	}
	attributes := NOSPLIT
	if frame > nosplit {
		attributes = 0
	}
	TEXT(q.name, attributes, "func(out *int32, stride int, weights *byte, quants *[32]int8, scales *float32, starts *int32, "+
		"blocks, leaf int, unit float32) uint32")
	Doc(fmt.Sprintf("%s multiplies a panel of 16 rows by %d columns; see the package.", q.name, q.n))
	Pragma("noescape")

	r := newRounder()
	q.layOut(frame)
	weights := Load(Param("weights"), GP64()).(reg.GPVirtual)
	q.quants = Load(Param("quants"), GP64()).(reg.GPVirtual)
	q.scales = Load(Param("scales"), GP64()).(reg.GPVirtual)
	q.starts = Load(Param("starts"), GP64()).(reg.GPVirtual)
	left := Load(Param("blocks"), GP64()).(reg.GPVirtual)
	q.dot.load(q)

	Label("leaf")
	count := Load(Param("leaf"), GP64()).(reg.GPVirtual)
	CMPQ(count, left)
	CMOVQGT(left, count) // the last leaf may be shorter
	SUBQ(count, left)
	q.open()

	Label("block")
	q.block(weights)
	ADDQ(U32(q.blockBytes), weights)
	ADDQ(U32(32*q.n), q.quants)
	ADDQ(U32(4*q.n), q.starts)
	DECQ(count)
	JNZ(LabelRef("block"))

	r.close(q.n, q.scaledSums())
	ADDQ(U32(4*q.n), q.scales)
	TESTQ(left, left)
	JNZ(LabelRef("leaf"))
	r.end()
}

// layOut finds places for the sums and lays out the working memory, aligned to registers.
func (q *quantised) layOut(frame int) {
	if frame > width {
		q.sums = Mem{Base: GP64()}
		LEAQ(AllocLocal(frame).Offset(width-1), q.sums.Base)
		ANDQ(I8(-width), q.sums.Base)
		q.work = q.sums.Offset(frame - width - q.dot.scratch(q.n))
	}
	if q.n <= inRegisters {
		for h := range q.acc {
			for range q.n {
				q.acc[h] = append(q.acc[h], YMM())
			}
		}
	}
}

// sum is where the float32 sums of half h of column i are.
func (q *quantised) sum(h, i int) Op {
	if q.n <= inRegisters {
		return q.acc[h][i]
	}
	return q.sums.Offset((h*q.n + i) * width)
}

// open starts a leaf.
func (q *quantised) open() {
	zero := YMM()
	VXORPS(zero, zero, zero)
	for h := range halves {
		for i := range q.n {
			VMOVAPS(zero, q.sum(h, i))
		}
	}
}

// block adds the products of one block to the sums.
func (q *quantised) block(weights reg.GPVirtual) {
	q.dot.prepare(q, q.work)
	for h := 0; h < halves; h += q.together {
		dots, quants := make([][]reg.VecVirtual, q.together), make([]Mem, q.together)
		for i := range q.together {
			dots[i] = registers(q.n)
			quants[i] = Mem{Base: weights, Disp: 32 + width*(h+i)}
		}
		q.dot.rows(q, quants, q.work, dots)
		q.scale(Mem{Base: weights, Disp: 16 * h}, h, dots)
	}
}

// scale adds float32(dot) * wscale to the sums of half h and those behind it.
func (q *quantised) scale(halfScales Mem, h int, dots [][]reg.VecVirtual) {
	for j := range dots {
		wscale := YMM()
		VCVTPH2PS(halfScales.Offset(16*j), wscale)
		for i, dot := range dots[j] {
			sum := q.sum(h+j, i)
			VCVTDQ2PS(dot, dot)
			VMULPS(wscale, dot, dot)
			if q.n <= inRegisters {
				VADDPS(dot, sum, sum)
			} else {
				VADDPS(sum, dot, dot)
				VMOVAPS(dot, sum)
			}
		}
	}
}

// scaledSums gives the sums of a leaf, of half h of column i, times the scale of the column's activations.
func (q *quantised) scaledSums() func(h, i int) Op {
	scale, product := YMM(), YMM()
	return func(h, i int) Op {
		if h == 0 {
			VBROADCASTSS(Mem{Base: q.scales, Disp: 4 * i}, scale)
		}
		VMULPS(q.sum(h, i), scale, product)
		return product
	}
}
