package store

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"iter"

	"polynode/kernels"
	"polynode/model"
	"polynode/shard"
)

// Unit is the smallest part of a tensor that can be verified, fetched and stored by itself: a rectangle of rows and
// columns. Its bytes are Segments runs of Bytes bytes that begin Stride bytes apart; its hash is the SHA-256 of the
// runs one after the other.
type Unit struct {
	Tensor   model.Name
	Index    int // of its hash in the tensor's list
	Rows, K  shard.Slice
	Offset   int64 // of the first run in the file
	Bytes    int64
	Stride   int64
	Segments int
}

// Size is the number of bytes under the unit's hash.
func (u *Unit) Size() int64 { return u.Bytes * int64(u.Segments) }

// UnitAt gives unit i of the tensor: runs of rows from the top, and within a run columns from the left.
func (t *Tensor) UnitAt(i int) Unit {
	run, col := i/t.across(), i%t.across()
	u := Unit{
		Tensor: t.Name, Index: i,
		Rows: shard.Slice{Lo: run * t.UnitRows, Hi: min((run+1)*t.UnitRows, t.Rows)},
		K:    shard.Slice{Lo: col * t.UnitK, Hi: min((col+1)*t.UnitK, t.K)},
	}
	f := t.kernel()
	if f == 0 {
		row := int64(t.K) * 4
		u.Offset = t.Offset + int64(u.Rows.Lo)*row
		u.Bytes, u.Segments = row*int64(u.Rows.Len()), 1
		u.Stride = u.Bytes
		return u
	}
	stride := int64(kernels.Blocks(t.K) * f.BlockBytes())
	first := int64(u.K.Lo / kernels.BlockK * f.BlockBytes())
	u.Offset = t.Offset + int64(u.Rows.Lo/kernels.PanelRows)*stride + first
	u.Bytes, u.Stride = int64(kernels.Blocks(u.K.Len())*f.BlockBytes()), stride
	u.Segments = kernels.Panels(u.Rows.Len())
	if u.Bytes == u.Stride { // whole rows: the runs touch
		u.Bytes, u.Stride, u.Segments = u.Size(), u.Size(), 1
	}
	return u
}

// UnitsOf lists the units that hold any part of rows × k, in the order of their hashes. Whoever has the manifest and
// the tensor's hashes can fetch and check exactly these.
func (t *Tensor) UnitsOf(rows, k shard.Slice) iter.Seq[int] {
	runs := shard.Slice{Lo: rows.Lo / t.UnitRows, Hi: (rows.Hi + t.UnitRows - 1) / t.UnitRows}
	cols := shard.Slice{Lo: k.Lo / t.UnitK, Hi: (k.Hi + t.UnitK - 1) / t.UnitK}
	across := t.across()
	return func(yield func(int) bool) {
		for run := runs.Lo; run < runs.Hi; run++ {
			for col := cols.Lo; col < cols.Hi; col++ {
				if !yield(run*across + col) {
					return
				}
			}
		}
	}
}

// CheckSlice reports whether rows × k can be cut from the tensor: panels of 16 rows and leaves of K, with only the
// last of either shorter. Plain tensors are taken whole.
func (t *Tensor) CheckSlice(rows, k shard.Slice, leaf int) error {
	rowStep, kStep := kernels.PanelRows, leaf
	if t.Format == Plain {
		rowStep, kStep = t.Rows, t.K
	}
	fits := func(s shard.Slice, n, step int) bool {
		return 0 <= s.Lo && s.Lo < s.Hi && s.Hi <= n && s.Lo%step == 0 && (s.Hi%step == 0 || s.Hi == n)
	}
	if !fits(rows, t.Rows, rowStep) || !fits(k, t.K, kStep) {
		return fmt.Errorf("slice tensor %s (%d, %d): %w: rows %v, columns %v", t.Name, t.Rows, t.K, kernels.ErrShape, rows, k)
	}
	return nil
}

// CheckHashes compares a tensor's list of hashes with the root in the manifest.
func (t *Tensor) CheckHashes(list []byte) error {
	if len(list) != t.Units*sha256.Size || sha256.Sum256(list) != t.Root {
		return fmt.Errorf("check hashes of tensor %s: %w", t.Name, ErrCorrupt)
	}
	return nil
}

// Check compares a unit's bytes, its runs one after the other, with the tensor's list of hashes (see CheckHashes).
func (u *Unit) Check(data, list []byte) bool {
	if int64(len(data)) != u.Size() || len(list) < (u.Index+1)*sha256.Size {
		return false
	}
	return sha256.Sum256(data) == [sha256.Size]byte(list[u.Index*sha256.Size:])
}

// sum hashes the unit's bytes in data, of which the first is byte base of the file. The hasher is reset first.
func (u *Unit) sum(h hash.Hash, data []byte, base int64) Hash {
	h.Reset()
	at := u.Offset - base
	for range u.Segments {
		h.Write(data[at : at+u.Bytes])
		at += u.Stride
	}
	var out Hash
	h.Sum(out[:0])
	return out
}
