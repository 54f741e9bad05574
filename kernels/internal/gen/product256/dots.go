package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// signQ8 multiplies magnitudes of weights, which may be 128, by quants with the signs of the weights. VPMADDUBSW adds two products in 16
// bits: at most 2*128*127, which fits.
type signQ8 struct{ excess, ones reg.VecVirtual }

func (d *signQ8) load(*quantised) { d.excess, d.ones = broadcast("excess"), broadcast("ones") }

func (d *signQ8) scratch(int) int { return 0 }

func (d *signQ8) prepare(*quantised, Mem) {}

func (d *signQ8) rows(q *quantised, weights []Mem, _ Mem, dots [][]reg.VecVirtual) {
	weight, magnitude := registers(len(weights)), registers(len(weights))
	quants, product := YMM(), YMM()
	for g := range 8 {
		for h, at := range weights {
			VPXOR(at.Offset(64*g), d.excess, weight[h]) // w+128 becomes w
			VPABSB(weight[h], magnitude[h])
		}
		for i := range q.n {
			VPBROADCASTD(Mem{Base: q.quants, Disp: 32*i + 4*g}, quants)
			for h := range weights {
				VPSIGNB(weight[h], quants, product)
				VPMADDUBSW(product, magnitude[h], product)
				if g == 0 {
					VPMADDWD(d.ones, product, dots[h][i])
					continue
				}
				VPMADDWD(d.ones, product, product)
				VPADDD(product, dots[h][i], dots[h][i])
			}
		}
	}
}

// splitQ8 multiplies the even and the odd bytes of the weights, 0 to 255 in 16 bits, by the even and the odd quants in 16 bits. It has no
// sign to give to each quant as signQ8 has, but more to do for each weight.
type splitQ8 struct{ evenBytes reg.VecVirtual }

func (d *splitQ8) load(*quantised) { d.evenBytes = broadcast("evenBytes") }

func (d *splitQ8) scratch(n int) int { return 2 * width * n }

// prepare widens the quants: the even ones of a block in one register, the odd ones in the next.
func (d *splitQ8) prepare(q *quantised, work Mem) {
	even, odd := YMM(), YMM()
	for i := range q.n {
		VMOVDQU(Mem{Base: q.quants, Disp: 32 * i}, odd)
		VPSLLW(Imm(8), odd, even)
		VPSRAW(Imm(8), odd, odd)
		VPSRAW(Imm(8), even, even)
		VMOVDQA(even, work.Offset(2*width*i))
		VMOVDQA(odd, work.Offset(2*width*i+width))
	}
}

func (d *splitQ8) rows(q *quantised, weights []Mem, work Mem, dots [][]reg.VecVirtual) {
	for i := range q.n {
		for h := range dots {
			VPBROADCASTD(Mem{Base: q.starts, Disp: 4 * i}, dots[h][i])
		}
	}
	even, odd, quants, product := registers(len(weights)), registers(len(weights)), YMM(), YMM()
	for g := range 8 {
		for h, at := range weights {
			VMOVDQU(at.Offset(64*g), odd[h])
			VPAND(d.evenBytes, odd[h], even[h])
			VPSRLW(Imm(8), odd[h], odd[h])
		}
		for i := range q.n {
			for part, weight := range [][]reg.VecVirtual{even, odd} {
				VPBROADCASTD(work.Offset(2*width*i+width*part+4*g), quants)
				for h, w := range weight {
					VPMADDWD(quants, w, product)
					VPADDD(product, dots[h][i], dots[h][i])
				}
			}
		}
	}
}

// levelsQ4 looks the nibbles up in the levels plus 64, which are 1 to 127: VPMADDUBSW adds two products in 16 bits, at most 2*127*127, which
// fits.
type levelsQ4 struct {
	table, ones reg.VecVirtual
	nibble      Op
}

func (d *levelsQ4) load(q *quantised) {
	d.table, d.ones = YMM(), broadcast("ones")
	VBROADCASTI128(data("q4Levels", 0), d.table)
	d.nibble = data("nibble", 0) // where all registers are taken
	if q.n != wide {
		d.nibble = broadcast("nibble")
	}
}

func (d *levelsQ4) scratch(int) int { return 0 }

func (d *levelsQ4) prepare(*quantised, Mem) {}

// rows unpacks byte j of group g: k = 4g+j in its low and k = 16+4g+j in its high nibble.
func (d *levelsQ4) rows(q *quantised, weights []Mem, _ Mem, dots [][]reg.VecVirtual) {
	for i := range q.n {
		// The starts take 128 times the sum of the quants out of a dot product; here it is 64 times.
		VPBROADCASTD(Mem{Base: q.starts, Disp: 4 * i}, dots[0][i])
		VPSRAD(Imm(1), dots[0][i], dots[0][i])
		for _, other := range dots[1:] {
			VMOVDQA(dots[0][i], other[i])
		}
	}
	low, high, quants, product := registers(len(weights)), registers(len(weights)), YMM(), YMM()
	for g := range 4 {
		for h, at := range weights {
			VMOVDQU(at.Offset(64*g), low[h])
			VPSRLW(Imm(4), low[h], high[h])
			VPAND(d.nibble, low[h], low[h])
			VPAND(d.nibble, high[h], high[h])
			VPSHUFB(low[h], d.table, low[h])
			VPSHUFB(high[h], d.table, high[h])
		}
		for i := range q.n {
			for part, weight := range [][]reg.VecVirtual{low, high} {
				VPBROADCASTD(Mem{Base: q.quants, Disp: 32*i + 16*part + 4*g}, quants)
				for h, w := range weight {
					VPMADDUBSW(quants, w, product)
					VPMADDWD(d.ones, product, product)
					VPADDD(product, dots[h][i], dots[h][i])
				}
			}
		}
	}
}
