package kernels

import "fmt"

// fusedColumns is how many columns the fused functions take through all their steps together, rounded to whole leaves. Their floats stay in the first-level
// cache, in the columns' own place or in that of the first such columns, so that most of a row is never written. With 256
// columns SetGELU takes a quarter more time, because each call of a tier begins with empty pipelines.
const fusedColumns = 2048

// SetGELU makes the int8 form of columns [lo, lo+len(sums)) of row t from the sums of a product: Finish with exponent and bias (those of
// the same columns, or nil), then GELU, or GELUErf if exact, then Quantise. The bits are those of the three calls one after another;
// these columns of Row(t) are undefined afterwards. lo is a multiple of the leaf, and so is the end unless it is K. Different columns and
// rows may be set at once.
func (x *Activations) SetGELU(t, lo int, sums []int32, exponent int, bias []float32, exact bool) {
	hi := lo + len(sums)
	if t < 0 || t >= x.t || lo < 0 || hi > x.k || lo%x.leaf != 0 || (hi%x.leaf != 0 && hi != x.k) {
		panic(fmt.Sprintf("kernels: set columns [%d, %d) of row %d of activations (%d, %d) with leaf %d", lo, hi, t, x.t, x.k, x.leaf))
	}
	buffer := x.buffer(t, lo, hi)
	for len(sums) > 0 {
		n := min(x.fusedColumns, len(sums))
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
		x.setBlocks(t, lo/BlockK, buffer, n)
		lo, sums = lo+n, sums[n:]
	}
}

// SetNorm makes the int8 form of row t from the LayerNorm of row (K) with w, b and eps: LayerNorm, then Quantise, with the bits of these
// two calls. Row(t) is undefined afterwards.
func (x *Activations) SetNorm(t int, row, w, b []float32, eps float32) {
	if t < 0 || t >= x.t || len(row) != x.k {
		panic(fmt.Sprintf("kernels: set row %d of activations (%d, %d) to the norm of %d", t, x.t, x.k, len(row)))
	}
	w, b = w[:x.k], b[:x.k]
	mean, inv := moments(row, eps)
	buffer := x.buffer(t, 0, x.k)
	for lo := 0; lo < x.k; lo += x.fusedColumns {
		n := min(x.fusedColumns, x.k-lo)
		normalise(buffer[:n], row[lo:lo+n], w[lo:lo+n], b[lo:lo+n], mean, inv)
		x.setBlocks(t, lo/BlockK, buffer, n)
	}
}

// buffer is room for the first fusedColumns of columns [lo, hi) of row t, in whole blocks.
func (x *Activations) buffer(t, lo, hi int) []float32 {
	at := t*x.blocks*BlockK + lo
	n := min(x.fusedColumns, Blocks(hi-lo)*BlockK)
	return x.rows[at : at+n : at+n]
}

// setBlocks quantises the first n elements of buffer into the blocks of row t from b on.
func (x *Activations) setBlocks(t, b int, buffer []float32, n int) {
	whole := Blocks(n) * BlockK
	clear(buffer[n:whole])
	x.quantise(t, b, buffer[:whole])
}
