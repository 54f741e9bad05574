package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Sizes of the tiles of Dots: 8 query rows by the 16 keys of a page.
const (
	tileRows  = 8
	turnedRow = 4 * pageTokens // bytes of a row of turned keys: one element of 16 keys
)

// dots writes the function that multiplies query rows with turned keys (see turn). A register holds one element of many keys, so each of the 16
// sums of a score's written order is a register of its own and the tree that adds them up needs no shuffles. What a row brings is read
// as an operand that fills all lanes.
//
// Sums l, l+8, l+4 and l+12 are computed one after the other and joined: four partial results, for l from 0 to 3, lie in work until the
// end.
func dots() {
	text("Dots", "func(scores, q, keys, work *float32, dim, tiles int, scale float32)",
		"sets the scores of 8*tiles query rows (dim) and 16 turned keys (dim, 16); a row of scores is 512 bytes, work 3072.")
	d := &dotsWriter{scores: argument("scores"), q: argument("q"), keys: argument("keys"), work: argument("work"), row: argument("dim")}
	d.rows = pick(tileRows, tileRows/2)
	d.steps = copied(d.row)
	SHRQ(Imm(4), d.steps)
	SHLQ(Imm(2), d.row)
	tiles := argument("tiles")
	d.three = GP64()
	LEAQ(Mem{Base: d.row, Index: d.row, Scale: 2}, d.three)
	loop("tile", tiles, func() {
		for first := 0; first < tileRows; first += d.rows {
			d.tile(first * scoresRow)
			for range d.rows / 4 {
				LEAQ(Mem{Base: d.q, Index: d.row, Scale: 4}, d.q)
			}
		}
		add(tileRows*scoresRow, d.scores)
	})
	end()
}

type dotsWriter struct {
	scores, q, keys, work reg.GPVirtual
	row, three            reg.GPVirtual // bytes of a query, and of three
	steps                 reg.GPVirtual // dim/16
	rows                  int           // that are computed at once
}

// resultSize is the bytes of one register for each row and key of what is computed at once.
func (d *dotsWriter) resultSize() int { return d.rows * parts() * size() }

// tile computes d.rows rows; scores is where their scores start.
func (d *dotsWriter) tile(scores int) {
	lane, q, keys, work := GP64(), copied(d.q), copied(d.keys), copied(d.work)
	MOVQ(U32(4), lane)
	loop("lane", lane, func() {
		if wide() {
			d.lanes512(q, keys, work)
		} else {
			d.lanes256(q, keys, work)
		}
		add(4, q)
		add(turnedRow, keys)
		add(d.resultSize(), work)
	})
	zeros := register()
	zero(zeros)
	for r := range d.rows {
		for i := range parts() {
			from := (r*parts() + i) * size()
			even, odd := register(), register()
			VMOVUPS(at(d.work, from), even)
			VADDPS(at(d.work, from+2*d.resultSize()), even, even)
			VMOVUPS(at(d.work, from+d.resultSize()), odd)
			VADDPS(at(d.work, from+3*d.resultSize()), odd, odd)
			VADDPS(odd, even, even)
			VADDPS(zeros, even, even) // +0 for what sums that start with their first product have of -0
			times(argumentAt("scale"), even, even)
			VMOVUPS(even, at(d.scores, scores+r*scoresRow+i*size()))
		}
	}
}

// lanes512 writes the sum of the sums l, l+8, l+4 and l+12, where q and keys stand at element l: two sums at a time.
func (d *dotsWriter) lanes512(q, keys, work reg.GPVirtual) {
	pair := func(l int) []reg.VecVirtual {
		a := d.sums(q, keys, l, l+8)
		for r := range a[0] {
			VADDPS(a[1][r], a[0][r], a[0][r])
		}
		return a[0]
	}
	first := pair(0)
	for r, second := range pair(4) {
		VADDPS(second, first[r], first[r])
		VMOVUPS(first[r], at(work, r*size()))
	}
}

// lanes256 is lanes512 for half as many registers: it computes one sum at a time and keeps two in memory, behind the four results.
func (d *dotsWriter) lanes256(q, keys, work reg.GPVirtual) {
	each := func(l int, do func(sum reg.VecVirtual, at int)) {
		for r, sum := range d.sums(q, keys, l)[0] {
			do(sum, r*size())
		}
	}
	spare := 4 * d.resultSize()
	each(0, func(sum reg.VecVirtual, offset int) { VMOVUPS(sum, at(work, offset)) })
	each(8, func(sum reg.VecVirtual, offset int) {
		VADDPS(at(work, offset), sum, sum)
		VMOVUPS(sum, at(work, offset))
	})
	each(4, func(sum reg.VecVirtual, offset int) { VMOVUPS(sum, at(d.work, spare+offset)) })
	each(12, func(sum reg.VecVirtual, offset int) {
		VADDPS(at(d.work, spare+offset), sum, sum)
		VADDPS(at(work, offset), sum, sum)
		VMOVUPS(sum, at(work, offset))
	})
}

// sums computes sums ls of every row and key: the products of elements l, l+16 and so on, in order. It moves q and keys and brings them
// back. The result has the registers of row 0, of row 1 and so on for each l.
func (d *dotsWriter) sums(q, keys reg.GPVirtual, ls ...int) [][]reg.VecVirtual {
	left, upper := copied(d.steps), GP64() // upper: rows 4 to 7
	if d.rows > 4 {
		LEAQ(Mem{Base: q, Index: d.row, Scale: 4}, upper)
	}
	out := make([][]reg.VecVirtual, len(ls))
	for i := range out {
		out[i] = registers(d.rows * parts())
	}
	step := func(first bool) {
		for i, l := range ls {
			elements := registers(parts())
			for j, r := range elements {
				VMOVUPS(at(keys, l*turnedRow+j*size()), r)
			}
			for r := range d.rows {
				addWeighted(d.rowAt(q, upper, r, 4*l), elements, out[i][r*parts():(r+1)*parts()], first)
			}
		}
		add(vectorSize, q)
		if d.rows > 4 {
			add(vectorSize, upper)
		}
		add(lanes*turnedRow, keys)
	}
	done, next := label("done"), label("next")
	step(true)
	DECQ(left)
	JZ(LabelRef(done))
	Label(next)
	step(false)
	DECQ(left)
	JNZ(LabelRef(next))
	Label(done)
	SUBQ(d.row, q)
	moved := copied(d.row)
	SHLQ(Imm(4), moved)
	SUBQ(moved, keys)
	return out
}

// rowAt is the address of an offset in row r of eight.
func (d *dotsWriter) rowAt(q, upper reg.Register, r, offset int) Mem {
	base := q
	if r >= 4 {
		base = upper
	}
	switch r % 4 {
	case 1:
		return Mem{Base: base, Index: d.row, Scale: 1, Disp: offset}
	case 2:
		return Mem{Base: base, Index: d.row, Scale: 2, Disp: offset}
	case 3:
		return Mem{Base: base, Index: d.three, Scale: 1, Disp: offset}
	}
	return Mem{Base: base, Disp: offset}
}

// addWeighted adds to sums the products of values and the float32 at m; the first products are the sums.
func addWeighted(m Mem, values, sums []reg.VecVirtual, first bool) {
	var weight reg.VecVirtual
	if !wide() {
		weight = register()
		VBROADCASTSS(m, weight)
	}
	for i, value := range values {
		product := sums[i]
		if !first {
			product = register()
		}
		if wide() { // as an instruction of its own the broadcast costs as much as the product
			VMULPS_BCST(m, value, product)
		} else {
			VMULPS(value, weight, product)
		}
		if !first {
			VADDPS(product, sums[i], sums[i])
		}
	}
}
