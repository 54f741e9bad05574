package kernels

import "fmt"

// fusedColumns is how many columns the fused functions take through all their steps together: the floats between two steps stay in
// the first-level cache and are never written to the rows.
const fusedColumns = 512

// SetGELU makes columns [lo, lo+len(sums)) of row t from the sums of a product, without writing Row(t): Finish with exponent and bias
// (those of the same columns, or nil), then GELU, or GELUErf if exact, then Quantise. The bits are those of the three calls one after
// another. lo is a multiple of BlockK, and so is the end unless it is K. Different columns and rows may be set at once.
func (x *Activations) SetGELU(t, lo int, sums []int32, exponent int, bias []float32, exact bool) {
	hi := lo + len(sums)
	if t < 0 || t >= x.t || lo < 0 || hi > x.k || lo%BlockK != 0 || (hi%BlockK != 0 && hi != x.k) {
		panic(fmt.Sprintf("kernels: set columns [%d, %d) of row %d of activations (%d, %d)", lo, hi, t, x.t, x.k))
	}
	var buffer [fusedColumns]float32
	for len(sums) > 0 {
		n := min(fusedColumns, len(sums))
		y := buffer[:n]
		if bias != nil {
			Finish(y, sums[:n], exponent, bias[:n])
			bias = bias[n:]
		} else {
			Finish(y, sums[:n], exponent, nil)
		}
		if exact {
			GELUErf(y)
		} else {
			GELU(y)
		}
		x.setBlocks(t, lo/BlockK, &buffer, n)
		lo, sums = lo+n, sums[n:]
	}
}

// SetNorm makes row t from the LayerNorm of row (K), without writing Row(t): LayerNorm with w, b and eps, then Quantise, with the bits
// of these two calls.
func (x *Activations) SetNorm(t int, row, w, b []float32, eps float32) {
	if t < 0 || t >= x.t || len(row) != x.k {
		panic(fmt.Sprintf("kernels: set row %d of activations (%d, %d) to the norm of %d", t, x.t, x.k, len(row)))
	}
	w, b = w[:x.k], b[:x.k]
	mean, inv := moments(row, eps)
	var buffer [fusedColumns]float32
	for lo := 0; lo < x.k; lo += fusedColumns {
		n := min(fusedColumns, x.k-lo)
		normalise(buffer[:n], row[lo:lo+n], w[lo:lo+n], b[lo:lo+n], mean, inv)
		x.setBlocks(t, lo/BlockK, &buffer, n)
	}
}

// setBlocks quantises the first n elements of buffer into the blocks of row t from b on.
func (x *Activations) setBlocks(t, b int, buffer *[fusedColumns]float32, n int) {
	whole := Blocks(n) * BlockK
	clear(buffer[n:whole])
	x.quantise(t, b, buffer[:whole])
}
