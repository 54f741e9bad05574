package synth

import (
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"strings"

	"polynode/kernels"
	"polynode/model"
)

// ErrRange reports a tensor, row or panel that the model does not have.
var ErrRange = errors.New("synth: out of range")

// Standard deviations, as GPT-2 initialises its weights.
const (
	matrixStd   = 0.02
	positionStd = 0.01
	biasStd     = 0.01
)

// peak bounds the largest value that kernels.PackRandom makes, in units of its standard deviation: in the uniform formats it is the
// square root of 3; in Q4 it is the largest level, 63, over the levels' root mean square, 31.62. Half a percent is for the rounding of scales.
const peak = 2.003

// Weights are the made-up tensors of one model.
type Weights struct {
	config model.Config
	seed   uint64
	specs  map[model.Name]model.TensorSpec
}

// New makes up a model. Equal arguments give equal weights.
func New(config model.Config, seed uint64) (*Weights, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("make synthetic weights: %w", err)
	}
	w := &Weights{config: config, seed: seed, specs: make(map[model.Name]model.TensorSpec)}
	for _, spec := range config.Tensors() {
		w.specs[spec.Name] = spec
	}
	return w, nil
}

// Config describes the model.
func (w *Weights) Config() model.Config { return w.config }

// Tensor finds one tensor of the model.
func (w *Weights) Tensor(name model.Name) (*Tensor, error) {
	spec, ok := w.specs[name]
	if !ok {
		return nil, fmt.Errorf("%w: no tensor %q", ErrRange, name)
	}
	t := &Tensor{spec: spec, seed: seedOf(name, w.seed)}
	text := string(name)
	switch {
	case name == model.FinalNormWeight || strings.HasSuffix(text, string(model.Norm1Weight)) ||
		strings.HasSuffix(text, string(model.Norm2Weight)):
		t.mean = 1
	case name == model.PositionEmbedding:
		t.std = positionStd
	case !spec.Matrix:
		t.std = biasStd
	case strings.HasSuffix(text, ".c_proj.weight"):
		// These add to the residual stream, twice a layer: its size must not grow with the depth.
		t.std = matrixStd / float32(math.Sqrt(2*float64(w.config.Layers)))
	default:
		t.std = matrixStd
	}
	return t, nil
}

// seedOf gives every tensor of every seed a stream of its own.
func seedOf(name model.Name, seed uint64) uint64 {
	h := fnv.New64a()
	h.Write([]byte(name))
	return h.Sum64() ^ seed*0x9e3779b97f4a7c15
}

// Tensor is one made-up tensor, (Rows, Cols).
type Tensor struct {
	spec      model.TensorSpec
	seed      uint64
	mean, std float32
}

// Synthetic is true: no tensor of this package was trained.
func (t *Tensor) Synthetic() bool { return true }

// Largest bounds the magnitude of every weight of a matrix.
func (t *Tensor) Largest() float64 { return peak * float64(t.std) }

// PackPanel fills dst with panel p of a matrix, which holds n rows, in packed form.
func (t *Tensor) PackPanel(dst []byte, f kernels.Format, p, n int) error {
	if !t.spec.Matrix || p < 0 || p >= kernels.Panels(t.spec.Rows) || n != min(kernels.PanelRows, t.spec.Rows-p*kernels.PanelRows) ||
		f.BlockBytes() == 0 || len(dst) != kernels.PackedBytes(f, n, t.spec.Cols) {
		return fmt.Errorf("%w: panel %d with %d rows of %s (%d, %d)", ErrRange, p, n, t.spec.Name, t.spec.Rows, t.spec.Cols)
	}
	kernels.PackRandom(dst, f, n, t.spec.Cols, t.std, t.seed, uint64(p))
	return nil
}

// ReadRows fills dst, (hi-lo, Cols), with rows [lo, hi): for matrices the numbers that PackPanel packs as F32.
func (t *Tensor) ReadRows(dst []float32, lo, hi int) error {
	if lo < 0 || hi < lo || hi > t.spec.Rows || len(dst) != (hi-lo)*t.spec.Cols {
		return fmt.Errorf("%w: rows [%d, %d) of %s (%d, %d)", ErrRange, lo, hi, t.spec.Name, t.spec.Rows, t.spec.Cols)
	}
	if t.spec.Matrix {
		return t.readMatrix(dst, lo, hi)
	}
	first := uint64(lo * t.spec.Cols)
	for i := range dst {
		dst[i] = t.mean + float32(t.std*uniform(t.seed, first+uint64(i)))
	}
	return nil
}

// readMatrix unpacks the F32 panels that hold the rows.
func (t *Tensor) readMatrix(dst []float32, lo, hi int) error {
	panel := make([]byte, kernels.PackedBytes(kernels.F32, kernels.PanelRows, t.spec.Cols))
	for p := lo / kernels.PanelRows; p*kernels.PanelRows < hi; p++ {
		first := p * kernels.PanelRows
		n := min(kernels.PanelRows, t.spec.Rows-first)
		if err := t.PackPanel(panel, kernels.F32, p, n); err != nil {
			return err
		}
		m, err := kernels.NewMatrix(kernels.F32, n, t.spec.Cols, kernels.BlockK, 0, panel)
		if err != nil {
			return err
		}
		for row := max(lo, first); row < min(hi, first+n); row++ {
			kernels.UnpackRow(dst[(row-lo)*t.spec.Cols:][:t.spec.Cols], &m, row-first)
		}
	}
	return nil
}

// uniform is number i of a stream of uniform values with standard deviation 1.
func uniform(seed, i uint64) float32 {
	// The finaliser of SplitMix64 (Steele, Lea and Flood 2014).
	z := seed + (i+1)*0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	z ^= z >> 31
	unit := float32(int32(z>>32)) / (1 << 31)
	return float32(unit * float32(math.Sqrt(3)))
}
