package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"math"
	"sync/atomic"

	"polynode/kernels"

	"golang.org/x/sync/errgroup"
)

const (
	stripBytes = 8 << 20 // float32 weights that one goroutine reads at a time, at least stripRows
	stripRows  = 64      // rows: fewer are slow to read where the source is transposed
	itemBytes  = 2 << 20 // packed bytes that one goroutine makes at a time, at least one unit
)

// matrixJob packs one matrix. Its items are runs of whole rows of units, which goroutines take in turn.
type matrixJob struct {
	w      *writer
	t      *Tensor
	rows   Rows
	feed   *feed // nothing if no product is taken with the matrix
	format kernels.Format
	hashes []byte // of this tensor, in order

	itemRows int
	next     atomic.Int64
	parts    []itemResult
	limits   []float64 // bound of each row's output, if asked for
}

// itemResult is what packing one item found out. Results are joined in the order of the items, so that the sums of
// the report do not depend on who was faster.
type itemResult struct {
	err  kernels.PackError
	leaf float64
}

// packer is the working memory of one goroutine.
type packer struct {
	hash   hash.Hash
	floats []float32 // one strip
	packed []byte    // one item
	row    []float32 // one row, unpacked
}

// itemRowsFor is the number of rows in an item: whole units, at least one.
func itemRowsFor(t *Tensor) int {
	perRun := t.Bytes / int64(t.runs())
	return t.UnitRows * max(1, int(itemBytes/max(1, perRun)))
}

// stripRowsFor is the number of rows that are read at once: whole panels.
func stripRowsFor(t *Tensor) int {
	n := max(stripRows, stripBytes/(4*t.K))
	return min(n/kernels.PanelRows*kernels.PanelRows, itemRowsFor(t))
}

// packerBytes is the working memory that packing t takes in one goroutine.
func packerBytes(t *Tensor) int64 {
	rows := min(itemRowsFor(t), t.Rows+kernels.PanelRows)
	panel := t.Bytes / int64(kernels.Panels(t.Rows))
	return int64(stripRowsFor(t))*int64(t.K)*4 + int64(kernels.Panels(rows))*panel + int64(t.K)*4
}

// run packs, hashes and writes the matrix on so many goroutines.
func (j *matrixJob) run(ctx context.Context, workers []packer) error {
	j.itemRows = itemRowsFor(j.t)
	j.parts = make([]itemResult, (j.t.Rows+j.itemRows-1)/j.itemRows)
	group, ctx := errgroup.WithContext(ctx)
	for i := range min(len(workers), len(j.parts)) {
		group.Go(func() error {
			for {
				item := int(j.next.Add(1)) - 1
				if item >= len(j.parts) {
					return nil
				}
				if err := j.item(ctx, &workers[i], item); err != nil {
					return err
				}
			}
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	j.finish()
	return nil
}

// finish joins the results of the items into the manifest.
func (j *matrixJob) finish() {
	var sum kernels.PackError
	leaf := 0.0
	for _, part := range j.parts {
		sum.Add(part.err)
		leaf = max(leaf, part.leaf)
	}
	j.t.RMSError, j.t.MaxError = float32(sum.Relative()), float32(sum.MaxAbs)
	if j.feed != nil {
		j.t.Exponent = exponentFor(j.t, j.w.manifest.Leaf, leaf)
	}
	j.t.Root = sha256.Sum256(j.hashes)
}

// item packs one run of rows, hashes its units and writes it.
func (j *matrixJob) item(ctx context.Context, p *packer, item int) error {
	lo := item * j.itemRows
	hi := min(lo+j.itemRows, j.t.Rows)
	panel := kernels.PackedBytes(j.format, kernels.PanelRows, j.t.K)
	p.packed = sized(p.packed, kernels.Panels(hi-lo)*panel)
	var err error
	if made, ok := j.rows.(PackedRows); ok {
		err = j.make(ctx, p, made, lo, hi)
	} else {
		err = j.read(ctx, p, lo, hi, &j.parts[item])
	}
	if err != nil {
		return err
	}
	base := j.t.Offset + int64(lo/kernels.PanelRows)*int64(panel)
	first := lo / j.t.UnitRows * j.t.across()
	last := (hi + j.t.UnitRows - 1) / j.t.UnitRows * j.t.across()
	for i := first; i < last; i++ {
		u := j.t.UnitAt(i)
		sum := u.sum(p.hash, p.packed, base)
		copy(j.hashes[i*len(sum):], sum[:])
	}
	return j.w.writeAt(j.t, p.packed, base)
}

// read reads rows [lo, hi) in strips and packs them into p.packed.
func (j *matrixJob) read(ctx context.Context, p *packer, lo, hi int, result *itemResult) error {
	k, strip := j.t.K, stripRowsFor(j.t)
	for at := lo; at < hi; at += strip {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(strip, hi-at)
		p.floats = sized(p.floats, n*k)
		if err := j.rows.ReadRows(p.floats, at, at+n); err != nil {
			return fmt.Errorf("pack tensor %s: %w", j.t.Name, err)
		}
		packed := p.packed[(at-lo)/kernels.PanelRows*kernels.PackedBytes(j.format, kernels.PanelRows, k):]
		for row := 0; row < n; row += kernels.PanelRows {
			count := min(kernels.PanelRows, n-row)
			size := kernels.PackedBytes(j.format, count, k)
			weights := p.floats[row*k : (row+count)*k]
			sum, err := kernels.PackPanel(packed[:size], j.format, weights, count, k)
			if err != nil {
				return j.describe(err, weights, at+row)
			}
			result.err.Add(sum)
			if err := j.measure(p, packed[:size], at+row, count, result); err != nil {
				return err
			}
			packed = packed[size:]
		}
	}
	return nil
}

// measure bounds what the rows of a packed panel can contribute.
func (j *matrixJob) measure(p *packer, panel []byte, first, count int, result *itemResult) error {
	if j.feed == nil {
		return nil
	}
	m, err := kernels.NewMatrix(j.format, count, j.t.K, j.w.manifest.Leaf, 0, panel)
	if err != nil {
		return fmt.Errorf("pack tensor %s: %w", j.t.Name, err)
	}
	p.row = sized(p.row, j.t.K)
	for r := range count {
		kernels.UnpackRow(p.row, &m, r)
		leaf, row := j.feed.bound(p.row)
		result.leaf = max(result.leaf, leaf)
		if j.limits != nil {
			j.limits[first+r] = row
		}
	}
	return nil
}

// make has a source that packs its panels itself fill p.packed. All its rows have the same bound.
func (j *matrixJob) make(ctx context.Context, p *packer, made PackedRows, lo, hi int) error {
	packed := p.packed
	for at := lo; at < hi; at += kernels.PanelRows {
		if err := ctx.Err(); err != nil {
			return err
		}
		count := min(kernels.PanelRows, hi-at)
		size := kernels.PackedBytes(j.format, count, j.t.K)
		if err := made.PackPanel(packed[:size], j.format, at/kernels.PanelRows, count); err != nil {
			return fmt.Errorf("make tensor %s: %w", j.t.Name, err)
		}
		packed = packed[size:]
	}
	if j.feed == nil {
		return nil
	}
	p.row = sized(p.row, j.t.K)
	for i := range p.row {
		p.row[i] = float32(made.Largest())
	}
	leaf, row := j.feed.bound(p.row)
	j.parts[lo/j.itemRows].leaf = leaf
	if j.limits != nil {
		for r := lo; r < hi; r++ {
			j.limits[r] = row
		}
	}
	return nil
}

// describe names the weight that could not be packed.
func (j *matrixJob) describe(err error, weights []float32, first int) error {
	if !errors.Is(err, kernels.ErrNotFinite) {
		return fmt.Errorf("pack tensor %s: %w", j.t.Name, err)
	}
	at := worst(weights)
	return fmt.Errorf("pack tensor %s: %w: %g at row %d, column %d does not fit %s",
		j.t.Name, ErrWeight, weights[at], first+at/j.t.K, at%j.t.K, j.format)
}

// worst is the index of the first weight that is not finite, or of the largest one.
func worst(weights []float32) int {
	at := 0
	for i, v := range weights {
		size := math.Abs(float64(v))
		if !(size <= math.MaxFloat32) {
			return i
		}
		if size > math.Abs(float64(weights[at])) {
			at = i
		}
	}
	return at
}

// sized returns a slice of n elements, in s's memory if it is large enough.
func sized[E any](s []E, n int) []E {
	if cap(s) >= n {
		return s[:n]
	}
	return make([]E, n)
}
