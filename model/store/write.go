package store

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"polynode/model"
)

// packMemory bounds the working memory of all goroutines that pack a model, so that it stays far below a large
// tensor even where there are many cores.
const packMemory = 512 << 20

// Report tells what was written.
type Report struct {
	Digest   Hash
	Size     int64
	Manifest Manifest
}

// sink is where a model is written to: a file.
type sink interface {
	io.WriterAt
	Sync() error
}

// writer writes one model.
type writer struct {
	out      sink
	weights  Weights
	manifest *Manifest
	hashes   []byte // of all tensors
	workers  []packer
	limits   []float64 // bounds of the outputs of the last matrix behind a LayerNorm

	mu       sync.Mutex
	progress func(Progress)
	done     int64
	total    int64
}

// WriteFile packs a model into one file. It writes path with the extension .partial first and renames it when
// everything is on the disk; without that there is no file of this name. The writing uses all cores and working memory
// that does not depend on the size of the model. progress may be nil; it is told of one thing at a time.
func WriteFile(ctx context.Context, path string, weights Weights, spec Spec, progress func(Progress)) (Report, error) {
	manifest, err := spec.plan()
	if err != nil {
		return Report{}, err
	}
	if err := checkSpace(filepath.Dir(path), manifest.room(), freeSpace); err != nil {
		return Report{}, err
	}
	partial := path + ".partial"
	f, err := os.Create(partial)
	if err != nil {
		return Report{}, fmt.Errorf("write model: %w", err)
	}
	report, err := writeModel(ctx, f, manifest, weights, spec.Tokenizer, progress)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(partial, path)
	}
	if err != nil {
		return Report{}, errors.Join(fmt.Errorf("write model %s: %w", path, err), os.Remove(partial))
	}
	return report, nil
}

// checkSpace compares what a model needs with what the disk of the folder has.
func checkSpace(folder string, need int64, free func(string) (int64, error)) error {
	avail, err := free(folder)
	if errors.Is(err, errors.ErrUnsupported) {
		return nil // the disk will say so itself when it is full
	}
	if err != nil {
		return fmt.Errorf("ask for the free space of %s: %w", folder, err)
	}
	if avail < need {
		return &SpaceError{Folder: folder, Need: need, Avail: avail}
	}
	return nil
}

// writeModel writes everything: the tensors in the order of the manifest, which it completes, then what lies behind
// them, and the header last of all.
func writeModel(ctx context.Context, out sink, m *Manifest, weights Weights, tokenizer []byte, progress func(Progress)) (Report, error) {
	w := &writer{out: out, weights: weights, manifest: m, progress: progress}
	for i := range m.Tensors {
		w.total += m.Tensors[i].Bytes
	}
	w.hashes = make([]byte, unitCount(m.Tensors)*sha256.Size)
	w.workers = newPackers(m)
	if err := w.tensors(ctx); err != nil {
		return Report{}, err
	}
	text, err := m.encode()
	if err != nil {
		return Report{}, err
	}
	s := sections(m, int64(len(text)))
	h := header{data: s[0], hashes: s[1], tokenizer: s[2], manifest: s[3], fileSize: s[3].end(), digest: sha256.Sum256(text)}
	for _, part := range []struct {
		at   int64
		data []byte
	}{{h.hashes.offset, w.hashes}, {h.tokenizer.offset, tokenizer}, {h.manifest.offset, text}} {
		if _, err := out.WriteAt(part.data, part.at); err != nil {
			return Report{}, spaceError(err)
		}
	}
	// Whatever the header describes is on the disk before the header is.
	if err := out.Sync(); err != nil {
		return Report{}, spaceError(err)
	}
	if err := ctx.Err(); err != nil {
		return Report{}, err
	}
	if _, err := out.WriteAt(h.encode(), 0); err != nil {
		return Report{}, spaceError(err)
	}
	if err := out.Sync(); err != nil {
		return Report{}, spaceError(err)
	}
	dropWritten(out)
	return Report{Digest: h.digest, Size: h.fileSize, Manifest: *m}, nil
}

// newPackers makes working memory for as many goroutines as there are cores and memory for.
func newPackers(m *Manifest) []packer {
	largest := int64(1)
	for i := range m.Tensors {
		if m.Tensors[i].Format != Plain {
			largest = max(largest, packerBytes(&m.Tensors[i]))
		}
	}
	packers := make([]packer, max(1, min(runtime.GOMAXPROCS(0), int(packMemory/largest))))
	for i := range packers {
		packers[i].hash = sha256.New()
	}
	return packers
}

// tensors writes the data section.
func (w *writer) tensors(ctx context.Context) error {
	hashes := w.hashes
	for i := range w.manifest.Tensors {
		t := &w.manifest.Tensors[i]
		n := t.Units * sha256.Size
		rows, err := w.weights.Tensor(t.Name)
		if err != nil {
			return fmt.Errorf("pack tensor %s: %w", t.Name, err)
		}
		if made, ok := rows.(Synthesised); ok && made.Synthetic() {
			w.manifest.Synthetic = true
		}
		if t.Format == Plain {
			err = w.plain(ctx, t, rows, hashes[:n])
		} else {
			err = w.matrix(ctx, t, rows, hashes[:n])
		}
		if err != nil {
			return err
		}
		hashes = hashes[n:]
		startWriteback(w.out, t.Offset, t.Bytes)
	}
	return nil
}

// matrix packs one matrix.
func (w *writer) matrix(ctx context.Context, t *Tensor, rows Rows, hashes []byte) error {
	job := matrixJob{w: w, t: t, rows: rows, format: t.kernel(), hashes: hashes}
	var err error
	if job.feed, err = w.feedOf(t); err != nil {
		return err
	}
	inLayer := w.layerPart(t.Name)
	if inLayer == model.QKVWeight || inLayer == model.FFNUpWeight {
		job.limits = make([]float64, t.Rows)
	}
	if err := job.run(ctx, w.workers); err != nil {
		return err
	}
	return w.keepLimits(t, inLayer, job.limits)
}

// layerPart is the part of a layer that a tensor is, or its whole name outside the layers.
func (w *writer) layerPart(name model.Name) model.Part {
	if _, part, ok := splitName(name); ok {
		return part
	}
	return model.Part(name)
}

// splitName takes "h.3.ln_1.weight" apart.
func splitName(name model.Name) (prefix string, part model.Part, ok bool) {
	rest, ok := strings.CutPrefix(string(name), "h.")
	if !ok {
		return "", "", false
	}
	number, text, ok := strings.Cut(rest, ".")
	return "h." + number + ".", model.Part(text), ok
}

// feedOf describes the inputs of a matrix: the LayerNorm before it, or the outputs of the matrix before it.
func (w *writer) feedOf(t *Tensor) (*feed, error) {
	prefix, part, _ := splitName(t.Name)
	weight, bias := model.FinalNormWeight, model.FinalNormBias
	switch {
	case part == model.AttnProjWeight || part == model.FFNDownWeight:
		return limitFeed(w.limits, w.manifest.Leaf), nil
	case part == model.QKVWeight:
		weight, bias = model.Name(prefix)+model.Name(model.Norm1Weight), model.Name(prefix)+model.Name(model.Norm1Bias)
	case part == model.FFNUpWeight:
		weight, bias = model.Name(prefix)+model.Name(model.Norm2Weight), model.Name(prefix)+model.Name(model.Norm2Bias)
	case t.Name == model.TokenEmbedding && !w.manifest.Config.TiedHead:
		return nil, nil // rows are looked up and never multiplied
	}
	gamma, err := w.vector(weight)
	if err != nil {
		return nil, err
	}
	beta, err := w.vector(bias)
	if err != nil {
		return nil, err
	}
	return normFeed(gamma, beta, w.manifest.Leaf), nil
}

// keepLimits remembers how large the inputs of the next projection can get: of the attention a mixture of values,
// which is no larger than the largest that one value can be; of the FFN an activation, which is no larger than its
// argument.
func (w *writer) keepLimits(t *Tensor, part model.Part, limits []float64) error {
	var biasPart model.Part
	switch part {
	case model.QKVWeight:
		biasPart = model.QKVBias
	case model.FFNUpWeight:
		biasPart = model.FFNUpBias
	default:
		return nil
	}
	prefix, _, _ := splitName(t.Name)
	bias, err := w.vector(model.Name(prefix) + model.Name(biasPart))
	if err != nil {
		return err
	}
	for i := range limits {
		limits[i] += math.Abs(float64(bias[i]))
	}
	if part == model.QKVWeight {
		limits = limits[2*w.manifest.Config.Embed:] // the values
	}
	w.limits = limits
	return nil
}

// vector reads a whole tensor of one row.
func (w *writer) vector(name model.Name) ([]float32, error) {
	t, err := w.manifest.Tensor(name)
	if err != nil {
		return nil, err
	}
	rows, err := w.weights.Tensor(name)
	if err != nil {
		return nil, fmt.Errorf("read tensor %s: %w", name, err)
	}
	values := make([]float32, t.K)
	if err := rows.ReadRows(values, 0, 1); err != nil {
		return nil, fmt.Errorf("read tensor %s: %w", name, err)
	}
	return values, checkFinite(t, values, 0)
}

// plain writes one tensor that stays float32.
func (w *writer) plain(ctx context.Context, t *Tensor, rows Rows, hashes []byte) error {
	for i := range t.Units {
		if err := ctx.Err(); err != nil {
			return err
		}
		u := t.UnitAt(i)
		values := make([]float32, u.Rows.Len()*t.K)
		if err := rows.ReadRows(values, u.Rows.Lo, u.Rows.Hi); err != nil {
			return fmt.Errorf("pack tensor %s: %w", t.Name, err)
		}
		if err := checkFinite(t, values, u.Rows.Lo); err != nil {
			return err
		}
		data := make([]byte, 0, len(values)*4)
		for _, v := range values {
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
		}
		sum := sha256.Sum256(data)
		copy(hashes[i*len(sum):], sum[:])
		if err := w.writeAt(t, data, u.Offset); err != nil {
			return err
		}
	}
	t.Root = sha256.Sum256(hashes)
	return nil
}

// checkFinite refuses NaN and infinity and says where they are.
func checkFinite(t *Tensor, values []float32, firstRow int) error {
	if len(values) == 0 {
		return nil
	}
	at := worst(values)
	if math.Abs(float64(values[at])) <= math.MaxFloat32 {
		return nil
	}
	return fmt.Errorf("pack tensor %s: %w: %g at row %d, column %d", t.Name, ErrWeight, values[at], firstRow+at/t.K, at%t.K)
}

// writeAt writes bytes of a tensor and counts them.
func (w *writer) writeAt(t *Tensor, data []byte, at int64) error {
	if _, err := w.out.WriteAt(data, at); err != nil {
		return fmt.Errorf("pack tensor %s: %w", t.Name, spaceError(err))
	}
	if w.progress == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done += int64(len(data))
	w.progress(Progress{Tensor: t.Name, Done: w.done, Total: w.total})
	return nil
}
