package kernels

import (
	"fmt"
	"math"
)

// Activations is the right-hand side of a product: T rows of K inputs, one row per token. It holds them as
// float32 and, once Quantise has run, as int8 in blocks of BlockK, with one scale for each leaf: the unit of the products' sums
// (Matrix.Leaf). The zero value is empty and ready for Reset; buffers only grow, so a warm one allocates nothing.
//
// Different goroutines may fill and quantise different rows at once; a product reads all of them.
type Activations struct {
	t, k         int
	leaf         int // inputs of a leaf, a multiple of BlockK
	blocks       int // of a row
	leaves       int // of a row, the last of which may be shorter
	fusedColumns int // see fused.go; whole leaves

	rows []float32 // (t, blocks*BlockK), zero behind K

	// Per row and block, at index unit(b, t): tiles of tileT rows one after another, the last one with what rows are left, and
	// inside a tile (blocks, rows of the tile), so that a product with one tile reads each of these from front to back.
	quant [][BlockK]int8
	sum   []int32 // of the block's quants
	start []int32 // -128*sum, which takes the 128 out of a dot product with weights stored as w+128

	// Per row and leaf, at index scaleAt(l, t): inside a tile (leaves, rows of the tile).
	scale []float32
}

// tileT is the number of rows of x that are multiplied together: a block's weights are unpacked once for all of them.
const tileT = 8

// tileWidth is the number of rows in the tile of row t: tileT, or what is left for the last tile.
func (x *Activations) tileWidth(t int) int { return min(tileT, x.t-t&^(tileT-1)) }

// unit is the index of block b of row t in what is kept per row and block. From one block of a row to the next it grows by
// tileWidth(t), from one row of a tile to the next by one.
func (x *Activations) unit(b, t int) int {
	return t&^(tileT-1)*x.blocks + b*x.tileWidth(t) + t&(tileT-1)
}

// scaleAt is the index of the scale of leaf l of row t. From one leaf of a row to the next it grows by tileWidth(t), from one row of a
// tile to the next by one.
func (x *Activations) scaleAt(l, t int) int {
	return t&^(tileT-1)*x.leaves + l*x.tileWidth(t) + t&(tileT-1)
}

// Reset makes room for t rows of k inputs in leaves of so many, a multiple of BlockK. The rows' content is undefined until it is
// written; what pads K to a multiple of BlockK is zero.
func (x *Activations) Reset(t, k, leaf int) {
	if t < 0 || k < 1 || leaf < BlockK || leaf%BlockK != 0 {
		panic(fmt.Sprintf("kernels: reset activations to (%d, %d) with leaf %d", t, k, leaf))
	}
	x.t, x.k, x.leaf = t, k, leaf
	x.blocks, x.leaves = Blocks(k), (k+leaf-1)/leaf
	x.fusedColumns = max(fusedColumns/leaf, 1) * leaf
	units := x.blocks * t
	x.rows = grow(x.rows, units*BlockK)
	x.quant = grow(x.quant, units)
	x.scale = grow(x.scale, x.leaves*t)
	x.sum = grow(x.sum, units)
	x.start = grow(x.start, units)
	if padded := x.blocks * BlockK; padded > k {
		for row := range t {
			clear(x.rows[row*padded+k : (row+1)*padded])
		}
	}
}

// grow returns a slice of n elements, in s's memory if that is large enough.
func grow[E any](s []E, n int) []E {
	if cap(s) >= n {
		return s[:n]
	}
	return make([]E, n)
}

// T is the number of rows (tokens).
func (x *Activations) T() int { return x.t }

// K is the number of inputs in a row.
func (x *Activations) K() int { return x.k }

// Row is row t, (K), to be read or written. After a write the row must be quantised again before it meets
// a quantised format.
func (x *Activations) Row(t int) []float32 {
	at := t * x.blocks * BlockK
	return x.rows[at : at+x.k : at+x.k]
}

// Quantise makes the int8 form of rows [lo, hi). Per leaf, in float32:
//
//	amax  = the largest |x|; NaN if any x is NaN
//	scale = amax / 127
//	inv   = 127 / amax, or 0 if that is not finite
//	y     = x * inv;  if !(y > -127) y = -127;  if y > 127 y = 127
//	q     = y rounded to the nearest integer, ties to even
//
// so a NaN is -127 under a NaN scale, which MulPanels turns into a counted clamp and never into silence.
func (x *Activations) Quantise(lo, hi int) {
	if lo < 0 || hi > x.t || lo > hi {
		panic(fmt.Sprintf("kernels: quantise rows [%d, %d) of %d", lo, hi, x.t))
	}
	width := x.blocks * BlockK
	for t := lo; t < hi; t++ {
		x.quantise(t, 0, x.rows[t*width:(t+1)*width])
	}
}

// quantise makes the int8 form of row t from the first block b of a leaf on, of whole blocks of inputs: whole leaves, except that the row
// may end.
func (x *Activations) quantise(t, b int, inputs []float32) {
	for i := leadQuantise(x, t, b, inputs); i < len(inputs); i += x.leaf {
		x.quantiseLeaf(t, b+i/BlockK, inputs[i:min(i+x.leaf, len(inputs))])
	}
}

// quantiseLeaf is quantise for one leaf.
func (x *Activations) quantiseLeaf(t, b int, inputs []float32) {
	amax := maxAbs(inputs)
	inv := 127 / amax
	if !(inv <= math.MaxFloat32) {
		inv = 0
	}
	x.scale[x.scaleAt(b*BlockK/x.leaf, t)] = amax / 127
	for i := 0; i < len(inputs); i += BlockK {
		unit := x.unit(b+i/BlockK, t)
		x.sum[unit] = quantiseBlock(&x.quant[unit], (*[BlockK]float32)(inputs[i:]), inv)
		x.start[unit] = -128 * x.sum[unit]
	}
}

// block is the inputs of one block of a row.
func (x *Activations) block(t, b int) *[BlockK]float32 {
	return (*[BlockK]float32)(x.rows[(t*x.blocks+b)*BlockK:])
}

// quantiseBlock writes the quants of one block, whose leaf has the inverse scale inv, and returns their sum.
func quantiseBlock(dst *[BlockK]int8, src *[BlockK]float32, inv float32) (sum int32) {
	for i, v := range src {
		q := roundQuant(float32(v * inv))
		dst[i] = int8(q)
		sum += q
	}
	return sum
}
