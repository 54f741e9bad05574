package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// values writes the function that adds up the weighted values of a page for one query row per head, so many vectors of 16 elements at
// once, which stay in registers.
func values(f format, vectors int) {
	text(fmt.Sprintf("Values%sx%d", f.name, lanes*vectors),
		"func(acc *float32, accStride int, p *float32, page, scales *byte, vector, heads, keys int)",
		fmt.Sprintf("adds to %d elements of acc the products p[j]*page[j] for keys keys, for each of heads heads, which stand accStride bytes apart in acc, 512 bytes in p, and 16*vector in page and scales; vector is the bytes from one value to the next, scales where the scales of the first one's elements are.", lanes*vectors))
	acc, accStride, p, page := argument("acc"), argument("accStride"), argument("p"), argument("page")
	vector, heads, count := argument("vector"), argument("heads"), argument("keys")
	var scales reg.GPVirtual
	if f.scaled {
		scales = argument("scales")
	}
	var local *Mem // where the scales of a whole vector of 128 elements are widened
	if f.scaled && vectors == 8 {
		m := AllocLocal(4 * scaleSlots)
		local = &m
	}
	headBytes := copied(vector)
	SHLQ(Imm(4), headBytes)
	loop("head", heads, func() {
		sums := registers(vectors * parts())
		for i, r := range sums {
			VMOVUPS(at(acc, i*size()), r)
		}
		from, weight, scale, keys := copied(page), copied(p), GP64(), copied(count)
		if f.scaled {
			MOVQ(scales, scale)
		}
		loop("key", keys, func() {
			addValue(f, sums, from, weight, scale, local, vector)
		})
		for i, r := range sums {
			VMOVUPS(r, at(acc, i*size()))
		}
		ADDQ(accStride, acc)
		add(scoresRow, p)
		ADDQ(headBytes, page)
		if f.scaled {
			ADDQ(headBytes, scales)
		}
	})
	end()
}

// addValue adds one weighted value to sums and goes on to the next. Its scales are widened all at once where there is local memory for
// them, else one by one.
func addValue(f format, sums []reg.VecVirtual, from, weight, scale reg.GPVirtual, local *Mem, vector reg.GPVirtual) {
	if local != nil {
		widenScales(at(scale, 0), *local)
	}
	f.prefetch(from, 0, f.vectorBytes(headDim))
	var w reg.VecVirtual
	if !wide() {
		w = register()
		VBROADCASTSS(at(weight, 0), w)
	}
	var s Op
	for i, sum := range sums {
		g := i * size() / (4 * group)
		if local != nil {
			s = local.Offset(4 * g)
		} else if f.scaled && i%(4*group/size()) == 0 {
			s = loadScale(at(scale, 2*g))
		}
		product := register()
		f.load(at(from, i*f.registerBytes()), s, product)
		if wide() {
			VMULPS_BCST(at(weight, 0), product, product)
		} else {
			VMULPS(w, product, product)
		}
		VADDPS(product, sum, sum)
	}
	add(4, weight)
	ADDQ(vector, from)
	if f.scaled {
		ADDQ(vector, scale)
	}
}
