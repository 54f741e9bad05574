package store

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"polynode/kernels"
	"polynode/model"
	"polynode/shard"
)

// described packs the tiny model into a folder and gives it with its description.
func described(t *testing.T, f kernels.Format) (*Model, Description) {
	t.Helper()
	m, err := OpenBytes("tiny.pn", pack(t, newFake(tiny(), 1), tinySpec(f)))
	if err != nil {
		t.Fatal(err)
	}
	d, err := m.Describe()
	if err != nil {
		t.Fatal(err)
	}
	return m, d
}

// newPartialModel makes a partial model without units.
func newPartialModel(t *testing.T, d *Dir, from Description, digest Hash) *Partial {
	t.Helper()
	p, err := d.CreatePartial(digest, from)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// putUnits copies units from a whole model.
func putUnits(t *testing.T, p *Partial, m *Model, numbers ...int) {
	t.Helper()
	for _, number := range numbers {
		u, err := m.Numbering().Unit(number)
		if err != nil {
			t.Fatal(err)
		}
		data, err := m.AppendUnit(nil, u)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Put(number, data); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPartialGrowsIntoTheWholeFile(t *testing.T) {
	for _, f := range allFormats {
		t.Run(f.String(), func(t *testing.T) {
			m, from := described(t, f)
			path := t.TempDir()
			d := openDir(t, path)
			p := newPartialModel(t, d, from, m.Digest())
			early, err := p.Open()
			if err != nil {
				t.Fatal(err)
			}
			defer early.Close()
			if tokenizer, err := early.Tokenizer(); err != nil || string(tokenizer) != "not really a tokenizer" {
				t.Errorf("tokenizer %q, %v", tokenizer, err)
			}
			rows, k := shard.Slice{Hi: 128}, shard.Slice{Hi: 128}
			name := model.AttnProjWeight.Of(1)
			if err := early.Verify(name, rows, k); !errors.Is(err, ErrMissing) || errors.Is(err, ErrCorrupt) {
				t.Errorf("a missing slice gives %v", err)
			}
			numbers, err := p.Missing([]model.Piece{{Name: name, Rows: rows, K: k}})
			if err != nil || len(numbers) == 0 {
				t.Fatalf("missing %v, %v", numbers, err)
			}
			putUnits(t, p, m, numbers...)
			if err := p.Flush(); err != nil {
				t.Fatal(err)
			}
			if err := early.Verify(name, rows, k); err != nil {
				t.Errorf("a slice that came: %v", err)
			}
			if err := early.VerifyAll(t.Context(), nil); err != nil {
				t.Error(err)
			}
			for number := range m.Numbering().Count() {
				putUnits(t, p, m, number)
			}
			if here, total := p.Present(); here != total {
				t.Errorf("%d of %d bytes are here", here, total)
			}
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(filepath.Join(path, blobName(m.Digest())))
			if err != nil || !bytes.Equal(got, m.data) {
				t.Errorf("the file differs from the packed one, %v", err)
			}
			if _, err := os.Stat(filepath.Join(path, recordName(m.Digest()))); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the record of a whole model: %v", err)
			}
			if _, err := d.OpenPartial(m.Digest()); !errors.Is(err, ErrWhole) {
				t.Errorf("a whole model opens as a partial one: %v", err)
			}
		})
	}
}

func TestPartialForgetsOnlyWhatWasNotFlushed(t *testing.T) {
	m, from := described(t, kernels.Q8)
	d := openDir(t, t.TempDir())
	p := newPartialModel(t, d, from, m.Digest())
	if _, err := d.OpenPartial(m.Digest()); !errors.Is(err, ErrBusy) {
		t.Errorf("opened twice: %v", err)
	}
	putUnits(t, p, m, 0, 5)
	if err := p.Flush(); err != nil {
		t.Fatal(err)
	}
	putUnits(t, p, m, 6)
	if err := p.abandon(); err != nil {
		t.Fatal(err)
	}
	if p = newPartialModel(t, d, from, m.Digest()); !p.Has(0) || !p.Has(5) || p.Has(6) {
		t.Errorf("has %v %v %v after a kill", p.Has(0), p.Has(5), p.Has(6))
	}
	if err := p.Put(7, []byte(strings.Repeat("x", 100))); !errors.Is(err, ErrCorrupt) || p.Has(7) {
		t.Errorf("wrong bytes: %v", err)
	}
	list, err := d.List()
	if err != nil || len(list) != 1 || list[0].Err != nil || list[0].Present == 0 || list[0].Present >= list[0].Total {
		t.Errorf("list %+v, %v", list, err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if removed, err := d.Remove(m.Digest().String()); err != nil || removed != m.Digest() {
		t.Errorf("removed %v, %v", removed, err)
	}
	files, err := os.ReadDir(filepath.Join(d.Path(), blobFolder))
	if err != nil || len(files) != 0 {
		t.Errorf("left %v, %v", files, err)
	}
}
