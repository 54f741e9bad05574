package store

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"polynode/kernels"
	"polynode/model"
	"polynode/shard"
)

// useAll reads everything that a node would, verified, without VerifyAll.
func useAll(m *Model) error {
	for i := range m.manifest.Tensors {
		t := &m.manifest.Tensors[i]
		rows, k := t.whole()
		if err := m.Verify(t.Name, rows, k); err != nil {
			return err
		}
		if t.Format == Plain {
			if _, err := m.Vector(t.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

// TestFlippedBits damages every region of the file, one bit at a time. Open, use or both must refuse; padding, which
// nobody uses, must at least be found by VerifyAll.
func TestFlippedBits(t *testing.T) {
	data := pack(t, newFake(tiny(), 1), tinySpec(kernels.Q8))
	good, err := OpenBytes("m.pn", data)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for _, r := range regions(good) {
		for range 4 {
			bit := r.offset*8 + rng.Int64N(r.size*8)
			checkFlip(t, data, r, bit)
		}
		checkFlip(t, data, r, r.offset*8)
		checkFlip(t, data, r, (r.offset+r.size)*8-1)
	}
}

type region struct {
	name   string
	tensor model.Name
	section
	padding bool
}

// regions lists every part of the file, without a gap.
func regions(m *Model) []region {
	list := []region{{name: "header fields", section: section{0, headerUsed}}, {name: "header padding", section: section{headerUsed, PageSize - headerUsed}}}
	at := int64(PageSize)
	add := func(name string, tensor model.Name, s section) {
		if s.offset > at {
			list = append(list, region{"padding before " + name, "", section{at, s.offset - at}, true})
		}
		list = append(list, region{name: name, tensor: tensor, section: s})
		at = s.end()
	}
	for _, t := range m.manifest.Tensors {
		add(string(t.Name), t.Name, section{t.Offset, t.Bytes})
	}
	for _, t := range m.manifest.Tensors {
		add("hashes of "+string(t.Name), t.Name, section{max(at, m.header.hashes.offset), int64(t.Units) * sha256.Size})
	}
	add("tokenizer", "", m.header.tokenizer)
	add("manifest", "", m.header.manifest)
	return list
}

func checkFlip(t *testing.T, data []byte, r region, bit int64) {
	t.Helper()
	data[bit/8] ^= 1 << (bit % 8)
	defer func() { data[bit/8] ^= 1 << (bit % 8) }()
	m, err := OpenBytes("flipped.pn", data)
	if err == nil && !r.padding {
		err = useAll(m)
	}
	if err == nil {
		err = m.VerifyAll(context.Background(), nil)
	}
	var corrupt *CorruptError
	if !errors.Is(err, ErrCorrupt) || !errors.As(err, &corrupt) {
		t.Fatalf("%s: bit %d: got %v, want ErrCorrupt", r.name, bit, err)
	}
	if corrupt.File != "flipped.pn" || corrupt.Tensor != r.tensor {
		t.Errorf("%s: bit %d: error names %q, tensor %q: %v", r.name, bit, corrupt.File, corrupt.Tensor, err)
	}
	if corrupt.Offset < 0 || corrupt.Offset > int64(len(data)) {
		t.Errorf("%s: bit %d: error is at offset %d", r.name, bit, corrupt.Offset)
	}
	if m != nil {
		if verr := m.VerifyAll(context.Background(), nil); !errors.Is(verr, ErrCorrupt) {
			t.Errorf("%s: bit %d: VerifyAll says %v", r.name, bit, verr)
		}
	}
}

// TestDamageAfterUse flips a bit in what was verified before: VerifyAll reads again, and the unit is unknown from then.
func TestDamageAfterUse(t *testing.T) {
	data := pack(t, newFake(tiny(), 1), tinySpec(kernels.Q8))
	m, err := OpenBytes("m.pn", data)
	if err != nil {
		t.Fatal(err)
	}
	if err := useAll(m); err != nil {
		t.Fatal(err)
	}
	name := model.FFNDownWeight.Of(1)
	tensor := m.tensors[name]
	data[tensor.Offset+1000] ^= 4
	if err := m.VerifyAll(context.Background(), nil); !errors.Is(err, ErrCorrupt) {
		t.Errorf("VerifyAll: %v", err)
	}
	rows, k := tensor.whole()
	if err := m.Verify(name, rows, k); !errors.Is(err, ErrCorrupt) {
		t.Errorf("Verify after VerifyAll: %v", err)
	}
	data[tensor.Offset+1000] ^= 4
	if err := m.Verify(name, rows, k); err != nil {
		t.Errorf("Verify after repair: %v", err)
	}
	if left := tensor.left.Load(); left != 0 {
		t.Errorf("%d units are left", left)
	}
}

// TestManyDamages lists several bad parts and stops at a bound.
func TestManyDamages(t *testing.T) {
	data := pack(t, newFake(tiny(), 1), tinySpec(kernels.F32))
	m, err := OpenBytes("m.pn", data)
	if err != nil {
		t.Fatal(err)
	}
	for i := range m.manifest.Tensors {
		data[m.manifest.Tensors[i].Offset] ^= 1
	}
	err = m.VerifyAll(context.Background(), nil)
	if got := strings.Count(err.Error(), "do not match"); got != verifyErrors {
		t.Errorf("%d damaged parts listed, want %d:\n%v", got, verifyErrors, err)
	}
}

func TestTruncated(t *testing.T) {
	data := pack(t, newFake(tiny(), 1), tinySpec(kernels.Q4))
	path := filepath.Join(t.TempDir(), "cut.pn")
	for _, n := range []int{0, 1, 7, 8, 100, 151, 152, PageSize - 1, PageSize, PageSize + 1, len(data) / 2, len(data) - 1} {
		if _, err := OpenBytes("cut.pn", data[:n]); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%d bytes in memory: %v", n, err)
		}
		if err := os.WriteFile(path, data[:n], 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%d bytes in a file: %v", n, err)
		}
		if _, _, err := ReadManifest(path); err == nil {
			t.Errorf("%d bytes in a file: ReadManifest succeeded", n)
		}
	}
	if _, err := OpenBytes("long.pn", append(data[:len(data):len(data)], 0)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a byte behind the end: %v", err)
	}
	if _, err := Open(t.TempDir()); err == nil {
		t.Error("a folder was opened as a model")
	}
	if _, err := Open(filepath.Join(t.TempDir(), "none.pn")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that does not exist: %v", err)
	}
}

// reseal makes the header's hash right again after a lie in its fields.
func reseal(page []byte) {
	sum := sha256.Sum256(page[:headerSealed])
	copy(page[headerSealed:], sum[:])
}

func TestLyingHeaders(t *testing.T) {
	data := pack(t, newFake(tiny(), 1), tinySpec(kernels.Q4))
	for at := 8; at < 88; at += 4 {
		for _, lie := range []uint32{0, 1, 2, 4095, 1 << 20, 1 << 31, 1<<32 - 1} {
			bad := append([]byte(nil), data...)
			if binary.LittleEndian.Uint32(bad[at:]) == lie {
				continue
			}
			binary.LittleEndian.PutUint32(bad[at:], lie)
			reseal(bad)
			if _, err := OpenBytes("lie.pn", bad); !errors.Is(err, ErrCorrupt) {
				t.Errorf("field at %d set to %d: %v", at, lie, err)
			}
		}
	}
}

// forge replaces the manifest of a model by another text and makes all hashes right.
func forge(data []byte, text []byte) []byte {
	h, err := decodeHeader("m.pn", data, int64(len(data)))
	if err != nil {
		panic(err)
	}
	out := append(append([]byte(nil), data[:h.manifest.offset]...), text...)
	h.manifest.size, h.digest = int64(len(text)), sha256.Sum256(text)
	h.fileSize = h.manifest.end()
	copy(out, h.encode())
	return out
}

// TestLyingManifests changes what the manifest says; whoever does that can make every hash right.
func TestLyingManifests(t *testing.T) {
	data := pack(t, newFake(tiny(), 1), tinySpec(kernels.Q4))
	good, err := OpenBytes("m.pn", data)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenBytes("forged.pn", forge(data, good.ManifestBytes())); err != nil {
		t.Fatalf("the test cannot forge: %v", err)
	}
	for name, lie := range map[string]func(*Manifest){
		"version":          func(m *Manifest) { m.Version = 2 },
		"label":            func(m *Manifest) { m.Label = "a\nb" },
		"long label":       func(m *Manifest) { m.Label = strings.Repeat("x", textMax+1) },
		"chat":             func(m *Manifest) { m.Chat = "../chat" },
		"leaf":             func(m *Manifest) { m.Leaf = 128 },
		"no layers":        func(m *Manifest) { m.Config.Layers = 0 },
		"more layers":      func(m *Manifest) { m.Config.Layers++ },
		"vast layers":      func(m *Manifest) { m.Config.Layers = 1 << 62 },
		"vast vocabulary":  func(m *Manifest) { m.Config.Vocab = model.VocabMax },
		"vast embed":       func(m *Manifest) { m.Config.Embed = model.EmbedMax },
		"tied head":        func(m *Manifest) { m.Config.TiedHead = true },
		"no tensors":       func(m *Manifest) { m.Tensors = nil },
		"lost tensor":      func(m *Manifest) { m.Tensors = m.Tensors[1:] },
		"twice a tensor":   func(m *Manifest) { m.Tensors[1] = m.Tensors[0] },
		"format":           func(m *Manifest) { m.Tensors[0].Format = "q2" },
		"plain matrix":     func(m *Manifest) { m.Tensors[0].Format = Plain },
		"other format":     func(m *Manifest) { m.Tensors[0].Format = "q8" },
		"rows":             func(m *Manifest) { m.Tensors[0].Rows = -1 },
		"columns":          func(m *Manifest) { m.Tensors[0].K *= 2 },
		"offset":           func(m *Manifest) { m.Tensors[2].Offset += 64 },
		"negative offset":  func(m *Manifest) { m.Tensors[2].Offset = -4096 },
		"overlap":          func(m *Manifest) { m.Tensors[4].Offset = m.Tensors[6].Offset },
		"overflow":         func(m *Manifest) { m.Tensors[4].Offset = 1<<63 - 1 },
		"bytes":            func(m *Manifest) { m.Tensors[0].Bytes-- },
		"cut":              func(m *Manifest) { m.Tensors[0].Cut = CutK },
		"unit rows":        func(m *Manifest) { m.Tensors[0].UnitRows = 0 },
		"unit columns":     func(m *Manifest) { m.Tensors[6].UnitK = 0 },
		"units":            func(m *Manifest) { m.Tensors[0].Units = 1 << 60 },
		"exponent":         func(m *Manifest) { m.Tensors[0].Exponent = 1000 },
		"root":             func(m *Manifest) { m.Tensors[0].Root[0] ^= 1 },
		"tokenizer size":   func(m *Manifest) { m.Tokenizer.Bytes = 1 << 62 },
		"tokenizer":        func(m *Manifest) { m.Tokenizer.Hash[3] ^= 1 },
		"negative error":   func(m *Manifest) { m.Tensors[0].RMSError = -1 },
		"too many notes":   func(m *Manifest) { m.Provenance.Notes = make([]string, notesMax+1) },
		"unreadable notes": func(m *Manifest) { m.Provenance.Notes = []string{"\x00"} },
	} {
		m := good.Manifest()
		lie(&m)
		text, err := m.encode()
		if err != nil {
			t.Fatal(err)
		}
		opened, err := OpenBytes("forged.pn", forge(data, text))
		if err == nil {
			err = useAll(opened)
		}
		if !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
	text := string(good.ManifestBytes())
	for name, bad := range map[string]string{
		"empty":         "",
		"null":          "null\n",
		"array":         "[]\n",
		"not JSON":      "{",
		"deep":          strings.Repeat("[", 1<<20),
		"unknown field": strings.Replace(text, "{", `{"extra":1,`, 1),
		"double field":  strings.Replace(text, `"version":1`, `"version":1,"version":1`, 1),
		"spaces":        strings.Replace(text, `"version":1`, `"version": 1`, 1),
		"text behind":   text + text,
		"no newline":    strings.TrimSuffix(text, "\n"),
		"big number":    strings.Replace(text, `"version":1`, `"version":1e999`, 1),
		"wrong root":    strings.Replace(text, `"root":"`, `"root":"zz`, 1),
	} {
		if _, err := OpenBytes("forged.pn", forge(data, []byte(bad))); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestOlderQ4 opens a file whose 4-bit weights were packed with another meaning: it says what to do.
func TestOlderQ4(t *testing.T) {
	data := pack(t, newFake(tiny(), 1), tinySpec(kernels.Q4))
	m, err := OpenBytes("m.pn", data)
	if err != nil {
		t.Fatal(err)
	}
	if got := m.Manifest().Tensors[0].FormatName(); got != "q4" {
		t.Errorf("people read %q", got)
	}
	old := strings.ReplaceAll(string(m.ManifestBytes()), `"format":"q4l"`, `"format":"q4"`)
	if _, err := OpenBytes("old.pn", forge(data, []byte(old))); err == nil || !strings.Contains(err.Error(), "import the model again") {
		t.Errorf("error %v", err)
	}
}

// TestFileCutWhileOpen takes a mapped file's bytes away: using them is an error, not the end of the process.
func TestFileCutWhileOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.pn")
	if err := os.WriteFile(path, pack(t, newFake(tiny(), 1), tinySpec(kernels.Q8)), 0o644); err != nil {
		t.Fatal(err)
	}
	m, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := os.Truncate(path, PageSize); err != nil {
		t.Skipf("the system does not let a mapped file be cut: %v", err)
	}
	defer func() {
		fault := recover()
		if fault == nil {
			return
		}
		if _, known := fault.(interface{ Addr() uintptr }); known || runtime.GOARCH == "amd64" {
			panic(fault)
		}
		t.Skipf("this machine, which may be an emulator, does not tell the address of a fault: %v", fault)
	}()
	name := model.FFNUpWeight.Of(0)
	err = m.Verify(name, shard.Slice{Hi: 288}, shard.Slice{Hi: 128})
	if !errors.Is(err, ErrCorrupt) {
		t.Errorf("Verify: %v", err)
	}
	if err := m.VerifyAll(context.Background(), nil); !errors.Is(err, ErrCorrupt) {
		t.Errorf("VerifyAll: %v", err)
	}
	if _, err := m.Tokenizer(); !errors.Is(err, ErrCorrupt) {
		t.Errorf("Tokenizer: %v", err)
	}
}

// fuzzModel is the smallest model that has everything.
func fuzzModel(t testing.TB) []byte {
	spec := Spec{
		Config: model.Config{Layers: 1, Heads: 1, Embed: 32, Inner: 32, Vocab: 16, Pieces: 9, Positions: 2,
			Activation: model.GELUErf, Epsilon: 1e-5, EOS: 2, TiedHead: true},
		Format: kernels.Q4, Label: "Fuzz", Tokenizer: []byte("tokenizer"),
	}
	return pack(t, newFake(spec.Config, 1), spec)
}

// readAll uses a model as a node would, and must not step outside it.
func readAll(m *Model) {
	_ = m.VerifyAll(context.Background(), nil)
	for i := range m.manifest.Tensors {
		t := &m.manifest.Tensors[i]
		rows, k := t.whole()
		if t.Format == Plain {
			_, _ = m.Vector(t.Name)
		} else if matrix, err := m.Matrix(t.Name, rows, k); err == nil {
			unpackMatrix(&matrix)
		}
		_ = m.Verify(t.Name, rows, k)
	}
}

func FuzzOpenBytes(f *testing.F) {
	data := fuzzModel(f)
	f.Add(data)
	f.Add(data[:PageSize])
	f.Add(data[:len(data)-3])
	f.Add([]byte(fmt.Sprintf("%sPNM", magic[:1])))
	f.Fuzz(func(t *testing.T, data []byte) {
		if m, err := OpenBytes("fuzz.pn", data); err == nil {
			readAll(m)
		} else if !errors.Is(err, ErrCorrupt) {
			t.Errorf("error is not ErrCorrupt: %v", err)
		}
	})
}

// FuzzManifest gets past the hashes: whatever it makes of the manifest is sealed.
func FuzzManifest(f *testing.F) {
	data := fuzzModel(f)
	m, err := OpenBytes("m.pn", data)
	if err != nil {
		f.Fatal(err)
	}
	text := string(m.ManifestBytes())
	f.Add([]byte(text))
	f.Add([]byte(strings.Replace(text, `"offset":4096`, `"offset":-4096`, 1)))
	f.Add([]byte(strings.Replace(text, `"embed":32`, `"embed":65536`, 1)))
	f.Add([]byte(`{"version":1}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if m, err := OpenBytes("fuzz.pn", forge(data, text)); err == nil {
			readAll(m)
		} else if !errors.Is(err, ErrCorrupt) {
			t.Errorf("error is not ErrCorrupt: %v", err)
		}
	})
}
