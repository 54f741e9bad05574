package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"polynode/shard"

	"golang.org/x/sync/errgroup"
)

const (
	verifyChunk  = 4 << 20 // bytes that one goroutine of VerifyAll takes at a time
	verifyErrors = 16      // bad parts that VerifyAll lists before it gives up
)

// VerifyAll reads every byte of the file that is here again and compares it with the manifest, on all cores. progress, if given, is
// told the bytes done and their total, one call at a time. The error joins up to 16 damaged parts.
func (m *Model) VerifyAll(ctx context.Context, progress func(done, total int64)) error {
	if m.closed.Load() {
		return fmt.Errorf("verify %s: %w", m.file, ErrClosed)
	}
	v := verification{m: m, progress: progress}
	for i := range m.manifest.Tensors {
		v.total += m.manifest.Tensors[i].Bytes
	}
	if m.presence != nil {
		v.total = m.units.Bytes(m.Present())
	}
	if err := m.recheck(); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i := range m.manifest.Tensors {
		t := m.tensors[m.manifest.Tensors[i].Name]
		if err := m.guard(func() error { return m.checkList(t) }); err != nil {
			v.report(err)
			continue
		}
		across := t.across()
		runBytes := max(1, t.Bytes/int64(t.runs()))
		step := max(1, int(verifyChunk/runBytes)) * across
		for lo := 0; lo < t.Units && ctx.Err() == nil; lo += step {
			group.Go(func() error { return v.units(ctx, t, lo, min(lo+step, t.Units)) })
		}
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return errors.Join(v.bad...)
}

// verification is one run of VerifyAll.
type verification struct {
	m        *Model
	total    int64
	progress func(done, total int64)

	mu   sync.Mutex
	done int64
	bad  []error
	full atomic.Bool
}

// units verifies units [lo, hi) of one tensor.
func (v *verification) units(ctx context.Context, t *tensorState, lo, hi int) error {
	first, last := t.UnitAt(lo), t.UnitAt(hi-1)
	rows := shard.Slice{Lo: first.Rows.Lo, Hi: last.Rows.Hi}
	ahead := v.m.newAhead(t, rows, shard.Slice{Hi: t.K})
	h, bytes := sha256.New(), int64(0)
	for i := lo; i < hi; i++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		if v.full.Load() {
			return nil
		}
		if v.m.presence != nil && !v.m.presence.set.Has(t.first+i) {
			continue
		}
		u := t.UnitAt(i)
		ahead.reach(u.Rows.Lo)
		if err := v.m.guard(func() error { return v.m.checkUnit(t, &u, h) }); err != nil {
			v.report(err)
		}
		bytes += u.Size()
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.done += bytes
	if v.progress != nil {
		v.progress(v.done, v.total)
	}
	return nil
}

// report adds a damaged part to the list.
func (v *verification) report(err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.bad) < verifyErrors {
		v.bad = append(v.bad, err)
	}
	v.full.Store(len(v.bad) == verifyErrors)
}

// recheck verifies what lies around the tensors: header, manifest, tokenizer and the zeros between the parts.
func (m *Model) recheck() error {
	return m.guard(func() error {
		h, err := decodeHeader(m.file, m.data, int64(len(m.data)))
		if err != nil {
			return err
		}
		if _, err := readManifest(m.file, h, m.bytes(h.manifest)); err != nil {
			return err
		}
		if err := m.checkTokenizer(); err != nil {
			return err
		}
		at := int64(PageSize)
		gap := func(to int64) error {
			if i := firstNonZero(m.data[at:to]); i >= 0 {
				return &CorruptError{File: m.file, Offset: at + int64(i), Reason: "padding is not zero"}
			}
			return nil
		}
		for i := range m.manifest.Tensors {
			t := &m.manifest.Tensors[i]
			if err := gap(t.Offset); err != nil {
				return err
			}
			at = t.Offset + t.Bytes
		}
		for _, s := range []section{m.header.hashes, m.header.tokenizer, m.header.manifest} {
			if err := gap(s.offset); err != nil {
				return err
			}
			at = s.end()
		}
		return nil
	})
}
