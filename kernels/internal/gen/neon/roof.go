package main

import . "polynode/kernels/internal/gen/neon/a64"

// roofs are what the products are measured against: a plain read loop, and nothing but multiply-adds in registers.
func roofs() *File {
	file := NewFile("neon", "roof")
	fn := file.Func("Sweep", "is the exclusive or of the 64-bit words of 256 bytes times turns, which is at least 1.",
		[]string{"data *byte", "turns int"}, "sum uint64")
	fn.Args("data R0", "turns R1")
	for v := range 4 {
		fn.V(MOVZERO, v)
	}
	fn.Label("turn")
	for at := 0; at < 256; at += 128 {
		fn.LoadQ("R0", at, run(16, 8)...)
		for i := range 8 {
			fn.V(EOR, i%4, i%4, 16+i)
		}
	}
	fn.I("ADD $256, R0")
	fn.I("SUBS $1, R1")
	fn.I("BNE turn")
	fn.V(EOR, 0, 0, 1)
	fn.V(EOR, 2, 2, 3)
	fn.V(EOR, 0, 0, 2)
	fn.V(DUP2D, 1, 0, 1)
	fn.V(EOR, 0, 0, 1)
	fn.I("FMOVD F0, R0")
	fn.Return("sum R0")

	peak(file, "PeakDot", SDOT, 16)
	peak(file, "PeakMM", USMMLA, 32)
	return file
}

// peak writes rounds of 16 independent multiply-adds, each of so many products.
func peak(file *File, name string, op Op, products int) {
	const sums = 16
	fn := file.Func(name, "runs rounds, at least 1, of multiply-adds in registers and returns how many there were.", []string{"rounds int"}, "count int")
	fn.Args("rounds R0")
	fn.I("MOVD $%d, R1", sums*products)
	fn.I("MUL R1, R0, R2")
	for v := range sums + 2 {
		fn.V(MOVZERO, v)
	}
	fn.Label("round")
	for v := range sums {
		fn.V(op, v, sums, sums+1)
	}
	fn.I("SUBS $1, R0")
	fn.I("BNE round")
	fn.Return("count R2")
}
