package main

import (
	"fmt"
	"math"

	. "polynode/kernels/internal/gen/neon/a64"
)

// vectors are the operations on slices of a multiple of 16 elements.
func vectors() *File {
	file := NewFile("neon", "vector")
	sums(file)
	elementwise(file)
	return file
}

// set puts a float32 in all lanes of a register.
func set(fn *Func, reg int, value float32) { setBits(fn, reg, math.Float32bits(value)) }

func setBits(fn *Func, reg int, bits uint32) {
	fn.I("MOVD $%#08x, R16", bits)
	fn.V(DUPW, reg, 16)
}

// broadcast puts a 32-bit parameter in all lanes of a register.
func broadcast(fn *Func, name string, reg int) {
	fn.Arg(name, "R16")
	fn.V(DUPW, reg, 16)
}

// loop writes a loop over n elements, step at a time; n is in R9. The pointers are moved on by step elements of so many bytes.
func loop(fn *Func, name string, step int, body func(), pointers map[string]int) {
	fn.Label(name)
	body()
	for _, reg := range []string{"R0", "R1", "R2", "R3", "R4", "R5"} {
		if size := pointers[reg]; size > 0 {
			fn.I("ADD $%d, %s", step*size, reg)
		}
	}
	fn.I("SUBS $%d, R9", step)
	fn.I("BNE %s", name)
}

func sums(file *File) {
	doc := "adds element i of x to lane i mod 16 of sum, in the order of i. n is a multiple of 16, and not zero."
	fn := file.Func("SumLanes", doc, []string{"sum *float32", "x *float32", "n int"})
	fn.Args("sum R0", "x R1", "n R9")
	fn.LoadQ("R0", 0, run(0, 4)...)
	loop(fn, "sixteen", 16, func() {
		fn.LoadQ("R1", 0, run(4, 4)...)
		for q := range 4 {
			fn.V(FADD, q, q, 4+q)
		}
	}, map[string]int{"R1": 4})
	fn.StoreQ("R0", 0, run(0, 4)...)
	fn.Return()

	doc = "adds (x-mean)*(x-mean) of element i to lane i mod 16 of sum, in the order of i. n is a multiple of 16, and not zero."
	fn = file.Func("SumSquares", doc, []string{"sum *float32", "x *float32", "n int", "mean float32"})
	fn.Args("sum R0", "x R1", "n R9")
	broadcast(fn, "mean", 8)
	fn.LoadQ("R0", 0, run(0, 4)...)
	loop(fn, "sixteen", 16, func() {
		fn.LoadQ("R1", 0, run(4, 4)...)
		for q := range 4 {
			fn.V(FSUB, 4+q, 4+q, 8)
			fn.V(FMUL, 4+q, 4+q, 4+q)
			fn.V(FADD, q, q, 4+q)
		}
	}, map[string]int{"R1": 4})
	fn.StoreQ("R0", 0, run(0, 4)...)
	fn.Return()
}

// elementwise are the operations whose result i depends on elements i alone.
func elementwise(file *File) {
	fn := file.Func("Normalise", "writes ((x-mean)*inv)*w + b to dst, which may be x. n is a multiple of 16, and not zero.",
		[]string{"dst *float32", "x *float32", "w *float32", "b *float32", "n int", "mean float32", "inv float32"})
	fn.Args("dst R0", "x R1", "w R2", "b R3", "n R9")
	broadcast(fn, "mean", 16)
	broadcast(fn, "inv", 17)
	loop(fn, "sixteen", 16, func() {
		for i := range 3 {
			fn.LoadQ(fmt.Sprintf("R%d", 1+i), 0, run(4*i, 4)...)
		}
		for q := range 4 {
			fn.V(FSUB, q, q, 16)
			fn.V(FMUL, q, q, 17)
			fn.V(FMUL, q, q, 4+q)
			fn.V(FADD, q, q, 8+q)
		}
		fn.StoreQ("R0", 0, run(0, 4)...)
	}, map[string]int{"R0": 4, "R1": 4, "R2": 4, "R3": 4})
	fn.Return()
	finish(file)

	inPlace(file, "Add", "adds src to dst.", []string{"dst *float32", "src *float32", "n int"}, func(fn *Func, q int) { fn.V(FADD, q, q, 4+q) })
	inPlace(file, "AddInt32", "adds src to dst.", []string{"dst *int32", "src *int32", "n int"}, func(fn *Func, q int) { fn.V(ADD, q, q, 4+q) })
	inPlace(file, "AddScaled", "adds x*w to acc, product and sum rounded.",
		[]string{"acc *float32", "x *float32", "n int", "w float32"}, func(fn *Func, q int) {
			fn.V(FMUL, 4+q, 4+q, 8)
			fn.V(FADD, q, q, 4+q)
		})
	inPlace(file, "Divide", "divides x by a number.", []string{"x *float32", "n int", "by float32"}, func(fn *Func, q int) { fn.V(FDIV, q, q, 8) })
}

// inPlace writes an operation on its first parameter, in V0-V3, with a second slice in V4-V7 or a number in all lanes of V8, or both.
func inPlace(file *File, name, doc string, params []string, op func(fn *Func, q int)) {
	fn := file.Func(name, doc+" n is a multiple of 16, and not zero.", params)
	pointers := map[string]int{}
	for i, p := range params {
		var param, kind string
		fmt.Sscan(p, &param, &kind)
		switch kind {
		case "int":
			fn.Arg(param, "R9")
		case "float32":
			broadcast(fn, param, 8)
		default:
			fn.Arg(param, fmt.Sprintf("R%d", i))
			pointers[fmt.Sprintf("R%d", i)] = 4
		}
	}
	loop(fn, "sixteen", 16, func() {
		fn.LoadQ("R0", 0, run(0, 4)...)
		if len(pointers) > 1 {
			fn.LoadQ("R1", 0, run(4, 4)...)
		}
		for q := range 4 {
			op(fn, q)
		}
		fn.StoreQ("R0", 0, run(0, 4)...)
	}, pointers)
	fn.Return()
}

func finish(file *File) {
	fn := file.Func("Finish", "writes float32(sums)*unit, plus bias if that is not nil, to dst. n is a multiple of 16, and not zero.",
		[]string{"dst *float32", "sums *int32", "bias *float32", "n int", "unit float32"})
	fn.Args("dst R0", "sums R1", "bias R2", "n R9")
	broadcast(fn, "unit", 16)
	scaled := func() {
		fn.LoadQ("R1", 0, run(0, 4)...)
		for q := range 4 {
			fn.V(SCVTF, q, q)
			fn.V(FMUL, q, q, 16)
		}
	}
	fn.I("CBZ R2, plain")
	loop(fn, "biased", 16, func() {
		scaled()
		fn.LoadQ("R2", 0, run(4, 4)...)
		for q := range 4 {
			fn.V(FADD, q, q, 4+q)
		}
		fn.StoreQ("R0", 0, run(0, 4)...)
	}, map[string]int{"R0": 4, "R1": 4, "R2": 4})
	fn.Return()
	loop(fn, "plain", 16, func() {
		scaled()
		fn.StoreQ("R0", 0, run(0, 4)...)
	}, map[string]int{"R0": 4, "R1": 4})
	fn.Return()
}
