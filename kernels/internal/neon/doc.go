// Package neon is the assembly of the tiers neon and i8mm of package kernels, for arm64 processors with the dot product
// instructions and, in the functions with MM in their names, 8-bit matrix multiplication. Which function may run is the caller's
// to know. Only pointers and sizes go in: nothing is checked.
//
// Its results are proven under emulation; how fast it is on real processors has not been measured.
package neon

//go:generate go -C ../gen run ./neon -out ../neon
