// Command product256 writes the AVX2 tier of the matrix products: package avx2, product_amd64.s, and, with -float, product_float_amd64.s.
//
// Every product is a tile: one panel of 16 rows by n columns (rows of the activations). A ymm register holds half a panel, a lane for
// each of 8 rows. There is one function per format and n, so that all offsets are constants.
package main

import (
	"flag"
	"fmt"

	. "github.com/mmcloughlin/avo/build"
)

const (
	columns      = 8 // the largest number of columns of a quantised tile: kernels.tileT
	floatColumns = 4 // the same for F32 and BF16
	halves       = 2 // registers that hold the rows of a panel
)

// wide is the largest number of columns for which both halves of a panel are multiplied at once.
const wide = 4

func together(n int) int {
	if n <= wide {
		return 2
	}
	return 1
}

func main() {
	floats := flag.Bool("float", false, "write the products of F32 and BF16, not those of Q8 and Q4")
	flag.Parse()
	if *floats {
		constant("upperHalves", 0xffff0000)
		for n := 1; n <= floatColumns; n++ {
			(&float{name: fmt.Sprintf("MulF32x%d", n), n: n, blockBytes: 2048, group: groupF32}).generate()
			(&float{name: fmt.Sprintf("MulBF16x%d", n), n: n, blockBytes: 1024, group: groupBF16}).generate()
		}
	} else {
		constants()
		for n := 1; n <= columns; n++ {
			var q8 dotter = &splitQ8{}
			if n == 1 {
				q8 = &signQ8{}
			}
			(&quantised{name: fmt.Sprintf("MulQ8x%d", n), n: n, together: together(n), blockBytes: 32 + 512, dot: q8}).generate()
			(&quantised{name: fmt.Sprintf("MulQ4x%d", n), n: n, together: together(n), blockBytes: 32 + 256, dot: &levelsQ4{}}).generate()
		}
	}
	Generate()
}
