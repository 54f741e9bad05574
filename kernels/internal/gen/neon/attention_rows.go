package main

import (
	"fmt"

	. "polynode/kernels/internal/gen/neon/a64"
)

// Sizes of what Turn and Dots hand to each other.
const (
	turnedRow = 4 * 16 // bytes: one element of 16 keys
	scoreRows = 4      // that are computed together, with 16 sums in V0-V15
	resultRow = scoreRows * turnedRow
)

// turn goes through a page's keys in squares of 16 elements by four keys.
func turn(file *File, f stored) {
	fn := file.Func("Turn"+f.name, `sets dst (dim, 16) to element d of the page's key j in row d and column j; vector is the bytes from
		one key to the next, scales where the first key's scales are. dim is a multiple of 16.`,
		[]string{"dst *float32", "src *byte", "scales *byte", "vector int", "dim int"})
	fn.Args("dst R0", "src R1", "scales R2", "vector R3", "dim R4")
	fn.I("MOVD ZR, R15")
	fn.Label("sixteen")
	fn.I("MOVD R1, R10")
	if f.scaled() {
		fn.I("LSR $5, R15, R16")
		fn.I("ADD R16<<1, R2, R11")
	}
	fn.I("MOVD $4, R6")
	fn.Label("keys")
	for k := range 4 {
		if f.scaled() {
			loadScale(fn, "(R11)", 16+k%2)
			fn.I("ADD R3, R11")
		}
		f.load(fn, "R10", 0, 4*k, 16+k%2)
		fn.I("ADD R3, R10")
	}
	for quad := range 4 {
		for i, op := range []Op{ZIP1, ZIP2} {
			fn.V(op, 20+2*i, quad, 4+quad)
			fn.V(op, 21+2*i, 8+quad, 12+quad)
		}
		for i := range 4 {
			op := []Op{ZIP1D, ZIP2D}[i%2]
			fn.V(op, 24+i, 20+i/2*2, 21+i/2*2)
			fn.StoreQ("R0", turnedRow*(4*quad+i), 24+i)
		}
	}
	fn.I("ADD $16, R0")
	fn.I("SUBS $1, R6")
	fn.I("BNE keys")
	fn.I("ADD $%d, R0", 16*turnedRow-64)
	fn.I("ADD $%d, R1", 16*f.bytes)
	fn.I("ADD $16, R15")
	fn.I("CMP R4, R15")
	fn.I("BLT sixteen")
	fn.Return()
}

// scoreDots multiplies query rows with turned keys: a register has one element of four keys, so that each of the 16 sums of a score's
// written order has registers of its own and the tree needs no moves between lanes. The sums l, l+8, l+4 and l+12 of four rows are
// computed one after the other and joined in work; at the end the results for l from 0 to 3 are added up.
func scoreDots(file *File) {
	fn := file.Func("Dots", `sets the scores of 8*tiles query rows (dim) and 16 turned keys (dim, 16); a row of scores is 512 bytes, work 3072.
		dim is a multiple of 16.`,
		[]string{"scores *float32", "q *float32", "keys *float32", "work *float32", "dim int", "tiles int", "scale float32"})
	fn.Args("scores R0", "q R1", "keys R2", "work R3", "dim R4", "tiles R5")
	broadcast(fn, "scale", 30)
	fn.I("LSL $1, R5")
	fn.I("LSL $2, R4, R6") // bytes of a row
	fn.Label("rows")
	fn.I("MOVD $4, R7")
	fn.I("MOVD R1, R8")
	fn.I("MOVD R2, R9")
	fn.I("MOVD R3, R16")
	fn.Label("lane")
	for i, l := range []int{0, 8, 4, 12} {
		sumsOf(fn, l)
		switch i {
		case 0:
			fn.StoreQ("R16", 0, run(0, 16)...)
		case 1, 3:
			from := map[int]string{1: "R16", 3: "R17"}[i]
			addResult(fn, from)
			if i == 3 {
				addResult(fn, "R16")
			}
			fn.StoreQ("R16", 0, run(0, 16)...)
		case 2:
			fn.I("ADD $%d, R3, R17", 4*resultRow)
			fn.StoreQ("R17", 0, run(0, 16)...)
		}
	}
	fn.I("ADD $4, R8")
	fn.I("ADD $%d, R9", turnedRow)
	fn.I("ADD $%d, R16", resultRow)
	fn.I("SUBS $1, R7")
	fn.I("BNE lane")
	for r := range scoreRows {
		for l := range 4 {
			fn.LoadQ("R3", l*resultRow+r*turnedRow, run(4*l, 4)...)
		}
		for v := range 4 {
			fn.V(FADD, v, v, 8+v)
			fn.V(FADD, 4+v, 4+v, 12+v)
			fn.V(FADD, v, v, 4+v)
			fn.V(FMUL, v, v, 30)
		}
		fn.StoreQ("R0", r*scoresBytes, run(0, 4)...)
	}
	fn.I("ADD $%d, R0", scoreRows*scoresBytes)
	fn.I("ADD R6<<2, R1")
	fn.I("SUBS $1, R5")
	fn.I("BNE rows")
	fn.Return()
}

// sumsOf computes sum lane+l of every row and key, four registers a row from V0 on. R8 and R9 are the addresses of element lane of the first row
// and of the keys.
func sumsOf(fn *Func, l int) {
	fn.I("ADD $%d, R8, R10", 4*l)
	for r := 1; r < scoreRows; r++ {
		fn.I("ADD R6, R%d, R%d", 9+r, 10+r)
	}
	fn.I("ADD $%d, R9, R14", turnedRow*l)
	fn.I("MOVD R4, R15")
	for v := range 4 * scoreRows {
		fn.V(MOVZERO, v)
	}
	again := fmt.Sprintf("sum%d", l)
	fn.Label(again)
	fn.LoadQ("R14", 0, run(16, 4)...)
	for r := range scoreRows {
		fn.I("FMOVS.P 64(R%d), F%d", 10+r, 20+r)
	}
	for r := range scoreRows {
		for v := range 4 {
			t := 24 + (4*r+v)%6
			fn.V(FMULI, t, 16+v, 20+r, 0)
			fn.V(FADD, 4*r+v, 4*r+v, t)
		}
	}
	fn.I("ADD $%d, R14", 16*turnedRow)
	fn.I("SUBS $16, R15")
	fn.I("BNE %s", again)
}

// addResult adds what is stored at an address to V0-V15.
func addResult(fn *Func, base string) {
	for v := 0; v < 16; v += 4 {
		fn.LoadQ(base, 16*v, run(16, 4)...)
		for i := range 4 {
			fn.V(FADD, v+i, v+i, 16+i)
		}
	}
}

// mix goes through the keys once for each 16 elements: 4 rows of them are 16 accumulators.
func mix(file *File, rows, dim int) {
	fn := file.Func(fmt.Sprintf("Mix%dx%d", rows, dim), fmt.Sprintf(`adds the products p[r][j]*v[j] to %d elements of acc for %d query rows r and
		the first keys keys, keys+1 for row 1 and so on, but for none more than keys+more; rows are accStride bytes apart in acc and 512 in p.`, dim, rows),
		[]string{"acc *float32", "accStride int", "p *float32", "v *float32", "keys int", "more int"})
	fn.Args("acc R0", "accStride R1", "p R2", "v R3", "keys R4", "more R5")
	for half := range dim / 16 {
		accs := func(move func(base string, off int, regs ...int)) {
			fn.I("MOVD R0, R16")
			for r := range rows {
				move("R16", 64*half, run(4*r, 4)...)
				fn.I("ADD R1, R16")
			}
		}
		for r := range rows {
			fn.I("ADD $%d, R2, R%d", scoresBytes*r, 10+r)
		}
		fn.I("MOVD R3, R14")
		fn.I("MOVD R4, R15")
		accs(fn.LoadQ)
		add := func(first int) { // the next key, for the rows from first on
			fn.LoadQ("R14", 64*half, run(16, 4)...)
			for r := first; r < rows; r++ {
				fn.I("FMOVS.P 4(R%d), F%d", 10+r, 20+r)
			}
			for r := first; r < rows; r++ {
				for v := range 4 {
					t := 24 + (4*r+v)%8
					fn.V(FMULI, t, 16+v, 20+r, 0)
					fn.V(FADD, 4*r+v, 4*r+v, t)
				}
			}
			fn.I("ADD $%d, R14", 4*dim)
		}
		fn.Label(fmt.Sprintf("key%d", half))
		add(0)
		fn.I("SUBS $1, R15")
		fn.I("BNE key%d", half)
		for extra := 1; extra < rows; extra++ {
			fn.I("CMP $%d, R5", extra)
			fn.I("BLT done%d", half)
			add(extra)
		}
		if rows > 1 {
			fn.Label(fmt.Sprintf("done%d", half))
		}
		accs(fn.StoreQ)
	}
	fn.Return()
}
