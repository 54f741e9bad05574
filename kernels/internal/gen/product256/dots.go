package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// levels are kernels.q4Levels.
var levels = [16]int8{-63, -49, -39, -30, -22, -16, -10, -4, 1, 6, 11, 17, 23, 31, 40, 53}

// constants writes the data that the functions load.
func constants() {
	GLOBL("q4Levels", RODATA|NOPTR)
	for i, level := range levels {
		DATA(i, U8(int(level)+64))
	}
	constant("nibble", 0x0f0f0f0f)
	constant("ones", 0x00010001)
	constant("evenBytes", 0x00ff00ff)
	constant("excess", 0x80808080)
	// Eight words of ones and seven of zeros: read from word 8-n on, they select n words.
	GLOBL("selectors", RODATA|NOPTR)
	for i := range 15 {
		selected := U32(0)
		if i < 8 {
			selected = ^selected
		}
		DATA(4*i, selected)
	}
}

// constant writes a 32-bit number.
func constant(name string, value uint32) {
	GLOBL(name, RODATA|NOPTR)
	DATA(0, U32(value))
}

// data is the address of a constant.
func data(name string, at int) Mem { return NewDataAddr(Symbol{Name: name, Static: true}, at) }

// broadcast loads a constant into every 32-bit lane.
func broadcast(name string) reg.VecVirtual {
	r := YMM()
	VPBROADCASTD(data(name, 0), r)
	return r
}

// signQ8 multiplies magnitudes of weights, which may be 128, by quants with the signs of the weights. VPMADDUBSW adds two products in 16
// bits: at most 2*128*127, which fits.
type signQ8 struct{ excess, ones reg.VecVirtual }

func (d *signQ8) load() { d.excess, d.ones = broadcast("excess"), broadcast("ones") }

func (d *signQ8) scratch(int) int { return 0 }

func (d *signQ8) prepare(*quantised, Mem) {}

func (d *signQ8) half(q *quantised, weights, _ Mem, dots []reg.VecVirtual) {
	weight, magnitude, quants, product := YMM(), YMM(), YMM(), YMM()
	for g := range 8 {
		VPXOR(weights.Offset(64*g), d.excess, weight) // w+128 becomes w
		VPABSB(weight, magnitude)
		for i, dot := range dots {
			VPBROADCASTD(Mem{Base: q.quants, Disp: 32*i + 4*g}, quants)
			VPSIGNB(weight, quants, quants)
			VPMADDUBSW(quants, magnitude, product)
			if g == 0 {
				VPMADDWD(d.ones, product, dot)
				continue
			}
			VPMADDWD(d.ones, product, product)
			VPADDD(product, dot, dot)
		}
	}
}

// splitQ8 multiplies the even and the odd bytes of the weights, 0 to 255 in 16 bits, by the even and the odd quants in 16 bits. It has no
// sign to give to each quant as signQ8 has, but more to do for each weight.
type splitQ8 struct{ evenBytes reg.VecVirtual }

func (d *splitQ8) load() { d.evenBytes = broadcast("evenBytes") }

func (d *splitQ8) scratch(n int) int { return 2 * width * n }

// prepare widens the quants: the even ones of a block in one register, the odd ones in the next.
func (d *splitQ8) prepare(q *quantised, at Mem) {
	even, odd := YMM(), YMM()
	for i := range q.n {
		VMOVDQU(Mem{Base: q.quants, Disp: 32 * i}, odd)
		VPSLLW(Imm(8), odd, even)
		VPSRAW(Imm(8), odd, odd)
		VPSRAW(Imm(8), even, even)
		VMOVDQA(even, at.Offset(2*width*i))
		VMOVDQA(odd, at.Offset(2*width*i+width))
	}
}

func (d *splitQ8) half(q *quantised, weights, at Mem, dots []reg.VecVirtual) {
	for i, dot := range dots {
		VPBROADCASTD(Mem{Base: q.starts, Disp: 4 * i}, dot)
	}
	even, odd, product := YMM(), YMM(), YMM()
	for g := range 8 {
		VMOVDQU(weights.Offset(64*g), odd)
		VPAND(d.evenBytes, odd, even)
		VPSRLW(Imm(8), odd, odd)
		for i, dot := range dots {
			quants := at.Offset(2*width*i + 4*g)
			VPBROADCASTD(quants, product)
			VPMADDWD(product, even, product)
			VPADDD(product, dot, dot)
			VPBROADCASTD(quants.Offset(width), product)
			VPMADDWD(product, odd, product)
			VPADDD(product, dot, dot)
		}
	}
}

// levelsQ4 looks the nibbles up in the levels plus 64, which are 1 to 127: VPMADDUBSW adds two products in 16 bits, at most 2*127*127, which
// fits.
type levelsQ4 struct{ table, nibble, ones reg.VecVirtual }

func (d *levelsQ4) load() {
	d.table, d.nibble, d.ones = YMM(), broadcast("nibble"), broadcast("ones")
	VBROADCASTI128(data("q4Levels", 0), d.table)
}

func (d *levelsQ4) scratch(int) int { return 0 }

func (d *levelsQ4) prepare(*quantised, Mem) {}

// half unpacks byte j of group g: k = 4g+j in its low and k = 16+4g+j in its high nibble.
func (d *levelsQ4) half(q *quantised, weights, _ Mem, dots []reg.VecVirtual) {
	for i, dot := range dots {
		VPBROADCASTD(Mem{Base: q.starts, Disp: 4 * i}, dot)
		VPSRAD(Imm(1), dot, dot)
	}
	low, high, product := YMM(), YMM(), YMM()
	for g := range 4 {
		VMOVDQU(weights.Offset(64*g), low)
		VPSRLW(Imm(4), low, high)
		VPAND(d.nibble, low, low)
		VPAND(d.nibble, high, high)
		VPSHUFB(low, d.table, low)
		VPSHUFB(high, d.table, high)
		for i, dot := range dots {
			quants := Mem{Base: q.quants, Disp: 32*i + 4*g}
			VPBROADCASTD(quants, product)
			VPMADDUBSW(product, low, product)
			VPMADDWD(d.ones, product, product)
			VPADDD(product, dot, dot)
			VPBROADCASTD(quants.Offset(16), product)
			VPMADDUBSW(product, high, product)
			VPMADDWD(d.ones, product, product)
			VPADDD(product, dot, dot)
		}
	}
}
