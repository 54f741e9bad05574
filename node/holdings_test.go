package node

import (
	"os"
	"path/filepath"
	"testing"

	"polynode/model"
	"polynode/model/demo"
	"polynode/model/store"
	"polynode/shard"
	"polynode/shard/planner"
)

// What is written down of slices is only believed when they are there.
func TestHoldingsAreChecked(t *testing.T) {
	whole, err := demo.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer whole.Close()
	data := t.TempDir()
	dir, err := store.OpenDir(data)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	from, err := whole.Describe()
	if err != nil {
		t.Fatal(err)
	}
	p, err := dir.CreatePartial(whole.Digest(), from)
	if err != nil {
		t.Fatal(err)
	}
	shape := model.Shape(whole)
	half := planner.Holding{
		Layers: shard.Slice{Hi: shape.Layers}, Heads: shard.Slice{Hi: shape.Heads / 2}, Inner: shard.Slice{Hi: shape.Inner / 2},
		Vocab: shard.Slice{Hi: shape.VocabUnit()}, Embed: true,
	}
	other := half
	other.Heads = shard.Slice{Lo: shape.Heads / 2, Hi: shape.Heads}
	pieces, err := model.PiecesOf(whole.Config(), shareOf(whole.Config(), half))
	if err != nil {
		t.Fatal(err)
	}
	numbers, err := p.Missing(pieces)
	if err != nil {
		t.Fatal(err)
	}
	for _, number := range numbers {
		u, err := whole.Numbering().Unit(number)
		if err != nil {
			t.Fatal(err)
		}
		unit, err := whole.AppendUnit(nil, u)
		if err == nil {
			err = p.Put(number, unit)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	digest := whole.Digest().String()
	open := func(string) (*store.Model, func() error, error) {
		m, err := dir.Open(digest)
		return m, func() error { return m.Close() }, err
	}
	h := newHoldings(data)
	if got := h.of(digest, open); len(got.holds) != 0 || got.bytes == 0 {
		t.Errorf("nothing was noted: %+v", got)
	}
	for _, holding := range []planner.Holding{half, other} {
		if err := h.note(digest, holding); err != nil {
			t.Fatal(err)
		}
	}
	for name, h := range map[string]*holdings{"this process": h, "the next one": newHoldings(data)} {
		if got := h.of(digest, open); len(got.holds) != 1 || got.holds[0] != half {
			t.Errorf("%s: %+v, want %+v", name, got.holds, half)
		}
	}
	if err := os.WriteFile(filepath.Join(data, fileSlices), []byte("}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := newHoldings(data).of(digest, open); len(got.holds) != 0 {
		t.Errorf("a damaged list: %+v", got)
	}
	nothing := func() error { return nil }
	all := newHoldings(t.TempDir()).of(digest, func(string) (*store.Model, func() error, error) { return whole, nothing, nil })
	if len(all.holds) != 1 || all.holds[0] != wholeHolding(shape) {
		t.Errorf("a whole model: %+v", all)
	}
}
