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
// Rows and k's that are missing are packed as zeros. The error wraps ErrNotFinite and names the row (within the panel)
// and the column.
//
//	F32   as it is
//	BF16  rounded to the nearest, ties to even
//	Q8    scale = float16(amax/127), w = x * (1/scale) rounded and clamped as in Activations.Quantise
//	Q4    the scale, of either sign, and quants that packQ4 finds to leave a small squared error
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
			if bad := packRow(block, f, row, &w, &sum); bad >= 0 {
				column := b*BlockK + min(bad, count-1)
				return PackError{}, fmt.Errorf("%w: %g at row %d, column %d does not fit %s", ErrNotFinite, rows[row*k+column], row, column, f)
			}
		}
	}
	return sum, nil
}

// clearBlock makes every weight and scale of a block zero.
func clearBlock(block []byte, f Format) {
	clear(block)
	zero := byte(0)
	switch f {
	case Q8:
		zero = 0x80
	case Q4:
		zero = 0x88
	default:
		return
	}
	quants := block[2*PanelRows:]
	for i := range quants {
		quants[i] = zero
	}
}

// packRow packs one row of a block and returns the index of a weight that does not fit, or -1.
func packRow(block []byte, f Format, row int, w *[BlockK]float32, sum *PackError) int {
	amax := maxAbs(w[:])
	if !(amax <= math.MaxFloat32) {
		return firstNotBelow(w, math.MaxFloat32)
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
		if !(maxAbs(back[:]) <= math.MaxFloat32) {
			return firstNotBelow(&back, math.MaxFloat32)
		}
	case Q8:
		var q [BlockK]int8
		scale := quantiseQ8(&q, w, amax)
		if scale&0x7c00 == 0x7c00 {
			return firstNotBelow(w, math.Nextafter32(amax, 0))
		}
		binary.LittleEndian.PutUint16(block[2*row:], scale)
		for i, v := range q {
			block[32+i/4*64+row*4+i%4] = byte(v) + 128
			back[i] = float32(v) * F16ToF32(scale)
		}
	case Q4:
		var q [BlockK]int8
		scale := quantiseQ4(&q, w, amax)
		if scale&0x7c00 == 0x7c00 {
			return firstNotBelow(w, math.Nextafter32(amax, 0))
		}
		binary.LittleEndian.PutUint16(block[2*row:], scale)
		for i := range 16 {
			block[32+i/4*64+row*4+i%4] = byte(q[i]+8) | byte(q[i+16]+8)<<4
		}
		for i, v := range q {
			back[i] = float32(v) * F16ToF32(scale)
		}
	}
	for i, v := range w {
		d := float64(back[i]) - float64(v)
		sum.SquaredError += float64(d * d)
		sum.Squares += float64(float64(v) * float64(v))
		sum.MaxAbs = max(sum.MaxAbs, math.Abs(d))
	}
	return -1
}

// firstNotBelow is the index of the first element whose magnitude is not at most limit.
func firstNotBelow(w *[BlockK]float32, limit float32) int {
	for i, v := range w {
		if !(v <= limit && v >= -limit) {
			return i
		}
	}
	return 0
}

// quantiseQ8 fills q and returns the float16 scale.
func quantiseQ8(q *[BlockK]int8, w *[BlockK]float32, amax float32) uint16 {
	scale := F32ToF16(amax / 127)
	inv := finiteInverse(F16ToF32(scale))
	for i, v := range w {
		q[i] = int8(roundQuant(float32(v * inv)))
	}
	return scale
}
