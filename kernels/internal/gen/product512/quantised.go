package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// quantised is the product of a tile of a quantised format, 16 rows by n columns.
type quantised struct {
	name, doc  string
	n          int
	unpack     func(q *quantised, quants reg.GPVirtual, multiply multiplier)
	quantBytes int  // of a block
	table      bool // unpack needs loadTable
	masks      bool // and the mask of a nibble

	// prefetchFrom is the number of columns from which a tile fetches all weights ahead. Where few columns wait for memory all the time the
	// processor's own prefetcher does better, if it is helped over the end of each page (prefetchNextPage); with more of them it does not run
	// far enough ahead. A tile that also multiplies then took as long as the reading and the multiplying one after the other.
	prefetchFrom int

	levels, nibble reg.VecVirtual // what loadTable loads

	units   Mem // of the leaf in progress, a float32 for each column
	columns reg.OpmaskVirtual
}

// prefetchDistance is how far ahead weights are fetched into the second-level cache, in bytes. On Zen 4, 6 to 32 KB are the same within the
// noise, less is worse, and so is the first-level cache.
const prefetchDistance = 12 << 10

// prefetchNextPage fetches a line of the first quarter of the next page, the one as far from its start, in quarters, as weights is from that of its
// own. The processor's prefetcher stops at the end of a page and would begin the next with its first misses. Few columns, which do little but
// wait for memory, lost a twentieth of their speed so. More of the page is no better, the first-level cache is worse.
func prefetchNextPage(weights reg.GPVirtual) {
	const page = 4096
	start, line := GP64(), GP64()
	MOVQ(weights, start)
	ANDQ(I32(-page), start)
	MOVQ(weights, line)
	ANDQ(U32(page-1), line)
	SHRQ(Imm(2), line)
	PREFETCHT1(Mem{Base: start, Index: line, Scale: 1, Disp: page})
}

// scaleBytes is the size of the scales of a block, in front of its quants.
const scaleBytes = 32

// multiplier adds the products of 16 rows × 4 k's of weights, 0 to 255 and 128 too large, with the activations from byte k of their
// block on to the dot products of every column.
type multiplier func(weights reg.VecVirtual, k int)

const signature = "(out *int32, stride int, load, store uint16, weights *byte, skip int, quants *[32]int8, scales *float32, starts *int32, " +
	"panels, blocks, leaf int, unit, limit float32) bool"

// cursor is where in a tile a function is.
type cursor struct {
	weights                reg.GPVirtual // behind the scales of a block: the offsets of the quants are multiples of 64, which encode in a byte
	quants, scales, starts reg.GPVirtual
	dots                   []reg.VecVirtual
}

// generate writes the function:
//
//	for each panel, for each leaf:  acc = 0
//	  for each of its blocks:  dot = start;  dot += weights * quants;  acc += float32(dot) * wscale
//	  sums += round(acc * (scale * unit))
//
// unit is a power of two, so acc*(scale*unit) and (acc*scale)*unit differ only where both round to 0, or where at least one is beyond every
// limit or a NaN, and then so is the other, or it is 0 and the caller is told in vain.
//
// The first block of a leaf is a copy of its own. It closes the leaf before, a column after each group of multiplications: in one heap
// at the end of a leaf, the closings left the multipliers idle for 4 % of the time (Zen 4, leaves of four blocks).
func (q quantised) generate() {
	TEXT(q.name, NOSPLIT, "func"+signature)
	Doc(q.doc)
	Pragma("noescape")

	l := newLeaves(q.n)
	c := q.newCursor()
	q.makeUnits(l)
	panels := Load(Param("panels"), GP64()).(reg.GPVirtual)
	if q.table {
		q.loadTable()
	}

	Label("panel")
	l.start()
	c.loadColumns()
	left := Load(Param("blocks"), GP64()).(reg.GPVirtual)
	q.clearUnits()
	l.open()

	Label("leaf")
	count := Load(Param("leaf"), GP64()).(reg.GPVirtual)
	CMPQ(count, left)
	CMOVQGT(left, count) // the last leaf may be shorter
	SUBQ(count, left)
	q.block(c, l, true)
	DECQ(count)
	JZ(LabelRef("closed"))

	Label("block")
	q.block(c, l, false)
	DECQ(count)
	JNZ(LabelRef("block"))

	Label("closed")
	TESTQ(left, left)
	JNZ(LabelRef("leaf"))
	l.closeAll()
	l.write()
	ADDQ(parameter("skip"), c.weights)
	ADDQ(Imm(4*16), l.out)
	DECQ(panels)
	JNZ(LabelRef("panel"))
	l.end()
}

// newCursor loads the parameter weights.
func (q *quantised) newCursor() *cursor {
	c := &cursor{weights: Load(Param("weights"), GP64()).(reg.GPVirtual), quants: GP64(), scales: GP64(), starts: GP64()}
	ADDQ(Imm(scaleBytes), c.weights)
	for range q.n {
		c.dots = append(c.dots, ZMM())
	}
	return c
}

// loadColumns loads the parameters quants, scales and starts, which are the same for every panel.
func (c *cursor) loadColumns() {
	Load(Param("quants"), c.quants)
	Load(Param("scales"), c.scales)
	Load(Param("starts"), c.starts)
}

// makeUnits makes room for the units of a leaf.
func (q *quantised) makeUnits(l *leaves) {
	q.units, q.columns = AllocLocal(32), K()
	l.unit = func(column int) Mem { return q.units.Offset(4 * column) }
	mask := GP32()
	MOVL(U32(1<<q.n-1), mask)
	KMOVW(mask, q.columns)
}

// clearUnits sets the units of the empty leaf before the first.
func (q *quantised) clearUnits() {
	zero := YMM()
	VPXORD(zero, zero, zero)
	VMOVUPS(zero, q.units)
}

// nextUnits computes the units of the leaf that begins: scale*2^Exponent of each column.
func (q *quantised) nextUnits(c *cursor) {
	units := YMM()
	VBROADCASTSS(parameter("unit"), units)
	VMULPS_Z(Mem{Base: c.scales}, units, q.columns, units)
	VMOVUPS(units, q.units)
	ADDQ(Imm(uint64(4*q.n)), c.scales)
}

// block writes the work of one block. For the first of a leaf, it closes the leaf before on the way and starts acc anew; that a sum then
// begins with its first term instead of +0 can turn it into -0, which rounds to the same integer.
func (q *quantised) block(c *cursor, l *leaves, first bool) {
	for i, dot := range c.dots {
		VPBROADCASTD(Mem{Base: c.starts, Disp: 4 * i}, dot)
	}
	if q.n >= q.prefetchFrom {
		for at := 0; at < scaleBytes+q.quantBytes; at += 64 {
			PREFETCHT1(Mem{Base: c.weights, Disp: prefetchDistance + at})
		}
	} else {
		prefetchNextPage(c.weights)
	}
	column := 0
	q.unpack(q, c.weights, func(w reg.VecVirtual, k int) {
		for i, dot := range c.dots {
			VPDPBUSD_BCST(Mem{Base: c.quants, Disp: 32*i + k}, w, dot)
		}
		if first && column < q.n {
			l.close(column)
		}
		column++
	})
	if first {
		q.nextUnits(c)
	}
	scale := ZMM()
	VCVTPH2PS(Mem{Base: c.weights, Disp: -scaleBytes}, scale)
	for i, dot := range c.dots {
		VCVTDQ2PS(dot, dot)
		if first {
			VMULPS(scale, dot, l.acc[i])
			continue
		}
		VMULPS(scale, dot, dot)
		VADDPS(dot, l.acc[i], l.acc[i])
	}
	ADDQ(U32(scaleBytes+q.quantBytes), c.weights)
	ADDQ(U32(32*q.n), c.quants)
	ADDQ(U32(4*q.n), c.starts)
}

// unpackQ8 multiplies by the quants as they are stored. One column, which waits for memory alone, loads them by halves: Zen 4 reads memory
// faster so.
func unpackQ8(q *quantised, quants reg.GPVirtual, multiply multiplier) {
	w := ZMM()
	for g := range 8 {
		if q.n == 1 {
			VMOVDQU(Mem{Base: quants, Disp: 64 * g}, w.AsY())
			VINSERTI64X4(Imm(1), Mem{Base: quants, Disp: 64*g + 32}, w, w)
		} else {
			VMOVDQU32(Mem{Base: quants, Disp: 64 * g}, w)
		}
		multiply(w, 4*g)
	}
}

// levels are kernels.q4Levels.
var levels = [16]int8{-63, -49, -39, -30, -22, -16, -10, -4, 1, 6, 11, 17, 23, 31, 40, 53}

// loadTable loads what unpackQ4 needs: the levels plus 128 for VPSHUFB, in every 128 bits, and the mask of a nibble.
func (q *quantised) loadTable() {
	name := "q4Levels"
	if q.name == "MulQ4x1" {
		GLOBL(name, RODATA|NOPTR)
		for i, level := range levels {
			DATA(i, U8(int(level)+128))
		}
		GLOBL("nibble", RODATA|NOPTR)
		DATA(0, U32(0x0f0f0f0f))
	}
	q.levels = ZMM()
	VBROADCASTI32X4(NewDataAddr(Symbol{Name: name, Static: true}, 0), q.levels)
	if q.masks {
		q.nibble = ZMM()
		VPBROADCASTD(NewDataAddr(Symbol{Name: "nibble", Static: true}, 0), q.nibble)
	}
}

// unpackQ4 looks the nibbles up: byte j of group g is k = 4g+j in its low and k = 16+4g+j in its high nibble.
func unpackQ4(q *quantised, quants reg.GPVirtual, multiply multiplier) {
	low, high := ZMM(), ZMM()
	for g := range 4 {
		VMOVDQU32(Mem{Base: quants, Disp: 64 * g}, low)
		VPSRLW(Imm(4), low, high)
		VPANDD(q.nibble, low, low)
		VPANDD(q.nibble, high, high)
		VPSHUFB(low, q.levels, low)
		VPSHUFB(high, q.levels, high)
		multiply(low, 4*g)
		multiply(high, 16+4*g)
	}
}

// unpackQ4VBMI is unpackQ4 with VPERMB, which looks only at the lower six bits of a byte: the table is the same four times, so the two bits of
// the other nibble do not matter and nothing has to be masked.
func unpackQ4VBMI(q *quantised, quants reg.GPVirtual, multiply multiplier) {
	low, high := ZMM(), ZMM()
	for g := range 4 {
		VMOVDQU32(Mem{Base: quants, Disp: 64 * g}, low)
		VPSRLW(Imm(4), low, high)
		VPERMB(q.levels, low, low)
		VPERMB(q.levels, high, high)
		multiply(low, 4*g)
		multiply(high, 16+4*g)
	}
}
