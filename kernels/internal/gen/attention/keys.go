package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// keys writes the function that multiplies one query row per head with the 16 keys of a page: with every step unrolled for
// one head dimension, or (dim 0) for every multiple of 16. Keys are read in the order in which they are stored.
func keys(f format, dim int) {
	name := "Keys" + f.name
	if dim > 0 {
		name += "x128"
	}
	text(name, "func(scores, q *float32, page *byte, heads, dim int, scale float32)",
		"sets the 16 scores of a page's keys for each of heads heads, which stand 512 bytes apart in scores, (dim) in q, and one behind the other in page.")
	w := &keysWriter{f: f, dim: dim}
	w.scores, w.q, w.page = argument("scores"), argument("q"), argument("page")
	heads := argument("heads")
	w.anyDim = argument("dim")
	loop("head", heads, func() {
		if dim > 0 {
			w.unrolled()
		} else {
			w.any()
		}
		add(scoresRow, w.scores)
	})
	end()
}

type keysWriter struct {
	f               format
	dim             int
	scores, q, page reg.GPVirtual
	anyDim          reg.GPVirtual
}

// each calls one for the keys of the page, in order, and stores the scores.
func (w *keysWriter) each(one func(key int) []reg.VecVirtual) {
	for first := 0; first < pageTokens; first += sumsPerTree() {
		var sums [][]reg.VecVirtual
		for i := range sumsPerTree() {
			sum := one(first + i)
			if len(sum) > 1 { // the tree's first step, which frees a register
				VADDPS(sum[1], sum[0], sum[0])
				sum = sum[:1]
			}
			sums = append(sums, sum)
		}
		total := tree(sums)
		times(argumentAt("scale"), total, total)
		VMOVUPS(total, at(w.scores, 4*first))
	}
}

func (w *keysWriter) unrolled() {
	vectors, bytes := w.dim/lanes, w.f.vectorBytes(w.dim)
	var query []Op
	for i := range vectors * parts() {
		m := at(w.q, i*size())
		if !wide() {
			query = append(query, m)
			continue
		}
		r := register()
		VMOVUPS(m, r)
		query = append(query, r)
	}
	var scales Mem
	if w.f.scaled {
		scales = AllocLocal(pageTokens * scaleSlots * 4)
	}
	w.each(func(key int) []reg.VecVirtual {
		sum := registers(parts())
		w.f.prefetch(w.page, key*bytes, (key+1)*bytes)
		if w.f.scaled {
			widenScales(at(w.page, key*bytes+w.dim*w.f.element), scales.Offset(4*key*scaleSlots))
		}
		for i := range vectors * parts() {
			m := at(w.page, key*bytes+i*w.f.registerBytes())
			scale := scales.Offset(4 * (key*scaleSlots + i/parts()*lanes/group))
			w.addProduct(m, scale, query[i], sum[i%parts()], i < parts())
		}
		return sum
	})
	add(w.dim*4, w.q)
	add(pageTokens*bytes, w.page)
}

// addProduct adds to sum the products of the elements at m with the query's; the first product is the sum.
func (w *keysWriter) addProduct(m Mem, scale, query Op, sum reg.VecVirtual, first bool) {
	product := register()
	w.f.load(m, scale, product)
	if first {
		VMULPS(query, product, sum)
		return
	}
	VMULPS(query, product, product)
	VADDPS(product, sum, sum)
}

func (w *keysWriter) any() {
	query := GP64()
	w.each(func(int) []reg.VecVirtual {
		sum := registers(parts())
		for _, r := range sum {
			zero(r)
		}
		MOVQ(w.q, query)
		if w.f.scaled {
			w.anyGroups(query, sum)
		} else {
			count := copied(w.anyDim)
			SHRQ(Imm(4), count)
			loop("vector", count, func() { w.anyVector(query, nil, sum) })
		}
		return sum
	})
	MOVQ(query, w.q)
}

// anyVector adds the products of 16 elements and goes on to the next.
func (w *keysWriter) anyVector(query reg.Register, scale Op, sum []reg.VecVirtual) {
	for i, r := range sum {
		w.addProduct(at(w.page, i*w.f.registerBytes()), scale, at(query, i*size()), r, false)
	}
	add(lanes*w.f.element, w.page)
	add(vectorSize, query)
}

// anyGroups adds the products of a whole vector, two times 16 elements under a scale and once 16 where that is left.
func (w *keysWriter) anyGroups(query reg.Register, sum []reg.VecVirtual) {
	odd, done, pairs := label("odd"), label("done"), label("pair")
	scales, count := GP64(), copied(w.anyDim)
	MOVQ(w.page, scales)
	ADDQ(w.anyDim, scales)
	SHRQ(Imm(5), count)
	JZ(LabelRef(odd))
	Label(pairs)
	scale := loadScale(at(scales, 0))
	w.anyVector(query, scale, sum)
	w.anyVector(query, scale, sum)
	add(2, scales)
	DECQ(count)
	JNZ(LabelRef(pairs))
	Label(odd)
	TESTQ(U32(lanes), w.anyDim)
	JZ(LabelRef(done))
	w.anyVector(query, loadScale(at(scales, 0)), sum)
	add(2, scales)
	Label(done)
	MOVQ(scales, w.page)
}
