package store

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"polynode/kernels"
	"polynode/model"
	"polynode/shard"
)

// A unit that rots on the disk is found, written off, and can be put again; models that are opened afterwards lack it until then.
func TestRottenUnitsAreLostAndPutAgain(t *testing.T) {
	whole, from := described(t, kernels.Q4)
	path := t.TempDir()
	d := openDir(t, path)
	p := newPartialModel(t, d, from, whole.Digest())
	for number := range whole.Numbering().Count() {
		putUnits(t, p, whole, number)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	m, err := d.openDigest(whole.Digest())
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	bad := m.Numbering().Count() / 2
	u, err := m.Numbering().Unit(bad)
	if err != nil {
		t.Fatal(err)
	}
	pieces := []model.Piece{{Name: u.Tensor, Rows: shard.Slice{Hi: m.tensors[u.Tensor].Rows}, K: shard.Slice{Hi: m.tensors[u.Tensor].K}}}
	if rotten, err := m.Rotten(pieces); err != nil || len(rotten) != 0 {
		t.Fatalf("a good model: %v, %v", rotten, err)
	}
	rot(t, filepath.Join(path, blobName(whole.Digest())), u.Offset)
	rotten, err := m.Rotten(pieces)
	if err != nil || !slices.Equal(rotten, []int{bad}) {
		t.Fatalf("rotten %v, %v, want %d", rotten, err, bad)
	}
	if err := d.Lose(whole.Digest(), rotten); err != nil {
		t.Fatal(err)
	}
	later, err := d.openDigest(whole.Digest())
	if err != nil {
		t.Fatal(err)
	}
	defer later.Close()
	if missing, err := later.Missing(pieces); err != nil || missing != 1 {
		t.Fatalf("%d units are missing, %v", missing, err)
	}
	p, err = d.OpenPartial(whole.Digest())
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Lose(whole.Digest(), rotten); !errors.Is(err, ErrBusy) {
		t.Errorf("while it is fetched: %v", err)
	}
	putUnits(t, p, whole, bad)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	for _, m := range []*Model{m, later} {
		if err := m.Verify(u.Tensor, pieces[0].Rows, pieces[0].K); err != nil {
			t.Error(err)
		}
	}
	if err := d.Lose(Hash{1}, nil); !errors.Is(err, ErrNotFound) {
		t.Errorf("a model that is not there: %v", err)
	}
}

// rot changes one byte of a file.
func rot(t *testing.T, path string, offset int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], offset); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := f.WriteAt(b[:], offset); err != nil {
		t.Fatal(err)
	}
}
