// Package avx512 is the assembly of the AVX-512 tier of package kernels: processors with AVX-512 F, BW, DQ, VL and VNNI. The caller has
// checked that this is one, and that all sizes fit.
//
// The .s files and the declarations beside them are written by the programs in kernels/internal/gen.
//
// # Products
//
// MulQ8x3 and its kin multiply panels of 16 rows by as many columns as the name says, over a run of blocks:
//
//	out, stride    the sums, one int32 per row, and from one column to the next
//	load, store    bit r set: row r of out holds a sum to be continued, and: row r is written
//	weights        the first block of the first panel
//	panels, skip   how many panels, at least 1, side by side in out, and the bytes from the end of a panel's blocks to the next panel
//	               (quantised formats; the others take one panel)
//	quants, starts of the quantised activations, (blocks, columns), starts being -128 times the sum of the quants
//	scales         of the quantised activations, (leaves, columns)
//	x, pitch       of the float formats: the activations, and from one column to the next
//	blocks, leaf   the number of blocks, at least 1, and how many make a leaf
//	unit, limit    2^Exponent, and the limit of a contribution
//
// MulQ4VBMIx3 and its kin are MulQ4x3 and its kin for processors that have AVX512_VBMI too.
//
// The result is false if a contribution in a stored row left ±limit or is a NaN; out is then to be computed anew.
package avx512

//go:generate go -C ../gen run ./product512 -out ../avx512/product_amd64.s -stubs ../avx512/product_amd64.go -pkg avx512
//go:generate go -C ../gen run ./roof -tier avx512 -out ../avx512/roof_amd64.s -stubs ../avx512/roof_amd64.go -pkg avx512
//go:generate go -C ../gen run ./attention -width 512 -out ../avx512/attention_amd64.s -stubs ../avx512/attention_amd64.go -pkg avx512
//go:generate go -C ../gen run ./vector -tier avx512 -out ../avx512/vector_amd64.s -stubs ../avx512/vector_amd64.go -pkg avx512
