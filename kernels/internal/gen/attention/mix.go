package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// mix writes the function that adds up weighted widened values for several query rows, so many vectors of 16 elements at once.
// A loaded value serves all rows. As each row of a sequence sees one key more than the row before, the function ends with a triangle: key
// keys+e is for the rows from e+1 on.
func mix(rows, vectors int) {
	text(fmt.Sprintf("Mix%dx%d", rows, lanes*vectors), "func(acc *float32, accStride int, p, v *float32, keys, more int)",
		fmt.Sprintf("adds the products p[r][j]*v[j] to %d elements of acc for %d query rows r and the first keys keys, keys+1 for row 1 and so on, but for none more than keys+more; rows are accStride bytes apart in acc and 512 in p.", lanes*vectors, rows))
	w := &mixWriter{rows: rows, vectors: vectors}
	w.acc, w.accStride, w.p, w.v = argument("acc"), argument("accStride"), argument("p"), argument("v")
	w.keys, w.more = argument("keys"), argument("more")
	perPass := min(2, vectors*parts())
	for pass := range vectors * parts() / perPass {
		w.pass(pass*perPass, perPass)
	}
	end()
}

type mixWriter struct {
	rows, vectors        int
	acc, accStride, p, v reg.GPVirtual
	keys, more           reg.GPVirtual
}

// pass computes count registers of each row, from register first on.
func (w *mixWriter) pass(first, count int) {
	triangle, done := label("triangle"), label("done")
	p, v, keys, more := copied(w.p), copied(w.v), copied(w.keys), copied(w.more)
	sums := make([][]reg.VecVirtual, w.rows)
	for r := range sums {
		sums[r] = registers(count)
	}
	w.eachAcc(first, sums, func(m Mem, r reg.VecVirtual) { VMOVUPS(m, r) })
	step := func(from int) {
		values := registers(count)
		for i, r := range values {
			VMOVUPS(at(v, (first+i)*size()), r)
		}
		for r := from; r < w.rows; r++ {
			addWeighted(at(p, r*scoresRow), values, sums[r], false)
		}
		add(4, p)
		add(w.vectors*vectorSize, v)
	}
	TESTQ(keys, keys)
	JZ(LabelRef(triangle))
	loop("key", keys, func() { step(0) })
	Label(triangle)
	for from := 1; from < w.rows; from++ {
		SUBQ(Imm(1), more)
		JLT(LabelRef(done))
		step(from)
	}
	Label(done)
	w.eachAcc(first, sums, func(m Mem, r reg.VecVirtual) { VMOVUPS(r, m) })
}

// eachAcc calls do with every register of the sums and its place in memory.
func (w *mixWriter) eachAcc(first int, sums [][]reg.VecVirtual, do func(m Mem, r reg.VecVirtual)) {
	row := copied(w.acc)
	for i, sum := range sums {
		if i > 0 {
			ADDQ(w.accStride, row)
		}
		for j, r := range sum {
			do(at(row, (first+j)*size()), r)
		}
	}
}
