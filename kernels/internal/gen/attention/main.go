// Command attention writes the assembly of attention for one tier of amd64: package avx512 or avx2, attention_amd64.s.
//
// Everything here computes with 16 lanes, one ZMM register or two YMM registers: the functions are the same for both, the widths of
// tiles are not, for AVX2 has 16 registers and AVX-512 has 32. Two shapes of attention have functions of their own. One query row
// (Keys*, Values*) reads the stored bytes once, straight from the page. Several rows (Dots, Mix*) read a widened copy (Widen*) in the first
// level of the cache, again and again. Softmax and Combine serve both. Prefetch
// asks for what several rows will read next.
package main

import (
	"flag"

	. "github.com/mmcloughlin/avo/build"
)

func main() {
	flag.IntVar(&width, "width", 512, "bits of a register: 512 (AVX-512) or 256 (AVX2)")
	flag.Parse()
	for _, f := range []format{f16, q8, f32} {
		keys(f, 128)
		keys(f, 0)
		for _, vectors := range pick([]int{8, 4, 1}, []int{4, 1}) {
			values(f, vectors)
		}
		widen(f)
		turn(f)
	}
	dots()
	for _, rows := range pick([]int{8, 4, 2, 1}, []int{4, 2, 1}) {
		mix(rows, 2)
		mix(rows, 1)
	}
	softmax()
	combine()
	prefetch()
	Generate()
}
