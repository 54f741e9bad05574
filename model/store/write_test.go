package store

import (
	"context"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"polynode/kernels"
	"polynode/model"
)

// leftovers lists the files of a folder, with those of its folders.
func leftovers(t *testing.T, folder string) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, filepath.Base(path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestProgress(t *testing.T) {
	var last Progress
	calls, names := 0, map[model.Name]bool{}
	_, err := WriteFile(context.Background(), filepath.Join(t.TempDir(), "m.pn"), newFake(tiny(), 1), tinySpec(kernels.Q8), func(p Progress) {
		if p.Done <= last.Done || p.Done > p.Total {
			t.Errorf("progress %+v after %+v", p, last)
		}
		last = p
		names[p.Tensor] = true
		calls++
	})
	if err != nil {
		t.Fatal(err)
	}
	c := tiny()
	if last.Done != last.Total || len(names) != len(c.Tensors()) {
		t.Errorf("ended at %d of %d after %d tensors in %d calls", last.Done, last.Total, len(names), calls)
	}
}

// TestCancelled ends the writing after each possible call of Progress, and at once.
func TestCancelled(t *testing.T) {
	total := 0
	count := func(Progress) { total++ }
	folder := t.TempDir()
	path := filepath.Join(folder, "m.pn")
	if _, err := WriteFile(context.Background(), path, newFake(tiny(), 1), tinySpec(kernels.Q8), count); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	for stop := 0; stop <= total; stop += 3 {
		ctx, cancel := context.WithCancel(context.Background())
		if stop == 0 {
			cancel()
		}
		calls := 0
		_, err := WriteFile(ctx, path, newFake(tiny(), 1), tinySpec(kernels.Q8), func(Progress) {
			if calls++; calls == stop {
				cancel()
			}
		})
		cancel()
		if !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled at call %d of %d: %v", stop, total, err)
		}
		if files := leftovers(t, folder); len(files) > 0 {
			t.Fatalf("cancelled at call %d of %d: left %v", stop, total, files)
		}
	}
}

func TestUnusableWeights(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(-1))
	for _, c := range []struct {
		name   model.Name
		at     int
		value  float32
		format kernels.Format
		want   string
	}{
		{model.TokenEmbedding, 128*77 + 5, nan, kernels.F32, "tensor wte: unusable weight: NaN at row 77, column 5"},
		{model.FFNDownWeight.Of(1), 288*31 + 287, inf, kernels.Q8, "tensor h.1.mlp.c_proj.weight: unusable weight: -Inf at row 31, column 287"},
		{model.FFNDownWeight.Of(1), 0, nan, kernels.Q4, "unusable weight: NaN at row 0, column 0"},
		{model.AttnProjWeight.Of(0), 128*127 + 127, 1e30, kernels.Q8, "1e+30 at row 127, column 127 does not fit q8"},
		{model.AttnProjWeight.Of(0), 128*16 + 64, -1e30, kernels.Q4, "-1e+30 at row 16, column 64 does not fit q4"},
		{model.Head, 128*602 + 1, math.MaxFloat32, kernels.BF16, "at row 602, column 1 does not fit bf16"},
		{model.Norm1Weight.Of(1), 100, nan, kernels.Q8, "tensor h.1.ln_1.weight: unusable weight: NaN at row 0, column 100"},
		{model.PositionEmbedding, 128*19 + 3, inf, kernels.Q8, "tensor wpe: unusable weight: -Inf at row 19, column 3"},
	} {
		w := newFake(tiny(), 1)
		w[c.name].values[c.at] = c.value
		folder := t.TempDir()
		_, err := WriteFile(context.Background(), filepath.Join(folder, "m.pn"), w, tinySpec(c.format), nil)
		if !errors.Is(err, ErrWeight) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %g: got %v, want %q", c.name, c.value, err, c.want)
		}
		if files := leftovers(t, folder); len(files) > 0 {
			t.Errorf("%s: left %v", c.name, files)
		}
	}
}

func TestSourceFails(t *testing.T) {
	broken := errors.New("the disk is on fire")
	c := tiny()
	for _, spec := range c.Tensors() {
		w := newFake(tiny(), 1)
		w[spec.Name].fail = broken
		_, err := WriteFile(context.Background(), filepath.Join(t.TempDir(), "m.pn"), w, tinySpec(kernels.Q8), nil)
		if !errors.Is(err, broken) || !strings.Contains(err.Error(), string(spec.Name)) {
			t.Errorf("%s: %v", spec.Name, err)
		}
		delete(w, spec.Name)
		if _, err := WriteFile(context.Background(), filepath.Join(t.TempDir(), "m.pn"), w, tinySpec(kernels.Q8), nil); err == nil {
			t.Errorf("%s: a missing tensor was not missed", spec.Name)
		}
	}
}

// fullDisk is a file on a disk with room for so many bytes.
type fullDisk struct{ left atomic.Int64 }

func (f *fullDisk) WriteAt(data []byte, _ int64) (int, error) {
	if f.left.Add(-int64(len(data))) < 0 {
		return 0, &os.PathError{Op: "write", Path: "full", Err: syscall.ENOSPC}
	}
	return len(data), nil
}

func (f *fullDisk) Sync() error { return nil }

// TestDiskFills has the disk run full at every stage of the writing.
func TestDiskFills(t *testing.T) {
	spec := tinySpec(kernels.Q8)
	manifest, err := spec.plan()
	if err != nil {
		t.Fatal(err)
	}
	for room := int64(0); room < manifest.Tensors[len(manifest.Tensors)-1].Offset; room += 60_000 {
		manifest, err := spec.plan()
		if err != nil {
			t.Fatal(err)
		}
		disk := new(fullDisk)
		disk.left.Store(room)
		if _, err := writeModel(context.Background(), disk, manifest, newFake(tiny(), 1), nil, nil); !errors.Is(err, ErrNoSpace) {
			t.Errorf("room for %d bytes: %v", room, err)
		}
	}
}

func TestBadSpecs(t *testing.T) {
	for name, change := range map[string]func(*Spec){
		"no format":     func(s *Spec) { s.Format = 0 },
		"wrong format":  func(s *Spec) { s.Format = 77 },
		"no layers":     func(s *Spec) { s.Config.Layers = 0 },
		"chat":          func(s *Spec) { s.Chat = "No Such/Thing" },
		"big tokenizer": func(s *Spec) { s.Tokenizer = make([]byte, tokenizerMax+1) },
	} {
		spec := tinySpec(kernels.Q8)
		change(&spec)
		folder := t.TempDir()
		_, err := WriteFile(context.Background(), filepath.Join(folder, "m.pn"), newFake(tiny(), 1), spec, nil)
		if !errors.Is(err, ErrOptions) && !errors.Is(err, model.ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
		if files := leftovers(t, folder); len(files) > 0 {
			t.Errorf("%s: left %v", name, files)
		}
	}
}

// madeUp is a fake tensor that says that it is made up.
type madeUp struct{ Rows }

func (madeUp) Synthetic() bool { return true }

// TestSyntheticLabel has one tensor of many be made up.
func TestSyntheticLabel(t *testing.T) {
	fake := newFake(tiny(), 1)
	w := WeightsFunc(func(name model.Name) (Rows, error) {
		rows, err := fake.Tensor(name)
		if name == model.FFNUpBias.Of(1) {
			return madeUp{rows}, err
		}
		return rows, err
	})
	m, err := OpenBytes("m.pn", pack(t, w, tinySpec(kernels.Q8)))
	if err != nil {
		t.Fatal(err)
	}
	if !m.Synthetic() {
		t.Error("a model with made-up weights is not labelled synthetic")
	}
	spec := tinySpec(kernels.Q8)
	spec.Synthetic = true
	if m, err = OpenBytes("m.pn", pack(t, fake, spec)); err != nil || !m.Synthetic() {
		t.Errorf("a model that its maker calls synthetic is not labelled so: %v", err)
	}
}

// TestWorkers keeps the working memory of many cores below the bound, for the largest published shape.
func TestWorkers(t *testing.T) {
	c := model.Config{
		Layers: 1, Heads: 40, Embed: 5120, Inner: 20480, Vocab: 256000, Pieces: 256000, Positions: 2048,
		Activation: model.GELUFast, Epsilon: 1e-5, EOS: 2, TiedHead: true,
	}
	withProcs(t, 64, func() {
		for _, f := range allFormats {
			tensors, err := layOut(c, func(model.Name) kernels.Format { return f })
			if err != nil {
				t.Fatal(err)
			}
			n := int64(len(newPackers(&Manifest{Tensors: tensors})))
			most := int64(0)
			for i := range tensors {
				if tensors[i].Format != Plain {
					most = max(most, packerBytes(&tensors[i]))
				}
			}
			t.Logf("%s: %d goroutines of %d MB", f, n, most>>20)
			if n*most > packMemory || n < 8 {
				t.Errorf("%s: %d goroutines of %d bytes", f, n, most)
			}
		}
	})
}
