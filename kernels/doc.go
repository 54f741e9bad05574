// Package kernels is the arithmetic of the network on slices: products of packed weights with activations,
// LayerNorm, GELU, attention over paged keys and values, and the packing of weights.
//
// In the walk of a token it is the last stop: a stage of the model splits each operation into ranges of panels,
// rows or heads, hands them to the threads of kernels/pool, and every range ends in one call here. The package is pure: it starts
// no goroutine, reads no clock, and no environment but the tiers that are switched off when the process starts (TiersOff), and
// allocates nothing once the caller's buffers have grown.
//
// # The numeric contract
//
// Every function has one result, bit for bit, on every processor, in every tier, for every batch and every split.
// The generic tier is the specification in code; the plain second version in spec_test.go and the hashes in golden_test.go
// hold it and all other tiers to it. The rules, of which each function's comment says the details:
//
//  1. All arithmetic is float32, each operation rounded to nearest even on its own; there is no fused multiply-add. Go may
//     fuse x*y + z on some processors unless a conversion stands between, so every product that is added is written
//     float32(x*y). Subnormal numbers count; they are not flushed to zero. All NaNs are one value.
//  2. A product is a sum of integers. Its unit is the leaf, Matrix.Leaf weights of one row: inside a leaf there is one
//     order, the leaf's float32 sum is rounded once to a multiple of 2^-Exponent and clamped to ±Limit, and leaves are added as
//     int32. Limit is so small that no sum of leaves can leave int32, so the additions are associative: any cut of K at
//     leaf borders, any order and any all-reduce give the same sum. Clamps that bite are counted (MulPanels).
//  3. Weights in Q8 and Q4 meet activations in int8 with one scale for each leaf (Activations.Quantise); a weight of Q4 is a level, one of
//     16 in a fixed table. The dot product of a quantisation block is an exact int32; it is converted to float32 (exactly: it is below
//     2^24) and multiplied by the weights' scale. The sum of these products over a leaf is multiplied by the activations' scale.
//     MulPanels is defined for all bits of a block, quants that PackPanel never writes, and infinite or NaN scales among them.
//  4. Every other sum of many terms goes through 16 lanes, term i to lane i mod 16 in the order of i from +0, and then the tree
//     lane l += lane l+8, then l+4, l+2, l+1: the sums of LayerNorm, the scores and the exponentials of attention. The weighted sum of
//     values has one lane per element and the order of the keys.
//  5. Attention takes keys in blocks of 128 counted from position 0, each block relative to its own largest score, and
//     combines the blocks in ascending order (KV.AttendBlock, Combine).
//  6. Exp, GELU and GELUErf are polynomials with a written order. Division and square root are IEEE 754's.
//
// Most rules have one lane of a SIMD register in mind: a lane is an output row of a panel, or an element of a vector modulo 16.
//
// A NaN or an infinity in activations is never lost on the way: it makes its leaf's scale NaN or infinite, each contribution
// that meets it is clamped, and the clamps are counted.
//
// # Goroutines
//
// Functions may run at once on disjoint outputs. Activations may be filled and quantised row by row from different goroutines; a
// Matrix is read-only; AttendScratch belongs to one goroutine. Indices and sizes that do not fit together are mistakes of the
// program and panic; bytes and weights from outside come through NewMatrix, NewKV and PackPanel, which return errors.
package kernels
