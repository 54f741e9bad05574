package store

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"polynode/kernels"
	"polynode/model"
)

func openDir(t *testing.T, path string) *Dir {
	t.Helper()
	d, err := OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func importTiny(t *testing.T, d *Dir, name string, seed uint64) Report {
	t.Helper()
	r, err := d.Import(context.Background(), newFake(tiny(), seed), tinySpec(kernels.Q8), Options{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestDir(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deep", "store")
	d := openDir(t, path)
	one := importTiny(t, d, "one", 1)
	two := importTiny(t, d, "two.q4", 2)
	also := importTiny(t, d, "also-one", 1)
	if one.Digest != also.Digest || one.Digest == two.Digest {
		t.Fatalf("digests %s, %s, %s", one.Digest, also.Digest, two.Digest)
	}
	list, err := d.List()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name)
		if e.Err != nil || e.Size != one.Size && e.Size != two.Size || e.Manifest.Label != "Tiny" {
			t.Errorf("entry %+v", e)
		}
	}
	if want := []string{"also-one", "one", "two.q4"}; !slices.Equal(names, want) {
		t.Errorf("names %v, want %v", names, want)
	}
	full := one.Digest.String()
	for _, ref := range []string{"one", full, full[:6], strings.ToUpper(full[:8]), "sha256-" + full, "sha256:" + full[:10]} {
		m, err := d.Open(ref)
		if err != nil {
			t.Errorf("open %q: %v", ref, err)
			continue
		}
		if m.Digest() != one.Digest {
			t.Errorf("open %q: digest %s", ref, m.Digest())
		}
		if err := errors.Join(m.VerifyAll(context.Background(), nil), m.Close()); err != nil {
			t.Errorf("open %q: %v", ref, err)
		}
	}
	// Another process sees the same.
	if m, err := openDir(t, path).Open("two.q4"); err != nil || m.Digest() != two.Digest {
		t.Errorf("from another Dir: %v", err)
	} else if err := m.Close(); err != nil {
		t.Error(err)
	}
}

func TestResolveFails(t *testing.T) {
	d := openDir(t, t.TempDir())
	digest := importTiny(t, d, "one", 1).Digest.String()
	for _, ref := range []string{"", "two", digest[:5], "0" + digest[:30], digest + "0", "../one", "names/one", "one/", "ONE", "öne", strings.Repeat("a", 1000)} {
		if _, err := d.Open(ref); !errors.Is(err, ErrNotFound) {
			t.Errorf("open %.20q: %v", ref, err)
		}
		if _, err := d.Remove(ref); !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrName) {
			t.Errorf("remove %.20q: %v", ref, err)
		}
	}
	twin := filepath.Join(d.Path(), blobName(Hash{})[:len(blobName(Hash{}))-len(".pn")-64]+digest[:62]+"00.pn")
	if err := os.WriteFile(twin, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Open(digest[:20]); !errors.Is(err, ErrAmbiguous) {
		t.Errorf("a beginning that fits two: %v", err)
	}
}

func TestNames(t *testing.T) {
	for _, good := range []string{"a", "0", "polylm-13b", "polylm-1.7b_q4", strings.Repeat("x", 64)} {
		if err := CheckName(good); err != nil {
			t.Error(err)
		}
	}
	d := openDir(t, t.TempDir())
	before := leftovers(t, filepath.Dir(d.Path()))
	for _, bad := range []string{"", ".", "..", "../x", "a/b", `a\b`, "A", "-a", ".a", "a.", "a b", "a\x00", "a\n", "ä", "c:", "/etc/x", strings.Repeat("x", 65)} {
		if err := CheckName(bad); !errors.Is(err, ErrName) {
			t.Errorf("name %q: %v", bad, err)
		}
		if _, err := d.Import(context.Background(), newFake(tiny(), 1), tinySpec(kernels.Q8), Options{Name: bad}); !errors.Is(err, ErrName) {
			t.Errorf("import as %q: %v", bad, err)
		}
	}
	if after := leftovers(t, filepath.Dir(d.Path())); !slices.Equal(before, after) {
		t.Errorf("bad names left %v, there was %v", after, before)
	}
}

// TestLinks puts links that lead out of the folder where names and models are looked up.
func TestLinks(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "m.pn")
	data := pack(t, newFake(tiny(), 1), tinySpec(kernels.Q8))
	if err := os.WriteFile(outside, data, 0o644); err != nil {
		t.Fatal(err)
	}
	m, err := OpenBytes("m.pn", data)
	if err != nil {
		t.Fatal(err)
	}
	d := openDir(t, t.TempDir())
	if err := os.Symlink(outside, filepath.Join(d.Path(), blobName(m.Digest()))); err != nil {
		t.Skipf("no links here: %v", err)
	}
	if err := os.WriteFile(filepath.Join(d.Path(), nameFolder, "one"), []byte("sha256-"+m.Digest().String()+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Open("one"); err == nil {
		t.Error("a model outside the folder was opened")
	}
}

func TestRemove(t *testing.T) {
	d := openDir(t, t.TempDir())
	one := importTiny(t, d, "one", 1).Digest
	importTiny(t, d, "also-one", 1)
	two := importTiny(t, d, "two", 2).Digest
	importTiny(t, d, "also-two", 2)
	if removed, err := d.Remove("one"); err != nil || removed != (Hash{}) {
		t.Fatalf("removing a name took %s, %v", removed, err)
	}
	if m, err := d.Open("also-one"); err != nil {
		t.Fatal("the other name lost its model: ", err)
	} else if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Open("one"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a removed name: %v", err)
	}
	if removed, err := d.Remove("also-one"); err != nil || removed != one {
		t.Errorf("removing the last name took %s, %v", removed, err)
	}
	if removed, err := d.Remove(two.String()[:8]); err != nil || removed != two {
		t.Errorf("removing a digest took %s, %v", removed, err)
	}
	if files := leftovers(t, d.Path()); !slices.Equal(files, []string{lockFile}) {
		t.Errorf("left %v", files)
	}
}

func TestReplace(t *testing.T) {
	d := openDir(t, t.TempDir())
	one := importTiny(t, d, "name", 1).Digest
	spec := tinySpec(kernels.Q8)
	fake := newFake(tiny(), 2)
	fake[model.TokenEmbedding].fail = errors.New("must not be read")
	if _, err := d.Import(context.Background(), fake, spec, Options{Name: "name"}); !errors.Is(err, ErrExists) {
		t.Errorf("a name that is taken: %v", err)
	}
	r, err := d.Import(context.Background(), newFake(tiny(), 2), spec, Options{Name: "name", Replace: true})
	if err != nil {
		t.Fatal(err)
	}
	if d.hasBlob(one) || !d.hasBlob(r.Digest) {
		t.Error("the replaced model is still there, or the new one is not")
	}
}

// TestDamagedDir has files that no import writes.
func TestDamagedDir(t *testing.T) {
	d := openDir(t, t.TempDir())
	one := importTiny(t, d, "one", 1).Digest
	two := importTiny(t, d, "two", 2).Digest
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(d.Path(), name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(filepath.Join(d.Path(), blobName(two)))
	if err != nil {
		t.Fatal(err)
	}
	write(blobName(one), string(data)) // a whole model, but another one
	write("names/broken", "sha256-12")
	write("names/lost", "sha256-"+strings.Repeat("0", 64)+"\n")
	write("names/NOT A NAME", "")
	write("blobs/readme.txt", "")
	write(blobName(Hash{1}), "no model")
	list, err := d.List()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]error{"one": ErrCorrupt, "broken": ErrCorrupt, "lost": ErrNotFound, "two": nil, "": ErrCorrupt}
	if len(list) != len(want) {
		t.Fatalf("listed %+v", list)
	}
	for _, e := range list {
		if !errors.Is(e.Err, want[e.Name]) {
			t.Errorf("%q: %v, want %v", e.Name, e.Err, want[e.Name])
		}
		if _, err := d.Open(e.Name); !errors.Is(err, want[e.Name]) && e.Name != "" {
			t.Errorf("open %q: %v, want %v", e.Name, err, want[e.Name])
		}
	}
	// A new import repairs the damaged file; everything else can be removed.
	if r := importTiny(t, d, "fresh", 1); r.Digest != one {
		t.Fatalf("digest %s, want %s", r.Digest, one)
	}
	for _, ref := range []string{"one", "two", "fresh", "broken", "lost", Hash{1}.String()} {
		if m, err := d.Open(ref); err == nil {
			if err := errors.Join(m.VerifyAll(context.Background(), nil), m.Close()); err != nil {
				t.Error(err)
			}
		}
		if _, err := d.Remove(ref); err != nil {
			t.Errorf("remove %s: %v", ref, err)
		}
	}
	if list, err := d.List(); err != nil || len(list) != 0 {
		t.Errorf("left %+v, %v", list, err)
	}
}

func TestNoSpace(t *testing.T) {
	d := openDir(t, t.TempDir())
	d.free = func(string) (int64, error) { return 100_000, nil }
	fake := newFake(tiny(), 1)
	for _, r := range fake {
		r.fail = errors.New("must not be read")
	}
	_, err := d.Import(context.Background(), fake, tinySpec(kernels.F32), Options{Name: "one"})
	var space *SpaceError
	if !errors.Is(err, ErrNoSpace) || !errors.As(err, &space) || space.Avail != 100_000 || space.Need < 1_000_000 {
		t.Errorf("got %v", err)
	}
	if !strings.Contains(err.Error(), "are missing") {
		t.Errorf("error does not say what is missing: %v", err)
	}
	d.free = func(string) (int64, error) { return 0, errors.ErrUnsupported }
	importTiny(t, d, "one", 1)
	if free, err := freeSpace(d.Path()); err != nil && !errors.Is(err, errors.ErrUnsupported) || err == nil && free <= 0 {
		t.Errorf("free space %d, %v", free, err)
	}
}

// TestInterrupted has imports end in the middle: by an error, by a panic of the machine.
func TestInterrupted(t *testing.T) {
	d := openDir(t, t.TempDir())
	importTiny(t, d, "kept", 1)
	before := leftovers(t, d.Path())
	for stop := 1; stop < 30; stop += 4 {
		ctx, cancel := context.WithCancel(context.Background())
		calls := 0
		_, err := d.Import(ctx, newFake(tiny(), 2), tinySpec(kernels.Q8), Options{Name: "two", Progress: func(Progress) {
			if calls++; calls == stop {
				cancel()
			}
		}})
		cancel()
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("cancelled at %d: %v", stop, err)
		}
		if files := leftovers(t, d.Path()); !slices.Equal(files, before) {
			t.Fatalf("cancelled at %d: left %v, there was %v", stop, files, before)
		}
	}
	// A process that was killed leaves its partial file, without a lock, and perhaps half a name.
	for _, name := range []string{"blobs/import-DEAD.partial", "names/.new-DEAD"} {
		if err := os.WriteFile(filepath.Join(d.Path(), name), []byte("half"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if list, err := d.List(); err != nil || len(list) != 1 {
		t.Errorf("half a model is listed: %+v, %v", list, err)
	}
	openDir(t, d.Path())
	if files := leftovers(t, d.Path()); !slices.Equal(files, before) {
		t.Errorf("after opening again there is %v, want %v", files, before)
	}
}

// TestSweepSparesLiving opens the folder again while an import is under way.
func TestSweepSparesLiving(t *testing.T) {
	d := openDir(t, t.TempDir())
	reopened := false
	_, err := d.Import(context.Background(), newFake(tiny(), 1), tinySpec(kernels.Q8), Options{Name: "one", Progress: func(p Progress) {
		if !reopened && p.Done > p.Total/2 {
			openDir(t, d.Path())
			reopened = true
		}
	}})
	if err != nil || !reopened {
		t.Fatalf("import beside a sweep: %v", err)
	}
	m, err := d.Open("one")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(m.VerifyAll(context.Background(), nil), m.Close()); err != nil {
		t.Error(err)
	}
}

// TestTogether imports from several goroutines at once: the same model under one name, others under others.
func TestTogether(t *testing.T) {
	path := t.TempDir()
	d := openDir(t, path)
	var wg sync.WaitGroup
	errs := make([]error, 6)
	for i := range errs {
		other := openDir(t, path) // as another process would
		wg.Go(func() {
			name, seed := "same", uint64(1)
			if i >= 3 {
				name, seed = string(rune('a'+i)), uint64(i)
			}
			_, errs[i] = other.Import(context.Background(), newFake(tiny(), seed), tinySpec(kernels.Q8), Options{Name: name})
		})
	}
	wg.Wait()
	for i, err := range errs {
		// Two that begin after the first has ended find the name taken.
		if err != nil && !(i < 3 && errors.Is(err, ErrExists)) {
			t.Errorf("import %d: %v", i, err)
		}
	}
	if errs[0] != nil && errs[1] != nil && errs[2] != nil {
		t.Error("none of three equal imports succeeded")
	}
	for _, name := range []string{"same", "d", "e", "f"} {
		m, err := d.Open(name)
		if err != nil {
			t.Error(err)
			continue
		}
		if err := errors.Join(m.VerifyAll(context.Background(), nil), m.Close()); err != nil {
			t.Error(err)
		}
	}
	if files := leftovers(t, path); len(files) != 4+4+1 {
		t.Errorf("left %v", files)
	}
}

// TestOpenSurvivesRemoval removes and replaces a model that is in use.
func TestOpenSurvivesRemoval(t *testing.T) {
	d := openDir(t, t.TempDir())
	importTiny(t, d, "one", 1)
	m, err := d.Open("one")
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if _, err := d.Remove("one"); err != nil {
		t.Skipf("the system does not let a mapped file be removed: %v", err)
	}
	if err := m.VerifyAll(context.Background(), nil); err != nil {
		t.Error(err)
	}
	if tok, err := m.Tokenizer(); err != nil || !bytes.HasPrefix(tok, []byte("not really")) {
		t.Errorf("tokenizer %q, %v", tok, err)
	}
}
