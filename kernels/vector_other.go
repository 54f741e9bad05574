//go:build !amd64 && !arm64

package kernels

// Each function of this file does the leading elements of its operation on the active tier, a multiple of 16, and returns how
// many; the caller does the rest in the generic tier. Lengths are those of the first slice. None is done where the tier has no
// such code.

// leadSum sums x into its lanes, as LayerNorm's mean does.
func leadSum(sum *[lanes]float32, x []float32) int { return 0 }

// leadSquares sums (x-mean)*(x-mean) into its lanes.
func leadSquares(sum *[lanes]float32, x []float32, mean float32) int { return 0 }

// leadNormalise writes ((x-mean)*inv)*w + b to dst, which may be x.
func leadNormalise(dst, x, w, b []float32, mean, inv float32) int { return 0 }

// leadExp is ExpAll.
func leadExp(x []float32) int { return 0 }

// leadGELU is GELU.
func leadGELU(x []float32) int { return 0 }

// leadGELUErf is GELUErf.
func leadGELUErf(x []float32) int { return 0 }

// leadFinish is Finish with unit = 2^-exponent; bias may be nil.
func leadFinish(dst []float32, sums []int32, unit float32, bias []float32) int { return 0 }

// leadAdd is Add.
func leadAdd(dst, src []float32) int { return 0 }

// leadAddSums is AddSums.
func leadAddSums(dst, src []int32) int { return 0 }

// leadAddScaled adds x*w to acc, product and sum rounded.
func leadAddScaled(acc, x []float32, w float32) int { return 0 }

// leadDivide divides x by a number.
func leadDivide(x []float32, by float32) int { return 0 }

// leadStoreHalves narrows src as F32ToF16 does.
func leadStoreHalves(dst []byte, src []float32) int { return 0 }

// leadLoadHalves widens src as F16ToF32 does.
func leadLoadHalves(dst []float32, src []byte) int { return 0 }

// leadQuantise quantises whole leaves of src into row t from the first block b of a leaf on, the last leaf being shorter where src is, and
// returns the number of inputs it took.
func leadQuantise(x *Activations, t, b int, src []float32) int { return 0 }

// leadStoreGroups stores the groups of kvGroup values of src in KVQ8, and returns their number.
func leadStoreGroups(dst, scales []byte, src []float32) int { return 0 }

// leadLoadGroups widens stored groups of kvGroup values, and returns their number.
func leadLoadGroups(dst []float32, src, scales []byte) int { return 0 }

// leadUnpack dequantises the blocks of a row of m, and returns their number.
func leadUnpack(dst []float32, m *Matrix, row int) int { return 0 }
