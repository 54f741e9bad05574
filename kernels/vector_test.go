package kernels

import "testing"

func TestAdd(t *testing.T) {
	dst, src := []float32{1, 2, 1e8}, []float32{0.5, -2, 1, 9}
	Add(dst, src)
	if dst[0] != 1.5 || dst[1] != 0 || dst[2] != 1e8 {
		t.Errorf("sums %v", dst)
	}
	sums := []int32{1, -5}
	AddSums(sums, []int32{2, 5})
	if sums[0] != 3 || sums[1] != 0 {
		t.Errorf("sums %v", sums)
	}
}
