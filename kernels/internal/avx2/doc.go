// Package avx2 is the assembly of the AVX2 tier of package kernels: processors with AVX2 and F16C. The caller has checked that this is one, and
// that all sizes fit.
//
// The .s files and the declarations beside them are written by the programs in kernels/internal/gen.
//
// # Products
//
// MulQ8xN, MulQ4xN, MulF32xN and MulBF16xN multiply one panel of 16 rows, of which weights is the first block, by N columns. They add the sums of the
// rounded leaves to out, 16 numbers per column, stride numbers from one column to the next; unit is 2^Exponent. blocks is the number of
// blocks to take, leaf the number of blocks in a leaf; both are at least 1, and the first block begins a leaf.
//
// quants and starts are (blocks, N), scales (leaves, N), as kernels.Activations keeps them; x is the first of the float32 inputs, xstride the number of them
// from one column to the next.
//
// The result is twice the largest |contribution| of a leaf, as the bits of a float32 (so more than those of an infinity for a NaN). Only if that
// stayed below twice the limit is out right.
package avx2

//go:generate go -C ../gen run ./roof -tier avx2 -out ../avx2/roof_amd64.s -stubs ../avx2/roof_amd64.go -pkg avx2
//go:generate go -C ../gen run ./product256 -out ../avx2/product_amd64.s -stubs ../avx2/product_amd64.go -pkg avx2
//go:generate go -C ../gen run ./product256 -float -out ../avx2/product_float_amd64.s -stubs ../avx2/product_float_amd64.go -pkg avx2
//go:generate go -C ../gen run ./attention -width 256 -out ../avx2/attention_amd64.s -stubs ../avx2/attention_amd64.go -pkg avx2
//go:generate go -C ../gen run ./vector -tier avx2 -out ../avx2/vector_amd64.s -stubs ../avx2/vector_amd64.go -pkg avx2
