// Command roof writes what the products are measured against: for each of the amd64 tiers a loop of nothing but its 8-bit multiply-adds in
// registers, and one plain read loop for both. Packages avx512 and avx2, roof_amd64.s.
package main

import (
	"flag"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func main() {
	tier := flag.String("tier", "avx512", "avx512 or avx2")
	flag.Parse()
	if *tier == "avx2" {
		sweep()
		peakAVX2()
	} else {
		peakAVX512()
	}
	Generate()
}

// sweep writes Sweep: 256 bytes a turn, in order, into four sums.
func sweep() {
	TEXT("Sweep", NOSPLIT, "func(data *byte, turns int) uint64")
	Doc("Sweep is the exclusive or of the 64-bit words of 256 bytes times turns, which is at least 1.")
	Pragma("noescape")
	data := Load(Param("data"), GP64()).(reg.GPVirtual)
	turns := Load(Param("turns"), GP64()).(reg.GPVirtual)
	var sum [4]reg.VecVirtual
	for i := range sum {
		sum[i] = YMM()
		VPXOR(sum[i], sum[i], sum[i])
	}
	Label("turn")
	for at := 0; at < 256; at += 32 {
		to := sum[at/32%len(sum)]
		VPXOR(Mem{Base: data, Disp: at}, to, to)
	}
	ADDQ(U32(256), data)
	DECQ(turns)
	JNZ(LabelRef("turn"))

	VPXOR(sum[1], sum[0], sum[0])
	VPXOR(sum[3], sum[2], sum[2])
	VPXOR(sum[2], sum[0], sum[0])
	half, other, word := XMM(), XMM(), GP64()
	VEXTRACTI128(Imm(1), sum[0], half)
	VPXOR(half, sum[0].AsX(), half)
	VPUNPCKHQDQ(half, half, other)
	VPXOR(half, other, half)
	VMOVQ(half, word)
	Store(word, ReturnIndex(0))
	VZEROUPPER()
	RET()
}

// peakAVX512 writes Peak: 16 independent VPDPBUSD a round.
func peakAVX512() {
	const sums = 16
	peak(sums*64, func() func() {
		a, b := ZMM(), ZMM()
		VPXORD(a, a, a)
		VPXORD(b, b, b)
		var sum [sums]reg.VecVirtual
		for i := range sum {
			sum[i] = ZMM()
			VPXORD(sum[i], sum[i], sum[i])
		}
		return func() {
			for i := range sum {
				VPDPBUSD(a, b, sum[i])
			}
		}
	})
}

// peakAVX2 writes Peak: 8 times VPMADDUBSW, VPMADDWD and VPADDD a round.
func peakAVX2() {
	const sums = 8
	peak(sums*32, func() func() {
		a, b, ones := YMM(), YMM(), YMM()
		VPXOR(a, a, a)
		VPXOR(b, b, b)
		VPXOR(ones, ones, ones)
		var sum [sums]reg.VecVirtual
		for i := range sum {
			sum[i] = YMM()
			VPXOR(sum[i], sum[i], sum[i])
		}
		product := YMM()
		return func() {
			for i := range sum {
				VPMADDUBSW(a, b, product)
				VPMADDWD(ones, product, product)
				VPADDD(product, sum[i], sum[i])
			}
		}
	})
}

// peak writes Peak around a round of so many multiply-adds, which prepare returns once it has loaded its registers.
func peak(multiplies int, prepare func() func()) {
	TEXT("Peak", NOSPLIT, "func(rounds int) int")
	Doc("Peak runs rounds, at least 1, of multiply-adds in registers and returns how many there were.")
	rounds := Load(Param("rounds"), GP64()).(reg.GPVirtual)
	count := GP64()
	IMUL3Q(U32(multiplies), rounds, count)
	round := prepare()
	Label("round")
	round()
	DECQ(rounds)
	JNZ(LabelRef("round"))
	Store(count, ReturnIndex(0))
	VZEROUPPER()
	RET()
}
