package store

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"iter"

	"polynode/model"
	"polynode/shard"
)

// Verify hashes the units that hold rows × k and compares them with the manifest. Each unit is read once in the life
// of the model; after that the call costs a few loads. It hashes on the calling goroutine: many may call it for
// different slices, or for the units of one tensor (see Units), at once.
func (m *Model) Verify(name model.Name, rows, k shard.Slice) error {
	t, err := m.tensor(name)
	if err != nil {
		return err
	}
	if err := t.CheckSlice(rows, k, m.manifest.Leaf); err != nil {
		return err
	}
	if t.left.Load() == 0 {
		return nil
	}
	return m.guard(func() error {
		if err := m.checkList(t); err != nil {
			return err
		}
		h, ahead := sha256.New(), m.newAhead(t, rows, k)
		for i := range t.UnitsOf(rows, k) {
			if t.isGood(i) {
				continue
			}
			u := t.UnitAt(i)
			ahead.reach(u.Rows.Lo)
			if err := m.checkUnit(t, &u, h); err != nil {
				return err
			}
		}
		return nil
	})
}

// Units lists the smallest parts of rows × k that can be verified by themselves, for callers that spread the work
// over goroutines: VerifyUnit for each of them is Verify for the slice.
func (m *Model) Units(name model.Name, rows, k shard.Slice) (iter.Seq[Unit], error) {
	t, err := m.tensor(name)
	if err != nil {
		return nil, err
	}
	if err := t.CheckSlice(rows, k, m.manifest.Leaf); err != nil {
		return nil, err
	}
	return func(yield func(Unit) bool) {
		for i := range t.UnitsOf(rows, k) {
			if !yield(t.UnitAt(i)) {
				return
			}
		}
	}, nil
}

// VerifyUnit is Verify for one unit of the list that Units gave.
func (m *Model) VerifyUnit(unit Unit) error {
	t, err := m.tensor(unit.Tensor)
	if err != nil {
		return err
	}
	if unit.Index < 0 || unit.Index >= t.Units {
		return fmt.Errorf("verify unit %d of tensor %s: %w", unit.Index, t.Name, ErrNotFound)
	}
	if t.isGood(unit.Index) {
		return nil
	}
	return m.guard(func() error {
		if err := m.checkList(t); err != nil {
			return err
		}
		u := t.UnitAt(unit.Index)
		return m.checkUnit(t, &u, sha256.New())
	})
}

// AppendUnit appends the bytes of a unit, verified, to dst: what another node fetches.
func (m *Model) AppendUnit(dst []byte, unit Unit) ([]byte, error) {
	if err := m.VerifyUnit(unit); err != nil {
		return dst, err
	}
	u := m.tensors[unit.Tensor].UnitAt(unit.Index)
	err := m.guard(func() error {
		for s := range int64(u.Segments) {
			at := u.Offset + s*u.Stride
			dst = append(dst, m.data[at:at+u.Bytes]...)
		}
		return nil
	})
	return dst, err
}

// Hashes is a copy of one tensor's list of hashes, verified against the manifest.
func (m *Model) Hashes(name model.Name) ([]byte, error) {
	t, err := m.tensor(name)
	if err != nil {
		return nil, err
	}
	var list []byte
	err = m.guard(func() error {
		list = append(list, t.hashes...)
		return m.checkList(t)
	})
	return list, err
}

// checkList compares the tensor's hashes with the root, once.
func (m *Model) checkList(t *tensorState) error {
	if t.listGood.Load() {
		return nil
	}
	if err := t.CheckHashes(t.hashes); err != nil {
		at := m.header.hashes.offset
		for i := range m.manifest.Tensors {
			if &m.manifest.Tensors[i] == t.Tensor {
				break
			}
			at += int64(m.manifest.Tensors[i].Units) * sha256.Size
		}
		return &CorruptError{File: m.file, Tensor: t.Name, Offset: at, Reason: "list of hashes does not match the manifest"}
	}
	t.listGood.Store(true)
	return nil
}

// checkUnit hashes a unit whatever is known of it and remembers it if it is good.
func (m *Model) checkUnit(t *tensorState, u *Unit, h hash.Hash) error {
	if !m.here(t.first + u.Index) {
		return fmt.Errorf("read %s: tensor %s: rows %v, columns %v: %w", m.file, t.Name, u.Rows, u.K, ErrMissing)
	}
	word, bit := &t.good[u.Index/64], uint64(1)<<(u.Index%64)
	if u.sum(h, m.data, 0) != Hash(t.hashes[u.Index*sha256.Size:][:sha256.Size]) {
		if word.And(^bit)&bit != 0 { // it was good when it was read before
			t.left.Add(1)
		}
		return &CorruptError{
			File: m.file, Tensor: t.Name, Offset: u.Offset,
			Reason: fmt.Sprintf("rows %v, columns %v do not match their hash", u.Rows, u.K),
		}
	}
	if word.Or(bit)&bit == 0 {
		t.left.Add(-1)
		m.reader.verified()
	}
	return nil
}

// isGood says whether unit i was verified before.
func (t *tensorState) isGood(i int) bool { return t.good[i/64].Load()>>(i%64)&1 == 1 }

// checkTokenizer compares the tokenizer with the manifest.
func (m *Model) checkTokenizer() error {
	if Hash(sha256.Sum256(m.bytes(m.header.tokenizer))) != m.manifest.Tokenizer.Hash {
		return &CorruptError{File: m.file, Offset: m.header.tokenizer.offset, Reason: "tokenizer does not match its hash"}
	}
	return nil
}
