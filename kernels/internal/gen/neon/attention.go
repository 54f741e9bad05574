package main

import (
	"fmt"

	. "polynode/kernels/internal/gen/neon/a64"
)

// attention are the functions on stored keys and values, and on rows of scores, with the parameters that package kernels has
// for those of every processor.
func attention() *File {
	file := NewFile("neon", "attention")
	for _, f := range []stored{{"F16", 2}, {"Q8", 1}, {"F32", 4}} {
		keys(file, f)
		values(file, f, 64)
		values(file, f, 16)
		widen(file, f)
		turn(file, f)
	}
	scoreDots(file)
	for _, rows := range []int{4, 2, 1} {
		mix(file, rows, 32)
		mix(file, rows, 16)
	}
	softmax(file)
	combine(file)
	return file
}

// scoresBytes is the size of a row of scores: one for each key of a key block.
const scoresBytes = 4 * 128

// stored is how head vectors are stored: float16, float32, or int8 with a float16 scale for each 32 behind them.
type stored struct {
	name  string
	bytes int // of an element
}

func (f stored) scaled() bool { return f.bytes == 1 }

// load widens the 16 elements at an offset behind a pointer into four registers from d on. scale is the register of their scale.
func (f stored) load(fn *Func, base string, off, d, scale int) {
	switch f.bytes {
	case 4:
		fn.LoadQ(base, off, run(d, 4)...)
	case 2:
		fn.LoadQ(base, off, d+1, d+3)
		for v := d; v < d+4; v += 2 {
			fn.V(FCVTL, v, v+1)
			fn.V(FCVTL2, v+1, v+1)
		}
	case 1:
		fn.LoadQ(base, off, d+3)
		widenQuants(fn, d+3)
		for _, v := range run(d, 4) {
			fn.V(FMULI, v, v, scale, 0)
		}
	}
}

// loadScale widens the scale at an address into lane 0 of a register. It changes R7.
func loadScale(fn *Func, address string, reg int) {
	fn.I("MOVHU %s, R7", address)
	fn.I("FMOVS R7, F%d", reg)
	fn.V(FCVTL, reg, reg)
}

// treeOf4 adds up four sums of 16 lanes each, whose lanes 0-3 + 8-11 and 4-7 + 12-15 are already added (B), in the tree's order: d gets one
// sum a lane. It changes temp and temp+1.
func treeOf4(fn *Func, d int, b [4]int, temp int) {
	for i := range 2 {
		x, y := b[2*i], b[2*i+1]
		fn.V(ZIP1D, temp+i, x, y) // lanes 0 and 1 of both
		fn.V(ZIP2D, x, x, y)      // lanes 2 and 3
		fn.V(FADD, temp+i, temp+i, x)
	}
	fn.V(FADDP, d, temp, temp+1)
}

// halfTree adds the four registers of a sum from acc on into the first.
func halfTree(fn *Func, acc int) {
	fn.V(FADD, acc, acc, acc+2)
	fn.V(FADD, acc+1, acc+1, acc+3)
	fn.V(FADD, acc, acc, acc+1)
}

func keys(file *File, f stored) {
	fn := file.Func("Keys"+f.name, `sets the 16 scores of a page's keys for each of heads heads, which stand 512 bytes apart in
		scores, (dim) in q, and one behind the other in page. dim is a multiple of 16.`,
		[]string{"scores *float32", "q *float32", "page *byte", "heads int", "dim int", "scale float32"})
	fn.Args("scores R0", "q R1", "page R2", "heads R3", "dim R4")
	broadcast(fn, "scale", 30)
	vectorBytes(fn, f)
	fn.Label("head")
	fn.I("MOVD $4, R6")
	fn.Label("keys") // four keys at a time: V0-V15 are their lanes
	fn.I("MOVD R2, R10")
	for k := 1; k < 4; k++ {
		fn.I("ADD R5, R%d, R%d", 9+k, 10+k)
	}
	if f.scaled() {
		for k := range 4 {
			fn.I("ADD R4, R%d, R%d", 10+k, 20+k)
		}
	}
	fn.I("MOVD R1, R14")
	fn.I("MOVD ZR, R15")
	for v := range 16 {
		fn.V(MOVZERO, v)
	}
	fn.Label("sixteen")
	fn.LoadQ("R14", 0, run(16, 4)...)
	if f.scaled() {
		fn.I("LSR $5, R15, R16")
		fn.I("LSL $1, R16, R16")
	}
	for k := range 4 {
		d, scale := 20+k%2*4, 28+k%2
		if f.scaled() {
			loadScale(fn, fmt.Sprintf("(R%d)(R16)", 20+k), scale)
		}
		f.load(fn, fmt.Sprintf("R%d", 10+k), 0, d, scale)
		for i := range 4 {
			fn.V(FMUL, d+i, d+i, 16+i)
			fn.V(FADD, 4*k+i, 4*k+i, d+i)
		}
		fn.I("ADD $%d, R%d", 16*f.bytes, 10+k)
	}
	fn.I("ADD $64, R14")
	fn.I("ADD $16, R15")
	fn.I("CMP R4, R15")
	fn.I("BLT sixteen")
	for k := range 4 {
		halfTree(fn, 4*k)
	}
	treeOf4(fn, 16, [4]int{0, 4, 8, 12}, 17)
	fn.V(FMUL, 16, 16, 30)
	fn.StoreQ("R0", 0, 16)
	fn.I("ADD $16, R0")
	fn.I("ADD R5<<2, R2")
	fn.I("SUBS $1, R6")
	fn.I("BNE keys")
	fn.I("ADD $%d, R0", scoresBytes-64)
	fn.I("ADD R4<<2, R1")
	fn.I("SUBS $1, R3")
	fn.I("BNE head")
	fn.Return()
}

// vectorBytes puts the size of a stored vector of R4 elements into R5.
func vectorBytes(fn *Func, f stored) {
	switch f.bytes {
	case 4:
		fn.I("LSL $2, R4, R5")
	case 2:
		fn.I("LSL $1, R4, R5")
	case 1:
		fn.I("ADD $31, R4, R5")
		fn.I("LSR $5, R5, R5")
		fn.I("ADD R5<<1, R4, R5")
	}
}

func values(file *File, f stored, dim int) {
	fn := file.Func(fmt.Sprintf("Values%sx%d", f.name, dim), fmt.Sprintf(`adds to %d elements of acc the products p[j]*page[j] for keys keys,
		for each of heads heads, which stand accStride bytes apart in acc, 512 in p, and 16*vector in page and scales; vector is the
		bytes from one value to the next, scales where the scales of the first one's elements are.`, dim),
		[]string{"acc *float32", "accStride int", "p *float32", "page *byte", "scales *byte", "vector int", "heads int", "keys int"})
	fn.Args("acc R0", "accStride R1", "p R2", "page R3", "scales R4", "vector R5", "heads R6", "keys R8")
	fn.Label("head")
	for i, from := range []int{2, 3, 4, 8} {
		fn.I("MOVD R%d, R%d", from, 10+i)
	}
	fn.LoadQ("R0", 0, run(0, dim/4)...)
	fn.Label("key")
	fn.I("FMOVS.P 4(R10), F16")
	for i := range dim / 16 {
		d, scale := 20+i%2*4, 28+i/2%2
		if f.scaled() && i%2 == 0 {
			loadScale(fn, fmt.Sprintf("%d(R12)", i), scale)
		}
		f.load(fn, "R11", 16*f.bytes*i, d, scale)
		for v := range 4 {
			fn.V(FMULI, d+v, d+v, 16, 0)
			fn.V(FADD, 4*i+v, 4*i+v, d+v)
		}
	}
	fn.I("ADD R5, R11")
	fn.I("ADD R5, R12")
	fn.I("SUBS $1, R13")
	fn.I("BNE key")
	fn.StoreQ("R0", 0, run(0, dim/4)...)
	fn.I("ADD R1, R0")
	fn.I("ADD $%d, R2", scoresBytes)
	fn.I("ADD R5<<4, R3")
	fn.I("ADD R5<<4, R4")
	fn.I("SUBS $1, R6")
	fn.I("BNE head")
	fn.Return()
}

func widen(file *File, f stored) {
	fn := file.Func("Widen"+f.name, `copies dim elements, a multiple of 16, of each of count stored vectors as float32; strides are in
		bytes, and scales is where the scales of the first vector's elements are.`,
		[]string{"dst *float32", "dstStride int", "src *byte", "scales *byte", "srcStride int", "count int", "dim int"})
	fn.Args("dst R0", "dstStride R1", "src R2", "scales R3", "srcStride R4", "count R5", "dim R6")
	fn.Label("vector")
	fn.I("MOVD R0, R10")
	fn.I("MOVD R2, R11")
	fn.I("MOVD ZR, R15")
	fn.Label("sixteen")
	if f.scaled() {
		fn.I("LSR $5, R15, R16")
		fn.I("LSL $1, R16, R16")
		loadScale(fn, "(R3)(R16)", 16)
	}
	f.load(fn, "R11", 0, 0, 16)
	fn.StoreQ("R10", 0, run(0, 4)...)
	fn.I("ADD $64, R10")
	fn.I("ADD $%d, R11", 16*f.bytes)
	fn.I("ADD $16, R15")
	fn.I("CMP R6, R15")
	fn.I("BLT sixteen")
	fn.I("ADD R1, R0")
	fn.I("ADD R4, R2")
	fn.I("ADD R4, R3")
	fn.I("SUBS $1, R5")
	fn.I("BNE vector")
	fn.Return()
}
