// Package avx512 is the assembly of the AVX-512 tier of package kernels: processors with AVX-512 F, BW, DQ, VL and VNNI. The caller has
// checked that this is one, and that all sizes fit.
//
// The .s files and the declarations beside them are written by the programs in kernels/internal/gen.
package avx512

//go:generate go -C ../gen run ./product512 -out ../avx512/product_amd64.s -stubs ../avx512/product_amd64.go -pkg avx512
//go:generate go -C ../gen run ./roof -tier avx512 -out ../avx512/roof_amd64.s -stubs ../avx512/roof_amd64.go -pkg avx512
//go:generate go -C ../gen run ./roof -tier avx2 -out ../avx2/roof_amd64.s -stubs ../avx2/roof_amd64.go -pkg avx2
//go:generate go -C ../gen run ./attention -width 512 -out ../avx512/attention_amd64.s -stubs ../avx512/attention_amd64.go -pkg avx512
