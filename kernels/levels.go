package kernels

// q4Levels is what the 16 quants of Q4 stand for, in units of a block's scale: quant n is the weight q4Levels[n] * scale.
//
// The levels lie closer together around zero, where most weights are. They are the Lloyd-Max quantiser of blocks of 32 weights, each
// relative to its best scale, over normal, Laplace and Student-t (8 degrees of freedom) weights, rounded to multiples of 1/63 of the
// largest. The table is lopsided because a scale may have either sign: whichever end fits the block better takes its largest weight.
// None is zero; a missing weight is quant q4Zero, which is nearest to it, and a block of zeros has the scale zero.
//
// All levels fit 7 bits, so that level+64 is in [1, 127] and the 16-bit sum of two products with quants, at most 2*127*127, never
// saturates in AVX2.
var q4Levels = [16]int8{-63, -49, -39, -30, -22, -16, -10, -4, 1, 6, 11, 17, 23, 31, 40, 53}

// q4Zero is the quant whose level is nearest to zero.
const q4Zero = 8
