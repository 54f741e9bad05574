package main

import (
	"fmt"

	. "polynode/kernels/internal/gen/neon/a64"
)

// Registers of the quantised products. A tile is some rows of a panel by some columns of activations; its accumulators are
// numbered by column and then by four rows, so that dot(c, q) is the column c and the rows 4q to 4q+3 of the pass.
const (
	dots   = 0  // V0-V7: the dot products of a block
	accs   = 8  // V8-V15: the float32 sums of a leaf
	inputs = 16 // V16-V23: the quants of a block; the weights' scales at its end, the columns' at the leaf's
	temps  = 24 // V24-V27
	const0 = 28
	const1 = 29
	spare  = 30
	top    = 31 // the largest |c| so far, as bits
)

// product is one quantised product: a format, a number of columns, and the instructions that it may use.
type product struct {
	*Func
	q4   bool
	mm   bool // the instructions of 8-bit matrix multiplication
	cols int
	rows int // of a pass: a leaf is gone through 16/rows times, while its weights are in the first cache
}

// squares is whether the accumulators are those of product_mm.go.
func (p *product) squares() bool { return p.mm && p.cols > 1 }

// unsigned is whether the weights are multiplied as they are stored, with 128 added, which the starts take out again.
func (p *product) unsigned() bool { return p.mm && !p.q4 }

func products() *File {
	file := NewFile("neon", "product")
	for _, q4 := range []bool{false, true} {
		for _, cols := range []int{1, 2, 4} {
			quantised(file, q4, false, cols)
		}
	}
	quantised(file, false, true, 1)
	for _, q4 := range []bool{false, true} {
		for _, cols := range []int{2, 4} {
			quantised(file, q4, true, cols)
		}
	}
	return file
}

func (p *product) blockBytes() int {
	if p.q4 {
		return 288
	}
	return 544
}

// quads is how many fours of rows a pass has.
func (p *product) quads() int { return p.rows / 4 }

func (p *product) dot(c, q int) int { return dots + c*p.quads() + q }
func (p *product) acc(c, q int) int { return accs + c*p.quads() + q }

// quantised writes the product of a run of blocks of a panel with some columns.
func quantised(file *File, q4, mm bool, cols int) {
	name := map[bool]string{false: "Q8", true: "Q4"}[q4] + map[bool]string{false: "Dot", true: "MM"}[mm]
	p := &product{q4: q4, mm: mm, cols: cols, rows: 16}
	if cols == 4 {
		p.rows = 8 // sixteen accumulators are what the registers hold
	}
	doc := fmt.Sprintf(`adds the contributions of a panel's leaves to sums (%d, 16). There are blocks blocks, in leaves of perLeaf and
		perhaps a shorter last one, and %d columns, whose quants go from one block to the next by width columns, and their scales from
		one leaf to the next.`, cols, cols)
	params := []string{"sums *int32", "panel *byte", "quants *int8", "scales *float32"}
	switch {
	case q4:
		params = append(params, "levels *int8")
		doc += " The nibbles are indices into the 16 levels."
	case p.unsigned():
		params = append(params, "start *int32")
		doc += " start is -128 times the sums of the quants, and goes as they do."
	}
	doc += ` unit is 2^Exponent. The result is the bits of the largest magnitude of a contribution: where that is not below the
		matrix's limit, sums are meaningless.`
	p.Func = file.Func(fmt.Sprintf("%s%d", name, cols), doc, append(params, "width int", "blocks int", "perLeaf int", "unit float32"), "top uint32")
	p.Args("sums R0", "panel R1", "quants R2", "scales R3", "width R5", "blocks R6", "perLeaf R7", "unit R8")
	p.I("LSL $2, R5, R14")
	p.I("LSL $5, R5, R5")
	p.V(MOVZERO, top)
	p.constants()
	p.Label("leaf")
	p.I("CMP R7, R6")
	p.I("CSEL LT, R6, R7, R15")
	for pass := range panelRows / p.rows {
		p.pass(pass)
	}
	p.moving(func(start, at string) { p.I("MOVD %s, %s", at, start) })
	p.I("ADD R14, R3")
	p.I("SUBS R15, R6, R6")
	p.I("BNE leaf")
	p.V(UMAXV, top, top)
	p.Return(fmt.Sprintf("top F%d", top))
}

// moving calls f with each pointer that goes from block to block: where it is at the start of the leaf, and where in a pass.
func (p *product) moving(f func(start, at string)) {
	f("R1", "R9")
	f("R2", "R10")
	if p.unsigned() {
		f("R4", "R11")
	}
}

// constants sets what all blocks need: the sign bits, the mask of a nibble and the table of levels, or the address of the starts.
func (p *product) constants() {
	switch {
	case p.q4:
		p.I("MOVW $15, R9")
		p.V(DUPB, const0, 9)
		p.Arg("levels", "R9")
		p.LoadQ("R9", 0, const1)
	case p.unsigned():
		p.Arg("start", "R4")
	default:
		p.I("MOVW $128, R9")
		p.V(DUPB, const0, 9)
	}
}

// pass goes through a leaf for some of the panel's rows.
func (p *product) pass(pass int) {
	p.Note("rows %d to %d", pass*p.rows, (pass+1)*p.rows-1)
	p.moving(func(start, at string) { p.I("MOVD %s, %s", start, at) })
	p.I("MOVD R15, R13")
	for _, v := range run(accs, p.cols*p.quads()) {
		p.V(MOVZERO, v)
	}
	p.Label(fmt.Sprintf("block%d", pass))
	if quants := 32 + pass*p.rows*4; p.squares() {
		p.loadPairs()
		p.startSquares()
		p.matrix(quants)
	} else {
		p.LoadQ("R10", 0, run(inputs, 2*p.cols)...)
		p.start()
		p.byElement(quants)
	}
	p.scale(pass)
	p.I("ADD $%d, R9", p.blockBytes())
	p.I("ADD R5, R10")
	if p.unsigned() {
		p.I("ADD R14, R11")
	}
	p.I("SUBS $1, R13")
	p.I("BNE block%d", pass)
	p.round(pass)
}

// start sets the dot products to zero, or to what takes 128 out of unsigned weights.
func (p *product) start() {
	zero := run(dots, 8) // of one column there are two sets
	if p.unsigned() {
		p.I("MOVW (R11), R16")
		for _, v := range zero[:4] {
			p.V(DUPW, v, 16)
		}
		zero = zero[4:]
	}
	for _, v := range zero {
		p.V(MOVZERO, v)
	}
}

// byElement adds the products of a block to the dot products.
func (p *product) byElement(at int) {
	op, groups := SDOTI, 8
	if p.unsigned() {
		op = USDOTI
	}
	if p.q4 {
		groups = 4
	}
	add := func(set, q, w, k int) { // the four rows in register w by the four k's from k on
		for c := range p.cols {
			p.V(op, p.set(set, c, q), w, inputs+2*c+k/16, k/4%4)
		}
	}
	for g := range groups {
		p.LoadQ("R9", at+64*g, run(temps, p.quads())...)
		for q := range p.quads() {
			w := temps + q
			if p.q4 {
				p.nibbles(spare, w, false)
				add(0, q, spare, 4*g)
				p.nibbles(w, w, true)
				add(1, q, w, 16+4*g)
				continue
			}
			if !p.unsigned() {
				p.V(EOR, w, w, const0)
			}
			add(g%2, q, w, 4*g)
		}
	}
	if p.cols == 1 {
		for q := range 4 {
			p.V(ADD, dots+q, dots+q, p.set(1, 0, q))
		}
	}
}

// set is dot, but for one column: that has two sets of dot products, added up in the end, because four sums alone would wait for each other.
func (p *product) set(set, c, q int) int {
	if p.cols == 1 {
		return dots + 4*set + q
	}
	return p.dot(c, q)
}

// nibbles looks up the levels of the low or high nibbles of 16 bytes.
func (p *product) nibbles(d, n int, high bool) {
	if high {
		p.V(USHR8, d, n, 4)
	} else {
		p.V(AND, d, n, const0)
	}
	p.V(TBL, d, const1, d)
}

// scale multiplies the dot products of the block by the weights' scales and adds them to the sums of the leaf.
func (p *product) scale(pass int) {
	const weights = inputs
	p.LoadQ("R9", pass*p.rows*2, run(temps, p.quads()/2)...)
	for i := range p.quads() / 2 {
		p.V(FCVTL, weights+2*i, temps+i)
		p.V(FCVTL2, weights+2*i+1, temps+i)
	}
	if p.squares() {
		p.scaleSquares(weights)
		return
	}
	for c := range p.cols {
		for q := range p.quads() {
			p.addScaled(p.acc(c, q), p.dot(c, q), weights+q)
		}
	}
}

// addScaled adds dot products times their weights' scales to sums. It leaves the products in dot.
func (p *product) addScaled(acc, dot, weights int) {
	p.V(SCVTF, dot, dot)
	p.V(FMUL, dot, dot, weights)
	p.V(FADD, acc, acc, dot)
}

// round ends a leaf: its sums, times the column's scale and 2^Exponent and rounded, are added to the integers.
func (p *product) round(pass int) {
	const columns, unit = inputs, inputs + 1
	p.I("FMOV%s (R3), F%d", map[int]string{1: "S", 2: "D", 4: "Q"}[p.cols], columns)
	p.V(DUPW, unit, 8)
	for c := range p.cols {
		at, n := (c*panelRows+pass*p.rows)*4, p.quads()
		p.LoadQ("R0", at, run(temps, n)...)
		for q := range n {
			acc := p.acc(c, q)
			if p.squares() {
				acc = spare
				p.unpair(acc, c, q)
			}
			p.V(FMULI, acc, acc, columns, c)
			addRounded(p.Func, temps+q, acc, unit, dots)
		}
		p.StoreQ("R0", at, run(temps, n)...)
	}
}

// addRounded adds the sums of a leaf, times 2^Exponent and rounded, to integers, and keeps the largest magnitude in top. It changes acc and temp.
func addRounded(fn *Func, d, acc, unit, temp int) {
	fn.V(FMUL, acc, acc, unit)
	fn.V(FABS, temp, acc)
	fn.V(UMAX, top, top, temp)
	fn.V(FCVTNS, acc, acc)
	fn.V(ADD, d, d, acc)
}
