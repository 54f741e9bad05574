package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// A tile of Dots is 4 query rows by 4 keys.
const tileRows = 4

// dots writes the function that multiplies tiles of query rows with widened keys. A loaded key serves all rows of the tile, and the sums
// of a tile are what one tree takes (AVX-512), or two (AVX2).
func dots() {
	text("Dots", "func(scores, q, keys *float32, dim, tiles, groups int, scale float32)",
		"sets the scores of 4*tiles query rows (dim) for 4*groups keys (dim); a row of scores is 512 bytes.")
	d := &dotsWriter{scores: argument("scores"), q: argument("q"), keys: argument("keys"), dim: argument("dim")}
	tiles, groups := argument("tiles"), argument("groups")
	d.row = copied(d.dim)
	SHLQ(Imm(2), d.row)
	loop("tile", tiles, func() {
		key, to, left := copied(d.keys), copied(d.scores), copied(groups)
		loop("group", left, func() {
			if wide() {
				d.tile512(key, to)
			} else {
				d.tile256(key, to)
			}
			LEAQ(Mem{Base: key, Index: d.row, Scale: 4}, key)
			add(16, to)
		})
		LEAQ(Mem{Base: d.q, Index: d.row, Scale: 4}, d.q)
		add(tileRows*scoresRow, d.scores)
	})
	end()
}

type dotsWriter struct {
	scores, q, keys, dim reg.GPVirtual
	row                  reg.GPVirtual // bytes of a query and of a key
}

// four are the addresses of rows base, +1, +2, +3, of which three, a register, is 3 rows.
func (d *dotsWriter) four(base, three reg.Register, offset int) [4]Mem {
	return [4]Mem{
		{Base: base, Disp: offset},
		{Base: base, Index: d.row, Scale: 1, Disp: offset},
		{Base: base, Index: d.row, Scale: 2, Disp: offset},
		{Base: base, Index: three, Scale: 1, Disp: offset},
	}
}

// tile512 computes 4 rows by 4 keys with 16 sums.
func (d *dotsWriter) tile512(key, to reg.GPVirtual) {
	three, q, k := GP64(), copied(d.q), copied(key)
	LEAQ(Mem{Base: d.row, Index: d.row, Scale: 2}, three)
	var sums [][]reg.VecVirtual
	for range 16 {
		sums = append(sums, registers(1))
	}
	step := func(first bool) {
		keys := registers(4)
		for i, m := range d.four(k, three, 0) {
			VMOVUPS(m, keys[i])
		}
		for r, m := range d.four(q, three, 0) {
			query := register()
			VMOVUPS(m, query)
			for i, key := range keys {
				sum := sums[4*r+i][0]
				if first {
					VMULPS(key, query, sum)
					continue
				}
				product := register()
				VMULPS(key, query, product)
				VADDPS(product, sum, sum)
			}
		}
	}
	d.steps(q, k, step)
	total := tree(sums)
	times(argumentAt("scale"), total, total)
	VMOVUPS(total.AsX(), at(to, 0))
	for r := 1; r < tileRows; r++ {
		VEXTRACTF32X4(Imm(uint64(r)), total, at(to, r*scoresRow))
	}
}

// steps calls step for the first vector and, in a loop, for all others.
func (d *dotsWriter) steps(q, k reg.GPVirtual, step func(first bool)) {
	done, next, left := label("done"), label("next"), copied(d.dim)
	step(true)
	SUBQ(Imm(lanes), left)
	JZ(LabelRef(done))
	Label(next)
	add(vectorSize, q)
	add(vectorSize, k)
	step(false)
	SUBQ(Imm(lanes), left)
	JNZ(LabelRef(next))
	Label(done)
}

// tile256 computes two times 2 rows by 4 keys.
func (d *dotsWriter) tile256(key, to reg.GPVirtual) {
	q := copied(d.q)
	for r := 0; r < tileRows; r += 2 {
		if r > 0 {
			LEAQ(Mem{Base: q, Index: d.row, Scale: 2}, q)
		}
		k := copied(key)
		first := d.pair256(q, k)
		LEAQ(Mem{Base: k, Index: d.row, Scale: 2}, k)
		total := addNeighbours(first, d.pair256(q, k))
		zeros := register()
		zero(zeros)
		VADDPS(zeros, total, total)
		times(argumentAt("scale"), total, total)
		VMOVUPS(total.AsX(), at(to, r*scoresRow))
		VEXTRACTF128(Imm(1), total, at(to, (r+1)*scoresRow))
	}
}

// pair256 is 2 rows by 2 keys, added up but for the last step of the tree: row r is in the 128-bit lane r.
func (d *dotsWriter) pair256(qBase, kBase reg.GPVirtual) reg.VecVirtual {
	q, k := copied(qBase), copied(kBase)
	sums := [2][2][]reg.VecVirtual{{registers(2), registers(2)}, {registers(2), registers(2)}} // [row][key]
	step := func(first bool) {
		for half := range 2 {
			queries, two := registers(2), [2]Mem{at(q, half*size()), {Base: q, Index: d.row, Scale: 1, Disp: half * size()}}
			VMOVUPS(two[0], queries[0])
			VMOVUPS(two[1], queries[1])
			for i, m := range []Mem{at(k, half*size()), {Base: k, Index: d.row, Scale: 1, Disp: half * size()}} {
				for r, query := range queries {
					sum := sums[r][i][half]
					if first {
						VMULPS(m, query, sum)
						continue
					}
					product := register()
					VMULPS(m, query, product)
					VADDPS(product, sum, sum)
				}
			}
		}
	}
	d.steps(q, k, step)
	return addPairs(treeHalf256(sums[0][0], sums[1][0]), treeHalf256(sums[0][1], sums[1][1]))
}
