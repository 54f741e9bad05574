package kernels

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// ErrNotFinite reports a weight that is NaN or infinite, or too large for the format's scale.
var ErrNotFinite = errors.New("kernels: weight not finite")

// PackError adds up what packing changed, in units of the weights.
type PackError struct {
	SquaredError float64 // sum of (packed - weight)^2
	Squares      float64 // sum of weight^2
	MaxAbs       float64 // largest |packed - weight|
}

// Add joins the sums of another part of the matrix.
func (e *PackError) Add(other PackError) {
	e.SquaredError += other.SquaredError
	e.Squares += other.Squares
	e.MaxAbs = max(e.MaxAbs, other.MaxAbs)
}

// Relative is the root of the squared error relative to the squares, 0 for a matrix of zeros.
func (e PackError) Relative() float64 {
	if e.Squares == 0 {
		return 0
	}
	return math.Sqrt(e.SquaredError / e.Squares)
}

// PackPanel packs one panel: rows (n, k), row-major with n at most PanelRows, into dst, Blocks(k)*f.BlockBytes() bytes.
// Rows and k's that are missing are packed as zeros; in Q4, which has no zero, a missing k of a row that exists is one scale, and
// meets activations that are zero. The error wraps ErrNotFinite and names the row (within the panel)
// and the column.
//
//	F32   as it is
//	BF16  rounded to the nearest, ties to even
//	Q8    scale = float16(amax/127), w = x * (1/scale) rounded and clamped as in Activations.Quantise
//	Q4    the scale, of either sign, and quants that quantiseQ4 finds to leave a small squared error
func PackPanel(dst []byte, f Format, rows []float32, n, k int) (PackError, error) {
	size := f.BlockBytes()
	if size == 0 || n < 1 || n > PanelRows || k < 1 || len(rows) != n*k || len(dst) != Blocks(k)*size {
		return PackError{}, fmt.Errorf("%w: pack %d bytes of %s from %d weights as (%d, %d)", ErrShape, len(dst), f, len(rows), n, k)
	}
	var sum PackError
	for b := range Blocks(k) {
		block := dst[b*size : (b+1)*size]
		clearBlock(block, f)
		for row := range n {
			var w [BlockK]float32
			count := copy(w[:], rows[row*k+b*BlockK:(row+1)*k])
			if !packRow(block, f, row, &w, count, &sum) {
				column := b*BlockK + min(largest(&w), count-1)
				return PackError{}, fmt.Errorf("%w: %g at row %d, column %d does not fit %s", ErrNotFinite, rows[row*k+column], row, column, f)
			}
		}
	}
	return sum, nil
}

// clearBlock makes every scale of a block zero, and so every weight, and every quant the one nearest to zero.
func clearBlock(block []byte, f Format) {
	clear(block)
	zero := byte(0)
	switch f {
	case Q8:
		zero = 0x80
	case Q4:
		zero = q4Zero | q4Zero<<4
	default:
		return
	}
	quants := block[2*PanelRows:]
	for i := range quants {
		quants[i] = zero
	}
}

// packRow packs one row of a block, of which count weights exist and the others are zero, and adds its error to sum. It reports
// false if the largest weight does not fit.
func packRow(block []byte, f Format, row int, w *[BlockK]float32, count int, sum *PackError) bool {
	amax := maxAbs(w[:])
	if !(amax <= math.MaxFloat32) {
		return false
	}
	var back [BlockK]float32
	switch f {
	case F32:
		for i, v := range w {
			binary.LittleEndian.PutUint32(block[(i*PanelRows+row)*4:], math.Float32bits(v))
		}
		back = *w
	case BF16:
		for i, v := range w {
			h := F32ToBF16(v)
			back[i] = BF16ToF32(h)
			binary.LittleEndian.PutUint16(block[(i/2*PanelRows+row)*4+i%2*2:], h)
		}
		if maxAbs(back[:]) > math.MaxFloat32 {
			return false
		}
	case Q8, Q4:
		var q [BlockK]int8
		scale := quantise(&q, f, w, amax)
		if scale&0x7c00 == 0x7c00 {
			return false
		}
		binary.LittleEndian.PutUint16(block[2*row:], scale)
		storeQuants(block[2*PanelRows:], f, row, &q)
		for i, v := range q[:count] {
			if f == Q4 {
				v = q4Levels[v&15]
			}
			back[i] = float32(v) * F16ToF32(scale)
		}
	}
	sum.addBlock(w, &back)
	return true
}

// quantise fills q and returns the float16 scale, which is infinite if w does not fit.
func quantise(q *[BlockK]int8, f Format, w *[BlockK]float32, amax float32) uint16 {
	if f == Q4 {
		return quantiseQ4(q, w, amax)
	}
	scale := F32ToF16(amax / 127)
	inv := finiteInverse(F16ToF32(scale))
	for i, v := range w {
		q[i] = int8(roundQuant(float32(v * inv)))
	}
	return scale
}

// storeQuants writes one row's quants into the quants of a block.
func storeQuants(quants []byte, f Format, row int, q *[BlockK]int8) {
	if f == Q8 {
		for g := range 8 {
			dst, src := quants[64*g+4*row:][:4], (*[4]int8)(q[4*g:])
			dst[0], dst[1], dst[2], dst[3] = byte(src[0])+128, byte(src[1])+128, byte(src[2])+128, byte(src[3])+128
		}
		return
	}
	for g := range 4 {
		dst, low, high := quants[64*g+4*row:][:4], (*[4]int8)(q[4*g:]), (*[4]int8)(q[16+4*g:])
		for j := range dst {
			dst[j] = byte(low[j]) | byte(high[j])<<4
		}
	}
}

// addBlock adds the errors of one row of a block.
func (e *PackError) addBlock(w, back *[BlockK]float32) {
	var errors, squares [2]float64 // two lanes, to halve the wait for additions
	var top uint32
	for i := 0; i < BlockK; i += 2 {
		d0, d1 := back[i]-w[i], back[i+1]-w[i+1]
		top = max(top, math.Float32bits(d0)&0x7fffffff, math.Float32bits(d1)&0x7fffffff)
		errors[0] += float64(float64(d0) * float64(d0))
		errors[1] += float64(float64(d1) * float64(d1))
		squares[0] += float64(float64(w[i]) * float64(w[i]))
		squares[1] += float64(float64(w[i+1]) * float64(w[i+1]))
	}
	e.SquaredError += errors[0] + errors[1]
	e.Squares += squares[0] + squares[1]
	e.MaxAbs = max(e.MaxAbs, float64(math.Float32frombits(top)))
}

// largest is the index of the weight of largest magnitude, NaN before infinity.
func largest(w *[BlockK]float32) int {
	top := math.Float32bits(maxAbs(w[:]))
	for i, v := range w {
		if math.Float32bits(v)&0x7fffffff == top {
			return i
		}
	}
	return 0
}
