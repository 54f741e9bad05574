package main

import (
	"fmt"

	. "polynode/kernels/internal/gen/neon/a64"
)

// dots4 takes two rows by two keys at a time, whose lanes fill half the registers.
func dots4(file *File) {
	fn := file.Func("Dots", "sets the scores of 4*tiles query rows (dim) for 4*groups keys (dim); a row of scores is 512 bytes. dim is a multiple of 16.",
		[]string{"scores *float32", "q *float32", "keys *float32", "dim int", "tiles int", "groups int", "scale float32"})
	fn.Args("scores R0", "q R1", "keys R2", "dim R3", "tiles R4", "groups R5")
	broadcast(fn, "scale", 30)
	fn.I("LSL $1, R4")
	fn.I("LSL $2, R3, R6") // bytes of a row
	fn.Label("rows")
	fn.I("LSL $1, R5, R8")
	fn.I("MOVD R0, R9")
	fn.I("MOVD R2, R12")
	fn.Label("keys")
	fn.I("MOVD R1, R10")
	fn.I("ADD R6, R10, R11")
	fn.I("ADD R6, R12, R13")
	fn.I("MOVD R3, R15")
	for v := range 16 {
		fn.V(MOVZERO, v)
	}
	fn.Label("sixteen")
	for half := range 2 {
		q, k := 16, 20 // eight elements of each row, two registers a row, and of each key
		for i := range 2 {
			fn.LoadQ(fmt.Sprintf("R%d", 10+i), 32*half, q+2*i, q+2*i+1)
			fn.LoadQ(fmt.Sprintf("R%d", 12+i), 32*half, k+2*i, k+2*i+1)
		}
		for i := range 2 {
			for pair := range 4 {
				acc, t := 4*pair+2*half+i, 24+pair
				fn.V(FMUL, t, q+pair/2*2+i, k+pair%2*2+i)
				fn.V(FADD, acc, acc, t)
			}
		}
	}
	for i := range 4 {
		fn.I("ADD $64, R%d", 10+i)
	}
	fn.I("SUBS $16, R15")
	fn.I("BNE sixteen")
	for pair := range 4 {
		halfTree(fn, 4*pair)
	}
	treeOf4(fn, 16, [4]int{0, 4, 8, 12}, 17)
	fn.V(FMUL, 16, 16, 30)
	fn.V(DUP2D, 17, 16, 1)
	fn.I("FMOVD F16, (R9)")
	fn.I("FMOVD F17, %d(R9)", scoresBytes)
	fn.I("ADD $8, R9")
	fn.I("MOVD R13, R12") // the next pair of keys: the second one's end
	fn.I("SUBS $1, R8")
	fn.I("BNE keys")
	fn.I("ADD $%d, R0", 2*scoresBytes)
	fn.I("ADD R6<<1, R1")
	fn.I("SUBS $1, R4")
	fn.I("BNE rows")
	fn.Return()
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
