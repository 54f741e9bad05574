package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"polynode/kernels"
	"polynode/model"
	"polynode/shard"
)

// tiny is a model with several hash units in every matrix, a vocabulary that ends inside a panel and a head of its own.
func tiny() model.Config {
	return model.Config{
		Layers: 2, Heads: 2, Embed: 128, Inner: 288, Vocab: 603, Pieces: 600, Positions: 20,
		Activation: model.GELUFast, Epsilon: 1e-5, EOS: 2, TiedHead: false,
	}
}

// fakeWeights are random float32 tensors in memory.
type fakeWeights map[model.Name]*fakeRows

type fakeRows struct {
	values []float32
	cols   int
	fail   error
	calls  *atomic.Int64
}

func newFake(c model.Config, seed uint64) fakeWeights {
	w := fakeWeights{}
	for _, spec := range c.Tensors() {
		h := fnv.New64a()
		h.Write([]byte(spec.Name))
		rng := rand.New(rand.NewPCG(seed, h.Sum64()))
		values := make([]float32, spec.Rows*spec.Cols)
		for i := range values {
			values[i] = float32(rng.NormFloat64()) * 0.05
			if !spec.Matrix {
				values[i]++
			}
		}
		w[spec.Name] = &fakeRows{values: values, cols: spec.Cols}
	}
	return w
}

func (w fakeWeights) Tensor(name model.Name) (Rows, error) {
	if r := w[name]; r != nil {
		return r, nil
	}
	return nil, errors.New("no such tensor")
}

func (r *fakeRows) ReadRows(dst []float32, lo, hi int) error {
	if r.calls != nil {
		r.calls.Add(1)
	}
	if r.fail != nil {
		return r.fail
	}
	copy(dst, r.values[lo*r.cols:hi*r.cols])
	return nil
}

// pack writes a model to a temporary file and gives its bytes.
func pack(t testing.TB, w Weights, spec Spec) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "m.pn")
	if _, err := WriteFile(context.Background(), path, w, spec, nil); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func tinySpec(f kernels.Format) Spec {
	return Spec{
		Config: tiny(), Format: f, Label: "Tiny", Chat: "plain", Tokenizer: []byte("not really a tokenizer"),
		Provenance: Provenance{Source: "test", Notes: []string{"made by a test"}},
	}
}

var allFormats = []kernels.Format{kernels.F32, kernels.BF16, kernels.Q8, kernels.Q4}

func TestRoundTrip(t *testing.T) {
	worst := map[kernels.Format]float64{kernels.F32: 0, kernels.BF16: 0.003, kernels.Q8: 0.01, kernels.Q4: 0.12}
	for _, f := range allFormats {
		t.Run(f.String(), func(t *testing.T) {
			w := newFake(tiny(), 1)
			m, err := OpenBytes("tiny.pn", pack(t, w, tinySpec(f)))
			if err != nil {
				t.Fatal(err)
			}
			for _, spec := range m.manifest.Config.Tensors() {
				want := w[spec.Name].values
				if !spec.Matrix {
					got, err := m.Vector(spec.Name)
					if err != nil {
						t.Fatal(err)
					}
					if !equalFloats(got, want) {
						t.Errorf("%s differs", spec.Name)
					}
					continue
				}
				got := unpack(t, m, spec)
				if e := relative(got, want); e > worst[f] || (f != kernels.F32 && e == 0) {
					t.Errorf("%s: relative error %g, want at most %g", spec.Name, e, worst[f])
				}
				entry, err := m.manifest.Tensor(spec.Name)
				if err != nil {
					t.Fatal(err)
				}
				if e := relative(got, want); math.Abs(e-float64(entry.RMSError)) > 1e-6*e {
					t.Errorf("%s: manifest says error %g, it is %g", spec.Name, entry.RMSError, e)
				}
			}
			tok, err := m.Tokenizer()
			if err != nil || string(tok) != "not really a tokenizer" {
				t.Errorf("tokenizer %q, %v", tok, err)
			}
			if m.Label() != "Tiny" || m.Chat() != "plain" || m.Synthetic() || m.Leaf() != 32 {
				t.Errorf("described as %q, %q, %v, %d", m.Label(), m.Chat(), m.Synthetic(), m.Leaf())
			}
			if err := m.VerifyAll(context.Background(), nil); err != nil {
				t.Error(err)
			}
		})
	}
}

// unpack verifies a matrix and gives its weights.
func unpack(t *testing.T, m *Model, spec model.TensorSpec) []float32 {
	t.Helper()
	rows, k := shard.Slice{Hi: spec.Rows}, shard.Slice{Hi: spec.Cols}
	if err := m.Verify(spec.Name, rows, k); err != nil {
		t.Fatal(err)
	}
	matrix, err := m.Matrix(spec.Name, rows, k)
	if err != nil {
		t.Fatal(err)
	}
	return unpackMatrix(&matrix)
}

func unpackMatrix(m *kernels.Matrix) []float32 {
	out := make([]float32, m.Rows*m.K)
	for r := range m.Rows {
		kernels.UnpackRow(out[r*m.K:], m, r)
	}
	return out
}

func equalFloats(a, b []float32) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if math.Float32bits(a[i]) != math.Float32bits(b[i]) {
			return false
		}
	}
	return true
}

func relative(got, want []float32) float64 {
	var e, s float64
	for i := range want {
		d := float64(got[i]) - float64(want[i])
		e += d * d
		s += float64(want[i]) * float64(want[i])
	}
	return math.Sqrt(e / s)
}

// TestSlices cuts every matrix in all the ways that a plan may and compares with the whole.
func TestSlices(t *testing.T) {
	for _, f := range allFormats {
		m, err := OpenBytes("tiny.pn", pack(t, newFake(tiny(), 2), tinySpec(f)))
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range m.manifest.Config.Tensors() {
			if !spec.Matrix {
				continue
			}
			whole := unpack(t, m, spec)
			for _, rows := range cuts(spec.Rows, kernels.PanelRows) {
				for _, k := range cuts(spec.Cols, m.Leaf()) {
					if err := m.Verify(spec.Name, rows, k); err != nil {
						t.Fatal(err)
					}
					part, err := m.Matrix(spec.Name, rows, k)
					if err != nil {
						t.Fatal(err)
					}
					compareSlice(t, whole, spec, &part, rows, k)
				}
			}
		}
	}
}

// cuts gives the whole, the first step, the last and a middle.
func cuts(n, step int) []shard.Slice {
	last := (n - 1) / step * step
	mid := last / step / 2 * step
	list := []shard.Slice{{Lo: 0, Hi: n}, {Lo: 0, Hi: min(step, n)}, {Lo: last, Hi: n}}
	if mid > 0 {
		list = append(list, shard.Slice{Lo: mid, Hi: n}, shard.Slice{Lo: 0, Hi: mid})
	}
	return list
}

func compareSlice(t *testing.T, whole []float32, spec model.TensorSpec, part *kernels.Matrix, rows, k shard.Slice) {
	t.Helper()
	if part.Rows != rows.Len() || part.K != k.Len() {
		t.Fatalf("%s: slice %v × %v is (%d, %d)", spec.Name, rows, k, part.Rows, part.K)
	}
	got := unpackMatrix(part)
	for r := range part.Rows {
		want := whole[(rows.Lo+r)*spec.Cols+k.Lo:][:part.K]
		if !equalFloats(got[r*part.K:(r+1)*part.K], want) {
			t.Fatalf("%s: slice %v × %v differs in row %d", spec.Name, rows, k, r)
		}
	}
}

func TestBadSlices(t *testing.T) {
	m, err := OpenBytes("tiny.pn", pack(t, newFake(tiny(), 2), tinySpec(kernels.Q8)))
	if err != nil {
		t.Fatal(err)
	}
	qkv := model.QKVWeight.Of(0)
	whole := shard.Slice{Hi: 128}
	for _, c := range []struct {
		name    model.Name
		rows, k shard.Slice
		want    error
	}{
		{qkv, shard.Slice{Lo: 8, Hi: 16}, whole, kernels.ErrShape},
		{qkv, shard.Slice{Lo: 0, Hi: 17}, whole, kernels.ErrShape},
		{qkv, shard.Slice{Lo: 16, Hi: 16}, whole, kernels.ErrShape},
		{qkv, shard.Slice{Lo: 32, Hi: 16}, whole, kernels.ErrShape},
		{qkv, shard.Slice{Lo: -16, Hi: 16}, whole, kernels.ErrShape},
		{qkv, shard.Slice{Lo: 0, Hi: 400}, whole, kernels.ErrShape},
		{qkv, shard.Slice{Lo: 0, Hi: 16}, shard.Slice{Lo: 16, Hi: 128}, kernels.ErrShape},
		{qkv, shard.Slice{Lo: 0, Hi: 16}, shard.Slice{Lo: 0, Hi: 129}, kernels.ErrShape},
		{qkv, shard.Slice{Lo: 0, Hi: 16}, shard.Slice{}, kernels.ErrShape},
		{"h.2.attn.c_attn.weight", shard.Slice{Hi: 16}, whole, ErrNotFound},
		{"", shard.Slice{Hi: 16}, whole, ErrNotFound},
	} {
		if _, err := m.Matrix(c.name, c.rows, c.k); !errors.Is(err, c.want) {
			t.Errorf("Matrix(%s, %v, %v): %v, want %v", c.name, c.rows, c.k, err, c.want)
		}
		if err := m.Verify(c.name, c.rows, c.k); !errors.Is(err, c.want) {
			t.Errorf("Verify(%s, %v, %v): %v, want %v", c.name, c.rows, c.k, err, c.want)
		}
		if _, err := m.Units(c.name, c.rows, c.k); !errors.Is(err, c.want) {
			t.Errorf("Units(%s, %v, %v): %v, want %v", c.name, c.rows, c.k, err, c.want)
		}
	}
	if _, err := m.Vector(qkv); err == nil {
		t.Error("a matrix was read as a vector")
	}
	if _, err := m.Matrix(model.PositionEmbedding, shard.Slice{Hi: 20}, whole); err == nil {
		t.Error("a plain tensor was read as a matrix")
	}
	if err := m.Verify(model.PositionEmbedding, shard.Slice{Hi: 20}, whole); err != nil {
		t.Error(err)
	}
}

// TestUnits has another process fetch a slice: it knows the manifest and the list of hashes, gets the bytes unit by
// unit, and builds the very same slice.
func TestUnits(t *testing.T) {
	for _, f := range allFormats {
		data := pack(t, newFake(tiny(), 3), tinySpec(f))
		m, err := OpenBytes("tiny.pn", data)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			name    model.Name
			rows, k shard.Slice
		}{
			{model.FFNDownWeight.Of(1), shard.Slice{Hi: 128}, shard.Slice{Lo: 96, Hi: 160}},
			{model.AttnProjWeight.Of(0), shard.Slice{Hi: 128}, shard.Slice{Lo: 64, Hi: 128}},
			{model.QKVWeight.Of(0), shard.Slice{Lo: 128, Hi: 256}, shard.Slice{Hi: 128}},
			{model.Head, shard.Slice{Lo: 304, Hi: 603}, shard.Slice{Hi: 128}},
			{model.PositionEmbedding, shard.Slice{Hi: 20}, shard.Slice{Hi: 128}},
		} {
			fetchSlice(t, m, data, c.name, c.rows, c.k)
		}
	}
}

func fetchSlice(t *testing.T, m *Model, data []byte, name model.Name, rows, k shard.Slice) {
	t.Helper()
	manifest, err := decodeManifest(m.ManifestBytes())
	if err != nil {
		t.Fatal(err)
	}
	tensor, err := manifest.Tensor(name)
	if err != nil {
		t.Fatal(err)
	}
	list, err := m.Hashes(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := tensor.CheckHashes(list); err != nil {
		t.Fatal(err)
	}
	copied, fetched := make([]byte, len(data)), int64(0)
	for i := range tensor.UnitsOf(rows, k) {
		u := tensor.UnitAt(i)
		unit, err := m.AppendUnit(nil, u)
		if err != nil {
			t.Fatal(err)
		}
		if !u.Check(unit, list) {
			t.Fatalf("%s: unit %d does not match its hash", name, i)
		}
		unit[0] ^= 1
		if u.Check(unit, list) || u.Check(unit[1:], list) {
			t.Fatalf("%s: damaged unit %d matches its hash", name, i)
		}
		unit[0] ^= 1
		for s := range int64(u.Segments) {
			copy(copied[u.Offset+s*u.Stride:], unit[s*u.Bytes:(s+1)*u.Bytes])
		}
		fetched += int64(len(unit))
	}
	if tensor.Cut == CutK && fetched != tensor.Bytes*int64(k.Len())/int64(tensor.K) {
		t.Errorf("%s: a slice of %v columns took %d of %d bytes", name, k, fetched, tensor.Bytes)
	}
	// A model of which only this slice is there serves this slice.
	for _, s := range []section{{0, PageSize}, m.header.hashes, m.header.tokenizer, m.header.manifest} {
		copy(copied[s.offset:s.end()], data[s.offset:])
	}
	part, err := OpenBytes("part.pn", copied)
	if err != nil {
		t.Fatal(err)
	}
	if err := part.Verify(name, rows, k); err != nil {
		t.Fatal(err)
	}
	if tensor.Format == Plain {
		return
	}
	got, err := part.Matrix(name, rows, k)
	if err != nil {
		t.Fatal(err)
	}
	want, err := m.Matrix(name, rows, k)
	if err != nil {
		t.Fatal(err)
	}
	if !equalFloats(unpackMatrix(&got), unpackMatrix(&want)) {
		t.Errorf("%s: the fetched slice differs", name)
	}
	whole := shard.Slice{Hi: tensor.K}
	if whole != k {
		if err := part.Verify(name, rows, whole); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: missing columns were verified: %v", name, err)
		}
	}
}

// TestDeterministic writes the same model with one goroutine and with many.
func TestDeterministic(t *testing.T) {
	for _, f := range allFormats {
		var files [][]byte
		for _, procs := range []int{1, 7} {
			withProcs(t, procs, func() { files = append(files, pack(t, newFake(tiny(), 4), tinySpec(f))) })
		}
		if !bytes.Equal(files[0], files[1]) {
			t.Errorf("%s: the number of goroutines changes the file", f)
		}
	}
}

func TestUnalignedBytes(t *testing.T) {
	data := pack(t, newFake(tiny(), 5), tinySpec(kernels.Q8))
	for shift := range 4 {
		moved := make([]byte, len(data)+shift)[shift:]
		copy(moved, data)
		m, err := OpenBytes("tiny.pn", moved)
		if err != nil {
			t.Fatal(err)
		}
		got, err := m.Vector(model.QKVBias.Of(1))
		if err != nil {
			t.Fatal(err)
		}
		if want := newFake(tiny(), 5)[model.QKVBias.Of(1)].values; !equalFloats(got, want) {
			t.Errorf("shift %d: the vector differs", shift)
		}
	}
}

func TestTiedHead(t *testing.T) {
	spec := tinySpec(kernels.Q8)
	spec.Config.TiedHead = true
	tied := pack(t, newFake(spec.Config, 6), spec)
	m, err := OpenBytes("tied.pn", tied)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Matrix(model.Head, shard.Slice{Hi: 16}, shard.Slice{Hi: 128}); !errors.Is(err, ErrNotFound) {
		t.Errorf("a tied head was found: %v", err)
	}
	wte, err := m.manifest.Tensor(model.TokenEmbedding)
	if err != nil {
		t.Fatal(err)
	}
	if wte.Exponent == 0 {
		t.Error("the embedding of a tied model has no exponent for the head")
	}
}

// TestUntidyTexts gives texts as a hostile checkpoint could.
func TestUntidyTexts(t *testing.T) {
	spec := tinySpec(kernels.Q8)
	long := string(bytes.Repeat([]byte("ü"), 300))
	spec.Label, spec.Provenance.Source = "a\nb\x1b[31m\xff", long
	for range 2 * notesMax {
		spec.Provenance.Notes = append(spec.Provenance.Notes, long)
	}
	m, err := OpenBytes("m.pn", pack(t, newFake(tiny(), 6), spec))
	if err != nil {
		t.Fatal(err)
	}
	if m.Label() != "a b [31m?" {
		t.Errorf("label %q", m.Label())
	}
}

func TestFileIsMapped(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.pn")
	report, err := WriteFile(context.Background(), path, newFake(tiny(), 1), tinySpec(kernels.Q4), nil)
	if err != nil {
		t.Fatal(err)
	}
	m, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if m.Digest() != report.Digest || m.Size() != report.Size {
		t.Errorf("file is %s, %d bytes, report says %s, %d", m.Digest(), m.Size(), report.Digest, report.Size)
	}
	if err := m.VerifyAll(context.Background(), nil); err != nil {
		t.Error(err)
	}
	if err := errors.Join(m.Close(), m.Close()); err != nil {
		t.Error(err)
	}
	if _, err := m.Vector(model.FinalNormBias); !errors.Is(err, ErrClosed) {
		t.Errorf("vector of a closed model: %v", err)
	}
	if err := m.VerifyAll(context.Background(), nil); !errors.Is(err, ErrClosed) {
		t.Errorf("verification of a closed model: %v", err)
	}
	if _, err := m.Tokenizer(); !errors.Is(err, ErrClosed) {
		t.Errorf("tokenizer of a closed model: %v", err)
	}
	head := make([]byte, 16)
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Read(head); err != nil || binary.LittleEndian.Uint32(head[8:]) != Version {
		t.Errorf("file begins with %x, %v", head, err)
	}
}
