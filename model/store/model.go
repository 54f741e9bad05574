package store

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

	"polynode/kernels"
	"polynode/model"
	"polynode/shard"
)

// Model is an open packed model. It implements model.Source; the matrices and vectors that it hands out are views of
// its memory and are valid until Close. All methods are safe for concurrent use, except that Close must come after
// everything else.
type Model struct {
	file     string
	data     []byte // the whole file
	mapped   bool   // data is a memory map and not ordinary memory
	header   header
	manifest Manifest
	tensors  map[model.Name]*tensorState
	units    *Numbering
	presence *presence // nothing where the model is whole
	closed   atomic.Bool
	reader   reader
}

// tensorState is one tensor of an open model and what is known of its bytes.
type tensorState struct {
	*Tensor
	hashes []byte // Units hashes, in the file
	first  int    // number of the first unit

	listGood atomic.Bool     // hashes match the root
	good     []atomic.Uint64 // one bit for each unit whose bytes match
	left     atomic.Int64    // units that are not known to be good

	once   sync.Once // guards values
	values []float32 // of a plain tensor, after it was verified
}

var _ model.Source = (*Model)(nil)

// Open maps a packed model and checks its header, manifest and tokenizer. The weights are not read: what Verify has
// not seen is unknown. Errors about content wrap ErrCorrupt.
func Open(path string) (*Model, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open model: %w", err)
	}
	record, err := os.Open(strings.TrimSuffix(path, blobSuffix) + recordSuffix)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, errors.Join(fmt.Errorf("open model: %w", err), f.Close())
	}
	return openFiles(path, f, record)
}

// openFiles is openFile for a model that may have a record, which it takes over too.
func openFiles(name string, f, record *os.File) (*Model, error) {
	m, err := openFile(name, f)
	if err == nil {
		m.watch(record)
	} else if record != nil {
		err = errors.Join(err, record.Close())
	}
	return m, err
}

// openFile maps f, which it closes, and opens what is in it.
func openFile(name string, f *os.File) (*Model, error) {
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("open model: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("open model %s: not a regular file", name)
	}
	if info.Size() < PageSize {
		return nil, &CorruptError{File: name, Offset: info.Size(), Reason: "file ends inside its header page"}
	}
	data, err := mapFile(f, info.Size())
	if err != nil {
		return nil, fmt.Errorf("map model %s: %w", name, err)
	}
	m := &Model{file: name, data: data, mapped: true}
	m.reader.window, m.reader.progress = readerWindow, make(chan struct{}, 1)
	if err := m.init(); err != nil {
		return nil, errors.Join(err, unmapFile(data))
	}
	return m, nil
}

// OpenBytes opens a packed model that is already in memory, such as an embedded one. The bytes must not change.
func OpenBytes(name string, data []byte) (*Model, error) {
	m := &Model{file: name, data: data}
	if err := m.init(); err != nil {
		return nil, err
	}
	return m, nil
}

// init reads everything but the weights.
func (m *Model) init() error {
	return m.guard(func() error {
		h, err := decodeHeader(m.file, m.data, int64(len(m.data)))
		if err != nil {
			return err
		}
		m.header = h
		manifest, err := readManifest(m.file, h, m.bytes(h.manifest))
		if err != nil {
			return err
		}
		m.manifest = *manifest
		if err := m.checkTokenizer(); err != nil {
			return err
		}
		m.index()
		return nil
	})
}

// readManifest checks and parses the manifest and compares the sections with what it describes.
func readManifest(file string, h header, data []byte) (*Manifest, error) {
	bad := func(offset int64, reason string) (*Manifest, error) {
		return nil, &CorruptError{File: file, Offset: offset, Reason: reason}
	}
	if sha256.Sum256(data) != h.digest {
		return bad(h.manifest.offset, "manifest does not match its hash")
	}
	m, err := decodeManifest(data)
	if err != nil {
		return bad(h.manifest.offset, err.Error())
	}
	if want := sections(m, h.manifest.size); want != [4]section{h.data, h.hashes, h.tokenizer, h.manifest} {
		return bad(24, fmt.Sprintf("sections lie at %v, want %v", [4]section{h.data, h.hashes, h.tokenizer, h.manifest}, want))
	}
	if h.manifest.end() != h.fileSize {
		return bad(h.manifest.end(), "bytes follow the manifest")
	}
	return m, nil
}

// sections gives the places of data, hashes, tokenizer and manifest in the file of a model.
func sections(m *Manifest, manifestSize int64) [4]section {
	data := dataSection(m.Tensors)
	hashes := section{data.end(), unitCount(m.Tensors) * sha256.Size}
	tokenizer := section{roundUp(hashes.end(), plainAlign), m.Tokenizer.Bytes}
	return [4]section{data, hashes, tokenizer, {roundUp(tokenizer.end(), plainAlign), manifestSize}}
}

// index builds the table of tensors.
func (m *Model) index() {
	list := m.bytes(m.header.hashes)
	m.units = NumberUnits(&m.manifest)
	m.tensors = make(map[model.Name]*tensorState, len(m.manifest.Tensors))
	for i := range m.manifest.Tensors {
		t := &m.manifest.Tensors[i]
		n := t.Units * sha256.Size
		state := &tensorState{Tensor: t, hashes: list[:n:n], first: m.units.first[i], good: make([]atomic.Uint64, (t.Units+63)/64)}
		state.left.Store(int64(t.Units))
		m.tensors[t.Name] = state
		list = list[n:]
	}
}

// bytes is one section of the file.
func (m *Model) bytes(s section) []byte { return m.data[s.offset:s.end():s.end()] }

// Close ends the mapping. Views that were handed out must not be used any more.
func (m *Model) Close() error {
	if m.closed.Swap(true) || !m.mapped {
		return nil
	}
	m.reader.mu.Lock()
	defer m.reader.mu.Unlock()
	m.endReader()
	err := unmapFile(m.data)
	if m.presence != nil {
		err = errors.Join(err, m.presence.close())
	}
	if err != nil {
		return fmt.Errorf("close model %s: %w", m.file, err)
	}
	return nil
}

// Config describes the model.
func (m *Model) Config() model.Config { return m.manifest.Config }

// Leaf is the width in K at which the model's matrices may be cut.
func (m *Model) Leaf() int { return m.manifest.Leaf }

// Digest is the SHA-256 of the manifest, which pins every byte of the model.
func (m *Model) Digest() Hash { return m.header.digest }

// Manifest is a copy of the description of the model.
func (m *Model) Manifest() Manifest {
	manifest := m.manifest
	manifest.Tensors = slices.Clone(manifest.Tensors)
	manifest.Provenance.Notes = slices.Clone(manifest.Provenance.Notes)
	return manifest
}

// ManifestBytes are the bytes under the digest: what another node needs to fetch and check parts of the model.
func (m *Model) ManifestBytes() []byte { return slices.Clone(m.bytes(m.header.manifest)) }

// Synthetic says whether the weights are made up, so that the model's text means nothing.
func (m *Model) Synthetic() bool { return m.manifest.Synthetic }

// Chat names the chat format that the model was trained on; empty for a base model.
func (m *Model) Chat() string { return m.manifest.Chat }

// Label is what the model is called, for people.
func (m *Model) Label() string { return m.manifest.Label }

// Size is the length of the file in bytes.
func (m *Model) Size() int64 { return int64(len(m.data)) }

// Tokenizer is a copy of the tokenizer's file as it was given at import, or nothing if the model has none. Open has
// compared it with its hash.
func (m *Model) Tokenizer() ([]byte, error) {
	if m.closed.Load() {
		return nil, fmt.Errorf("read tokenizer of %s: %w", m.file, ErrClosed)
	}
	var out []byte
	err := m.guard(func() error {
		out = slices.Clone(m.bytes(m.header.tokenizer))
		return nil
	})
	return out, err
}

// tensor finds one tensor of an open model.
func (m *Model) tensor(name model.Name) (*tensorState, error) {
	if m.closed.Load() {
		return nil, fmt.Errorf("read tensor %q of %s: %w", name, m.file, ErrClosed)
	}
	t := m.tensors[name]
	if t == nil {
		return nil, fmt.Errorf("find tensor %q of %s: %w", name, m.file, ErrNotFound)
	}
	return t, nil
}

// Vector returns a plain tensor, verified, row by row.
func (m *Model) Vector(name model.Name) ([]float32, error) {
	t, err := m.tensor(name)
	if err != nil {
		return nil, err
	}
	if t.Format != Plain {
		return nil, fmt.Errorf("read tensor %s of %s: it is a matrix, not plain", name, m.file)
	}
	rows, k := t.whole()
	if err := m.Verify(name, rows, k); err != nil {
		return nil, err
	}
	t.once.Do(func() { t.values = floats(m.data[t.Offset : t.Offset+t.Bytes]) })
	return t.values, nil
}

// Matrix is the view of rows × k of a packed matrix. It reads nothing: Verify says whether the bytes are right.
func (m *Model) Matrix(name model.Name, rows, k shard.Slice) (kernels.Matrix, error) {
	t, err := m.tensor(name)
	if err != nil {
		return kernels.Matrix{}, err
	}
	if t.Format == Plain {
		return kernels.Matrix{}, fmt.Errorf("read tensor %s of %s: it is plain, not a matrix", name, m.file)
	}
	if err := t.CheckSlice(rows, k, m.manifest.Leaf); err != nil {
		return kernels.Matrix{}, err
	}
	whole, err := kernels.NewMatrix(t.kernel(), t.Rows, t.K, m.manifest.Leaf, t.Exponent, m.data[t.Offset:t.Offset+t.Bytes])
	if err != nil {
		return kernels.Matrix{}, fmt.Errorf("read tensor %s of %s: %w", name, m.file, err)
	}
	part, err := whole.SliceRows(rows.Lo, rows.Hi)
	if err != nil {
		return kernels.Matrix{}, err
	}
	return part.SliceK(k.Lo, k.Hi)
}

// whole is the slice that is the tensor.
func (t *Tensor) whole() (rows, k shard.Slice) {
	return shard.Slice{Hi: t.Rows}, shard.Slice{Hi: t.K}
}

// littleEndian says whether a float32 in memory looks like one in the file.
var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// floats views little-endian bytes as float32, and copies them only where the machine cannot.
func floats(b []byte) []float32 {
	if littleEndian && uintptr(unsafe.Pointer(unsafe.SliceData(b)))%4 == 0 {
		return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/4)
	}
	out := make([]float32, len(b)/4)
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return out
}

// ReadManifest reads only the header and the manifest of a packed model.
func ReadManifest(path string) (*Manifest, Hash, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, Hash{}, fmt.Errorf("read manifest: %w", err)
	}
	defer f.Close()
	return manifestOf(path, f)
}

func manifestOf(name string, f *os.File) (*Manifest, Hash, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, Hash{}, fmt.Errorf("read manifest: %w", err)
	}
	page := make([]byte, min(info.Size(), PageSize))
	if _, err := io.ReadFull(f, page); err != nil {
		return nil, Hash{}, fmt.Errorf("read manifest of %s: %w", name, err)
	}
	h, err := decodeHeader(name, page, info.Size())
	if err != nil {
		return nil, Hash{}, err
	}
	text := make([]byte, h.manifest.size)
	if _, err := f.ReadAt(text, h.manifest.offset); err != nil {
		return nil, Hash{}, fmt.Errorf("read manifest of %s: %w", name, err)
	}
	manifest, err := readManifest(name, h, text)
	return manifest, h.digest, err
}
