// Command product512 writes the AVX-512 tier of the matrix products: package avx512, product_amd64.s.
//
// Every product is a tile: one panel of 16 rows, a lane each, by n columns (rows of the activations), n from 1 to 8. There is one function per
// format and n, so that all offsets are constants and all sums live in registers.
package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
)

// columns is the largest number of columns of a tile: kernels.tileT.
const columns = 8

func main() {
	for n := 1; n <= columns; n++ {
		quantised{name: fmt.Sprintf("MulQ8x%d", n), n: n, unpack: unpackQ8, blockBytes: 32 + 512}.generate()
	}
	for n := 1; n <= columns; n++ {
		quantised{name: fmt.Sprintf("MulQ4x%d", n), n: n, unpack: unpackQ4, blockBytes: 32 + 256}.generate()
	}
	Generate()
}
