package kernels

import (
	"errors"
	"fmt"
	"math"
)

// ErrShape reports a matrix, slice or buffer whose sizes do not fit together.
var ErrShape = errors.New("kernels: shape")

// Format is how the weights of a matrix are stored.
type Format uint8

// The weight formats. Every format keeps 16 output rows side by side (a panel) and cuts K into
// quantisation blocks of 32, so that one SIMD lane is one output row. Zero is no format.
const (
	F32  Format = 1 // float32
	BF16 Format = 2 // upper half of a float32
	Q8   Format = 3 // int8 and one float16 scale per row and quantisation block: 8.5 bits a weight
	Q4   Format = 4 // one of 16 levels in 4 bits, and one float16 scale per row and quantisation block: 4.5 bits a weight
)

// Sizes of the packed layout.
const (
	PanelRows = 16 // output rows in a panel
	BlockK    = 32 // weights of one row in a quantisation block
)

var formatNames = map[Format]string{F32: "f32", BF16: "bf16", Q8: "q8", Q4: "q4"}

// String is the name users type: f32, bf16, q8 or q4.
func (f Format) String() string {
	if name, ok := formatNames[f]; ok {
		return name
	}
	return fmt.Sprintf("format(%d)", uint8(f))
}

// ParseFormat is the inverse of String.
func ParseFormat(name string) (Format, error) {
	for format, known := range formatNames {
		if known == name {
			return format, nil
		}
	}
	return 0, fmt.Errorf("weight format %q: want f32, bf16, q8 or q4", name)
}

// BlockBytes is the size of one block of a panel: 16 rows by 32 weights with their scales.
//
//	F32   2048  32 k's of 16 float32
//	BF16  1024  16 pairs of k's of 16 × 2 bfloat16
//	Q8     544  16 float16 scales, then 8 groups of 16 rows × 4 k's, each byte w+128
//	Q4     288  16 float16 scales, then 4 groups of 16 rows × 4 bytes; byte j of group g holds
//	            k = 4g+j in its low and k = 16+4g+j in its high nibble, each the number of one of 16 levels (q4Levels)
func (f Format) BlockBytes() int {
	switch f {
	case F32:
		return PanelRows * BlockK * 4
	case BF16:
		return PanelRows * BlockK * 2
	case Q8:
		return PanelRows*2 + PanelRows*BlockK
	case Q4:
		return PanelRows*2 + PanelRows*BlockK/2
	}
	return 0
}

// Quantised says whether activations are quantised to int8 before they meet this format.
func (f Format) Quantised() bool { return f == Q8 || f == Q4 }

// Panels is the number of panels that hold so many rows.
func Panels(rows int) int { return (rows + PanelRows - 1) / PanelRows }

// Blocks is the number of quantisation blocks that hold so many weights of a row.
func Blocks(k int) int { return (k + BlockK - 1) / BlockK }

// PackedBytes is the size of a whole packed matrix of (rows, k). Missing rows of the last panel and
// missing k's of the last block are stored as zeros (PackPanel).
func PackedBytes(f Format, rows, k int) int {
	return Panels(rows) * Blocks(k) * f.BlockBytes()
}

// Matrix is a packed weight matrix (Rows, K), or a slice of one that shares its bytes. It is read-only
// and safe for concurrent use.
//
// A product is a sum of integers: the leaf (Leaf weights of one row, a multiple of BlockK) is the unit that is
// rounded to a multiple of 2^-Exponent and clamped to ±Limit, so that leaves add up to the same bits in any
// order and on any split. All three belong to the whole matrix and are the same in each of its slices.
type Matrix struct {
	Format      Format
	Rows, K     int
	Data        []byte // from the first block of the first panel of this view
	PanelStride int    // bytes from one panel to the next
	Leaf        int
	Exponent    int
	Limit       int32
}

// LeafLimit is the clamp of one leaf's contribution for a whole matrix of inner dimension k: so small that no
// sum of all leaves can leave int32.
func LeafLimit(k, leaf int) int32 {
	return int32(math.MaxInt32 / ((k + leaf - 1) / leaf))
}

// exponentRange is how far from zero an exponent may be: far more than any FixedPoint, and so little that
// 2^Exponent and its inverse are normal float32 numbers.
const exponentRange = 64

// NewMatrix describes a whole packed matrix in data.
func NewMatrix(f Format, rows, k, leaf, exponent int, data []byte) (Matrix, error) {
	if f.BlockBytes() == 0 || rows < 1 || k < 1 || leaf < BlockK || leaf%BlockK != 0 {
		return Matrix{}, fmt.Errorf("%w: %s matrix (%d, %d) with leaf %d", ErrShape, f, rows, k, leaf)
	}
	if exponent < -exponentRange || exponent > exponentRange {
		return Matrix{}, fmt.Errorf("%w: exponent %d is outside ±%d", ErrShape, exponent, exponentRange)
	}
	if want := PackedBytes(f, rows, k); len(data) != want {
		return Matrix{}, fmt.Errorf("%w: %s matrix (%d, %d) is %d bytes, want %d", ErrShape, f, rows, k, len(data), want)
	}
	return Matrix{
		Format: f, Rows: rows, K: k, Data: data,
		PanelStride: Blocks(k) * f.BlockBytes(),
		Leaf:        leaf, Exponent: exponent, Limit: LeafLimit(k, leaf),
	}, nil
}

// SliceRows is the view of rows [lo, hi); lo must be a multiple of PanelRows, and so must hi unless it is Rows.
func (m Matrix) SliceRows(lo, hi int) (Matrix, error) {
	if lo < 0 || hi > m.Rows || lo >= hi || lo%PanelRows != 0 || (hi%PanelRows != 0 && hi != m.Rows) {
		return Matrix{}, fmt.Errorf("%w: rows [%d, %d) of %d", ErrShape, lo, hi, m.Rows)
	}
	m.Data = m.Data[lo/PanelRows*m.PanelStride:]
	m.Rows = hi - lo
	m.trim()
	return m, nil
}

// SliceK is the view of columns [lo, hi); both must be multiples of Leaf, except that hi may be K.
func (m Matrix) SliceK(lo, hi int) (Matrix, error) {
	if lo < 0 || hi > m.K || lo >= hi || lo%m.Leaf != 0 || (hi%m.Leaf != 0 && hi != m.K) {
		return Matrix{}, fmt.Errorf("%w: columns [%d, %d) of %d with leaf %d", ErrShape, lo, hi, m.K, m.Leaf)
	}
	m.Data = m.Data[lo/BlockK*m.Format.BlockBytes():]
	m.K = hi - lo
	m.trim()
	return m, nil
}

// trim ends Data behind the last block of the last panel, so that a read past the slice is a bounds error.
func (m *Matrix) trim() {
	end := (Panels(m.Rows)-1)*m.PanelStride + Blocks(m.K)*m.Format.BlockBytes()
	m.Data = m.Data[:end:end]
}

// Panel is the bytes of panel p of this view: Blocks(K) blocks in a row.
func (m *Matrix) Panel(p int) []byte {
	at := p * m.PanelStride
	return m.Data[at : at+Blocks(m.K)*m.Format.BlockBytes()]
}
