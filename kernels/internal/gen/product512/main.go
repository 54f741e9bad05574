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
		quantised{name: fmt.Sprint("MulQ8x", n), doc: doc("Q8", n), n: n, unpack: unpackQ8, quantBytes: 512, prefetchFrom: 4}.generate()
	}
	for n := 1; n <= columns; n++ {
		quantised{name: fmt.Sprint("MulQ4x", n), doc: doc("Q4", n), n: n, unpack: unpackQ4, quantBytes: 256, table: true, masks: true, prefetchFrom: 2}.generate()
	}
	for n := 1; n <= columns; n++ {
		quantised{name: fmt.Sprint("MulQ4VBMIx", n), doc: doc("Q4VBMI", n), n: n, unpack: unpackQ4VBMI, quantBytes: 256, table: true, prefetchFrom: 2}.generate()
	}
	for n := 1; n <= columns; n++ {
		float{name: fmt.Sprint("MulBF16x", n), doc: doc("BF16", n), n: n, bf16: true, prefetchFrom: 2}.generate()
	}
	for n := 1; n <= columns; n++ {
		float{name: fmt.Sprint("MulF32x", n), doc: doc("F32", n), n: n, prefetchFrom: 4}.generate()
	}
	Generate()
}

// doc is the comment of a function.
func doc(format string, n int) string {
	if n == 1 {
		return fmt.Sprintf("Mul%sx1 multiplies a panel of 16 rows by 1 column; the package's comment has the parameters.", format)
	}
	return fmt.Sprintf("Mul%sx%d is Mul%sx1 for %d columns.", format, n, format, n)
}
