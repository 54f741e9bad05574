package kernels

// Add adds src to dst element by element, in float32: the residual connection.
func Add(dst, src []float32) {
	src = src[:len(dst)]
	for i := leadAdd(dst, src); i < len(dst); i++ {
		dst[i] += src[i]
	}
}

// AddSums adds src to dst element by element: the partial sums of two column slices of a matrix. No order of
// such additions changes the result, and none of them can overflow (see Matrix).
func AddSums(dst, src []int32) {
	src = src[:len(dst)]
	for i := leadAddSums(dst, src); i < len(dst); i++ {
		dst[i] += src[i]
	}
}
