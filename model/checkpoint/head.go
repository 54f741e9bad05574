package checkpoint

import (
	"bytes"
	"fmt"
	"math"
	"slices"
)

// headVerdict says where the logits' matrix comes from.
type headVerdict uint8

const (
	headAbsent    headVerdict = iota // no lm_head.weight: wte serves
	headShared                       // the same bytes as wte
	headDuplicate                    // a copy of wte, value by value
	headOwn                          // other values than wte
)

func (v headVerdict) String() string {
	return [...]string{
		"tied: no lm_head.weight, wte serves as the head",
		"tied: lm_head.weight shares the storage of wte",
		"tied: lm_head.weight is a copy of wte and is not stored twice",
		"its own: lm_head.weight differs from wte and is kept",
	}[v]
}

// judgeHead compares the head with the token embedding, reading both as long as they are
// the same.
func judgeHead(wte, head *Tensor) (headVerdict, error) {
	if head == nil {
		return headAbsent, nil
	}
	if head.stored.sameView(wte.stored) {
		return headShared, nil
	}
	same, err := compareRows(wte, head)
	if err != nil {
		return headAbsent, err
	}
	if same {
		return headDuplicate, nil
	}
	return headOwn, nil
}

// compareElements is how many values of each matrix are compared at a time.
const compareElements = 1 << 18

// compareRows reports whether two matrices of one shape have the same float32 bits, reading
// both only up to the first difference.
func compareRows(a, b *Tensor) (bool, error) {
	compare := compareValues
	if a.plain() && b.plain() && a.stored.dtype == b.stored.dtype {
		compare = compareBytes
	}
	step := max(1, compareElements/a.cols)
	for lo := 0; lo < a.rows; lo += step {
		if same, err := compare(a, b, lo, min(lo+step, a.rows)); !same || err != nil {
			return false, err
		}
	}
	return true, nil
}

// plain reports whether the matrix lies row by row in its file, without gaps.
func (t *Tensor) plain() bool { return t.colStride == 1 && t.rowStride == int64(t.cols) }

// compareBytes compares rows [lo, hi) of two plain matrices of one type as they are stored.
func compareBytes(a, b *Tensor, lo, hi int) (same bool, err error) {
	n := (hi - lo) * a.cols * int(a.stored.dtype.size())
	err = a.reading(hi-lo, func() error {
		b.owner.noteRead(b, hi-lo)
		left, err := a.stored.file.view(a.at(lo, 0), n, a.stored.file.scratch(n))
		if err != nil {
			return err
		}
		right, err := b.stored.file.view(b.at(lo, 0), n, b.stored.file.scratch(n))
		same = err == nil && bytes.Equal(left, right)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("compare tensors %s of %s and %s of %s: %w", show(a.stored.name), a.stored.file.name,
			show(b.stored.name), b.stored.file.name, err)
	}
	return same, nil
}

// compareValues compares rows [lo, hi) of any two matrices.
func compareValues(a, b *Tensor, lo, hi int) (same bool, err error) {
	n := (hi - lo) * a.cols
	left, right := make([]float32, n), make([]float32, n)
	if err := a.ReadRows(left, lo, hi); err != nil {
		return false, err
	}
	if err := b.ReadRows(right, lo, hi); err != nil {
		return false, err
	}
	return slices.EqualFunc(left, right, func(x, y float32) bool {
		return math.Float32bits(x) == math.Float32bits(y)
	}), nil
}
