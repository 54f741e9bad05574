package node

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"polynode/configs"
	"polynode/kernels"
	"polynode/model"
)

// A byte that rots on a node's disk after it was fetched is fetched again from another node, and nobody notices but the log.
func TestRotIsMended(t *testing.T) {
	data := t.TempDir()
	library, err := OpenLibrary(data)
	if err != nil {
		t.Fatal(err)
	}
	defer library.Close()
	options := ImportOptions{Name: "m", Format: kernels.Q4, EOS: -1}
	if _, err := library.Import(t.Context(), filepath.Join("..", "model", "demo", "checkpoint"), options); err != nil {
		t.Fatal(err)
	}
	use := func(c *configs.Config) { c.Data, c.Model = data, "m" }
	want := complete(t, start(t, use), 40)
	j := &joined{t: t, change: use}
	first := j.up("one", together(1))
	j.change = nil
	second := j.up("two", together(1))
	j.awaitPlan(2)
	config, plan := second.config, first.Info().plan
	j.stop(second)
	j.awaitPlan(1)

	stage, rank, _ := plan.Find(second.self)
	share, err := model.ShareOf(plan, stage, rank)
	if err != nil {
		t.Fatal(err)
	}
	rot(t, config.Data, plan.Model, share)
	again, err := startWith(t.Context(), config, loggerOf("two again"), newModels(config), together(1))
	if err != nil {
		t.Fatal(err)
	}
	j.nodes = append(j.nodes, again)
	t.Cleanup(func() { j.stop(again) })
	j.awaitPlan(2)
	if got := complete(t, first, 40); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if fetched, _ := again.models.fetched(); fetched.done <= fetched.first {
		t.Errorf("nothing was fetched again: %+v", fetched)
	}
}

// rot changes a few bytes of a share on a disk, of a vector and of a matrix.
func rot(t *testing.T, data, digest string, share model.Share) {
	t.Helper()
	library, err := OpenLibrary(data)
	if err != nil {
		t.Fatal(err)
	}
	defer library.Close()
	m, err := library.Open(digest)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	pieces, err := model.PiecesOf(m.Config(), share)
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(library.Path(), "blobs", "*.pn"))
	if err != nil || len(files) != 1 {
		t.Fatalf("files of models: %q, %v", files, err)
	}
	f, err := os.OpenFile(files[0], os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, name := range []model.Name{"h.3.ln_1.weight", "h.2.mlp.c_fc.weight"} {
		at := slices.IndexFunc(pieces, func(p model.Piece) bool { return p.Name == name })
		numbers, err := m.Numbering().Of(pieces[at : at+1])
		if err != nil {
			t.Fatal(err)
		}
		unit, err := m.Numbering().Unit(numbers[0])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte{0xff, 0, 0xff}, unit.Offset); err != nil {
			t.Fatal(err)
		}
	}
}
