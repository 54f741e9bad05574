package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// sumsPerTree is the number of 16-lane sums that a tree takes: it leaves one register of totals.
func sumsPerTree() int { return pick(16, 8) }

// tree adds the lanes of many 16-lane sums at once, each in the order l += l+8, l+4, l+2, l+1 of kernels.laneSum, and packs them on the
// way: two registers with half of their lanes added are one register. The result has the total of sums[i] in lane i. Adding
// +0 in the end undoes what sums that start with their first product have of -0.
func tree(sums [][]reg.VecVirtual) reg.VecVirtual {
	var r []reg.VecVirtual
	if wide() {
		r = treeHalves512(sums)
	} else {
		r = treeHalves256(sums)
	}
	a, b := addPairs(r[0], r[1]), addPairs(r[2], r[3])
	total := addNeighbours(a, b)
	zeros := register()
	zero(zeros)
	VADDPS(zeros, total, total)
	return total
}

// treeHalves512 takes the steps 8 and 4: 16 registers become four, register k with sum 4c+k in its 128-bit lane c.
func treeHalves512(sums [][]reg.VecVirtual) []reg.VecVirtual {
	upper, bits := K(), GP32()
	MOVL(U32(0xff00), bits)
	KMOVW(bits, upper)
	halves := func(a, b reg.VecVirtual) reg.VecVirtual { // [a, b], 8 lanes each
		crossed := ZMM()
		VSHUFF64X2(Imm(0x4e), b, a, crossed) // the upper half of a, the lower one of b
		VMOVAPS(b, upper, a)
		VADDPS(crossed, a, a)
		return a
	}
	out := make([]reg.VecVirtual, 4)
	for k := range out {
		x, y := halves(sums[k][0], sums[4+k][0]), halves(sums[8+k][0], sums[12+k][0])
		even, odd := ZMM(), ZMM()
		VSHUFF32X4(Imm(0x88), y, x, even)
		VSHUFF32X4(Imm(0xdd), y, x, odd)
		VADDPS(odd, even, even)
		out[k] = even
	}
	return out
}

// treeHalves256 does the same for 8 sums of two registers each: register k has sum 4c+k in its 128-bit lane c.
func treeHalves256(sums [][]reg.VecVirtual) []reg.VecVirtual {
	out := make([]reg.VecVirtual, 4)
	for k := range out {
		out[k] = treeHalf256(sums[k], sums[4+k])
	}
	return out
}

func treeHalf256(a, b []reg.VecVirtual) reg.VecVirtual {
	for _, sum := range [][]reg.VecVirtual{a, b} {
		if len(sum) > 1 {
			VADDPS(sum[1], sum[0], sum[0])
		}
	}
	crossed := YMM()
	VPERM2F128(Imm(0x21), b[0], a[0], crossed) // the upper half of a, the lower one of b
	VBLENDPS(Imm(0xf0), b[0], a[0], a[0])
	VADDPS(crossed, a[0], a[0])
	return a[0]
}

// addPairs takes the step 2: of the four lanes of a and b in each 128-bit lane it leaves two each.
func addPairs(a, b reg.VecVirtual) reg.VecVirtual {
	low := register()
	VUNPCKLPD(b, a, low)
	VUNPCKHPD(b, a, a)
	VADDPS(a, low, low)
	return low
}

// addNeighbours takes the step 1.
func addNeighbours(a, b reg.VecVirtual) reg.VecVirtual {
	even := register()
	VSHUFPS(Imm(0x88), b, a, even)
	VSHUFPS(Imm(0xdd), b, a, a)
	VADDPS(a, even, even)
	return even
}
