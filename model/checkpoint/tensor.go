package checkpoint

import (
	"fmt"

	"polynode/model"
)

// stored is a tensor as its file describes it, whatever the kind of file.
type stored struct {
	name   string
	file   *weightFile
	dtype  dtype
	shape  []int64
	stride []int64 // in elements, one for each dimension
	offset int64   // of the first element, in bytes from the start of the file
	room   int64   // elements of the storage that it views
}

// elements counts the tensor's elements. The shape was checked, so that it fits.
func (s *stored) elements() int64 {
	product, _ := checkedProduct(s.shape...)
	return product
}

// sameView reports whether two names stand for the very same bytes.
func (s *stored) sameView(other *stored) bool {
	if s.file != other.file || s.dtype != other.dtype || s.offset != other.offset || len(s.shape) != len(other.shape) {
		return false
	}
	for i := range s.shape {
		if s.shape[i] != other.shape[i] || s.stride[i] != other.stride[i] {
			return false
		}
	}
	return true
}

// Tensor is one tensor of the model: a matrix as (outputs, inputs), wte and wpe as
// (Vocab, Embed) and (Positions, Embed), a vector as (1, length).
// All methods are safe for concurrent use.
type Tensor struct {
	name       model.Name
	owner      *Checkpoint
	stored     *stored
	rows, cols int
	rowStride  int64 // elements from one row to the next
	colStride  int64 // elements from one column to the next
	generation int64 // when its span was last counted; under its owner's residency
}

// Shape gives rows (outputs) and columns (inputs); vectors have one row.
func (t *Tensor) Shape() (rows, cols int) { return t.rows, t.cols }

// DType names the type of the stored elements: bfloat16, float16, float32 or float64.
func (t *Tensor) DType() string { return t.stored.dtype.String() }

// Size of a tile in which ReadRows transposes: 16 columns make one cache line of dst, and
// 256 rows of 16 columns, padded against cache set conflicts, stay in the first-level cache.
const (
	tileCols   = 16
	tileRows   = 256
	tileStride = tileRows + 16
)

// ReadRows decodes rows [lo, hi) into dst, (hi-lo, cols) row-major. It wraps ErrRange for
// rows or a dst that do not fit, ErrRead if the file cannot be read any more, and ErrClosed
// after Close. Where the file has the tensor the other way round, asking for 64 rows or
// more at a time is cheapest, as neighbouring rows lie side by side there.
func (t *Tensor) ReadRows(dst []float32, lo, hi int) error {
	if lo < 0 || hi < lo || hi > t.rows {
		return fmt.Errorf("read tensor %s: rows [%d, %d) of %d: %w", t.name, lo, hi, t.rows, ErrRange)
	}
	if len(dst) != (hi-lo)*t.cols {
		return fmt.Errorf("read tensor %s: destination of %d values for %d rows of %d: %w",
			t.name, len(dst), hi-lo, t.cols, ErrRange)
	}
	err := t.reading(hi-lo, func() error {
		switch {
		case t.colStride == 1:
			return t.readRuns(dst, lo, hi)
		case t.rowStride == 1:
			return t.readTiles(dst, lo, hi)
		default:
			return t.readScattered(dst, lo, hi)
		}
	})
	if err != nil {
		return fmt.Errorf("read tensor %s: %s: tensor %s: %w", t.name, t.stored.file.name, show(t.stored.name), err)
	}
	return nil
}

// reading runs a function that reads so many rows' weights, with the checkpoint kept open.
func (t *Tensor) reading(rows int, read func() error) error {
	c := t.owner
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.closed {
		return ErrClosed
	}
	c.noteRead(t, rows)
	return guardFaults(read)
}

// at gives the byte offset in the file of one element.
func (t *Tensor) at(row, col int) int64 {
	return t.stored.offset + (int64(row)*t.rowStride+int64(col)*t.colStride)*t.stored.dtype.size()
}

// readRuns reads rows whose elements lie side by side.
func (t *Tensor) readRuns(dst []float32, lo, hi int) error {
	n := t.cols * int(t.stored.dtype.size())
	scratch := t.stored.file.scratch(n)
	for row := lo; row < hi; row++ {
		src, err := t.stored.file.view(t.at(row, 0), n, scratch)
		if err != nil {
			return err
		}
		t.stored.dtype.decode(dst[(row-lo)*t.cols:][:t.cols], src)
	}
	return nil
}

// readTiles reads a tensor whose columns lie side by side: it decodes 16 columns of up to
// 256 rows into a tile and writes the tile out row by row, one cache line each.
func (t *Tensor) readTiles(dst []float32, lo, hi int) error {
	var tile [tileCols * tileStride]float32
	size := int(t.stored.dtype.size())
	scratch := t.stored.file.scratch(tileRows * size)
	for top := lo; top < hi; top += tileRows {
		rows := min(tileRows, hi-top)
		for left := 0; left < t.cols; left += tileCols {
			cols := min(tileCols, t.cols-left)
			for k := range cols {
				src, err := t.stored.file.view(t.at(top, left+k), rows*size, scratch)
				if err != nil {
					return err
				}
				t.stored.dtype.decode(tile[k*tileStride:][:rows], src)
			}
			for r := range rows {
				line := dst[(top-lo+r)*t.cols+left:][:cols]
				for k := range line {
					line[k] = tile[k*tileStride+r]
				}
			}
		}
	}
	return nil
}

// readScattered reads a tensor with gaps in both directions, element by element. Only a
// slice of a larger tensor looks like that, which no published checkpoint has.
func (t *Tensor) readScattered(dst []float32, lo, hi int) error {
	size := int(t.stored.dtype.size())
	scratch := t.stored.file.scratch(size)
	for row := lo; row < hi; row++ {
		line := dst[(row-lo)*t.cols:][:t.cols]
		for col := range line {
			src, err := t.stored.file.view(t.at(row, col), size, scratch)
			if err != nil {
				return err
			}
			t.stored.dtype.decode(line[col:col+1], src)
		}
	}
	return nil
}
