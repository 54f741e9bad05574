package refmath

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"polynode/internal/npy"
	"polynode/model"
)

// The checks of this file compare with what PyTorch computed in float32. The checkpoints are read here by a reader of
// its own, so that a mistake in model/checkpoint cannot hide itself.

// TestDemoModelAgainstPyTorch: hidden states and logits of the demo model.
func TestDemoModelAgainstPyTorch(t *testing.T) {
	dir := filepath.Join("..", "..", "model", "demo", "checkpoint")
	m := loadGPT2(t, dir, model.GELUFast)
	arrays, err := npy.ReadFile(filepath.Join(dir, "reference.npz"))
	if err != nil {
		t.Fatal(err)
	}
	worst, languages := 0.0, 0
	for name, ids := range arrays {
		language, ok := strings.CutSuffix(name, "_ids")
		if !ok {
			continue
		}
		languages++
		tokens := make([]int32, len(ids.Ints))
		for i, id := range ids.Ints {
			tokens[i] = int32(id)
		}
		trace, err := m.Forward(tokens)
		if err != nil {
			t.Fatal(err)
		}
		gap := maxGap(t, language+" logits", trace.Logits.Data, widen(arrays[language+"_logits"].Floats))
		worst = max(worst, gap)
		if language == "de" {
			checkHidden(t, m, tokens, trace, arrays)
		}
	}
	t.Logf("max gap over the logits of %d languages: %.3g", languages, worst)
	if languages != 18 || worst > 1e-3 {
		t.Errorf("logits of %d languages differ by up to %g, want 18 and at most 1e-3", languages, worst)
	}
}

// checkHidden compares the residual stream of the German prompt, which the archive counts from the embedding on.
func checkHidden(t *testing.T, m *Model, tokens []int32, trace *Trace, arrays map[string]npy.Array) {
	t.Helper()
	embedded, err := m.embed(tokens)
	if err != nil {
		t.Fatal(err)
	}
	stages := map[string]Matrix{"de_hidden_0": embedded, "de_ln_f": trace.Final}
	for i, x := range trace.Hidden {
		stages[fmt.Sprintf("de_hidden_%d", i+1)] = x
	}
	for name, got := range stages {
		gap := maxGap(t, name, got.Data, widen(arrays[name].Floats))
		t.Logf("%s: max gap %.2g", name, gap)
		if gap > 1e-4 {
			t.Errorf("%s: max gap %g, want at most 1e-4", name, gap)
		}
	}
}

func maxGap(t *testing.T, what string, got, want []float64) float64 {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d values, want %d", what, len(got), len(want))
	}
	worst := 0.0
	for i := range got {
		gap := math.Abs(got[i] - want[i])
		if !(gap <= 1e9) {
			t.Fatalf("%s: value %d is %g, want %g", what, i, got[i], want[i])
		}
		worst = max(worst, gap)
	}
	return worst
}

// loadGPT2 reads config.json and model.safetensors of a folder in GPT-2's layout.
func loadGPT2(t *testing.T, dir string, activation model.Activation) *Model {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	var c struct {
		Layers    int     `json:"n_layer"`
		Heads     int     `json:"n_head"`
		Embed     int     `json:"n_embd"`
		Positions int     `json:"n_positions"`
		Vocab     int     `json:"vocab_size"`
		Epsilon   float32 `json:"layer_norm_epsilon"`
		Tied      *bool   `json:"tie_word_embeddings"`
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		t.Fatal(err)
	}
	config := model.Config{
		Layers: c.Layers, Heads: c.Heads, Embed: c.Embed, Inner: 4 * c.Embed, Vocab: c.Vocab, Pieces: c.Vocab,
		Positions: c.Positions, Activation: activation, Epsilon: c.Epsilon, TiedHead: c.Tied == nil || *c.Tied,
	}
	m, err := New(config, readSafetensors(t, filepath.Join(dir, "model.safetensors")))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// readSafetensors reads float16 and float32 tensors and turns GPT-2's (inputs, outputs) matrices over.
func readSafetensors(t *testing.T, path string) Map {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	size := binary.LittleEndian.Uint64(raw)
	header := map[string]json.RawMessage{}
	if err := json.Unmarshal(raw[8:8+size], &header); err != nil {
		t.Fatal(err)
	}
	weights := Map{}
	for name, entry := range header {
		if name == "__metadata__" {
			continue
		}
		var e struct {
			Dtype   string
			Shape   []int
			Offsets [2]int `json:"data_offsets"`
		}
		if err := json.Unmarshal(entry, &e); err != nil {
			t.Fatal(err)
		}
		tensor := Tensor{1, e.Shape[len(e.Shape)-1], decode(t, e.Dtype, raw[8+size:][e.Offsets[0]:e.Offsets[1]])}
		if len(e.Shape) == 2 {
			tensor.Rows = e.Shape[0]
		}
		short := strings.TrimPrefix(name, "transformer.")
		if strings.HasPrefix(short, "h.") && len(e.Shape) == 2 {
			tensor = transpose(tensor)
		}
		switch short {
		case "wte.weight", "wpe.weight":
			short = strings.TrimSuffix(short, ".weight")
		case "lm_head.weight":
			short = string(model.Head)
		}
		weights[model.Name(short)] = tensor
	}
	return weights
}

func transpose(a Tensor) Tensor {
	b := Tensor{a.Cols, a.Rows, make([]float32, len(a.Data))}
	for i, v := range a.Data {
		b.Data[i%a.Cols*a.Rows+i/a.Cols] = v
	}
	return b
}

func decode(t *testing.T, dtype string, raw []byte) []float32 {
	t.Helper()
	switch dtype {
	case "F32":
		out := make([]float32, len(raw)/4)
		for i := range out {
			out[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
		}
		return out
	case "F16":
		out := make([]float32, len(raw)/2)
		for i := range out {
			out[i] = float32(half(binary.LittleEndian.Uint16(raw[2*i:])))
		}
		return out
	}
	t.Fatalf("dtype %s", dtype)
	return nil
}

// half is the value of an IEEE 754 half-precision number, finite ones only.
func half(bits uint16) float64 {
	exponent, fraction := int(bits>>10)&31, float64(bits&1023)
	value := math.Ldexp(1024+fraction, exponent-25)
	if exponent == 0 {
		value = math.Ldexp(fraction, -24)
	}
	if bits&0x8000 != 0 {
		value = -value
	}
	return value
}

func widen(values []float32) []float64 {
	out := make([]float64, len(values))
	for i, v := range values {
		out[i] = float64(v)
	}
	return out
}

// TestSortingModelAgainstPyTorch: every stage of a small trained network with an untied head and gelu_new, for three
// inputs. Its files are not ours to copy, so they are read beside the checkout where somebody has put them.
func TestSortingModelAgainstPyTorch(t *testing.T) {
	dir := besideCheckout(t, filepath.Join("third-party-checkpoints", "llm-viz-gpt-nano-sort"))
	m := loadGPT2(t, dir, model.GELUNew)
	raw, err := os.ReadFile(filepath.Join(dir, "gpt-nano-sort-t0-partials.json"))
	if err != nil {
		t.Fatal(err)
	}
	partials := map[string]json.RawMessage{}
	if err := json.Unmarshal(raw, &partials); err != nil {
		t.Fatal(err)
	}
	read := func(name string) []float64 {
		var p struct{ Data string }
		if err := json.Unmarshal(partials[name], &p); err != nil {
			t.Fatal(err)
		}
		bits, err := base64.StdEncoding.DecodeString(p.Data)
		if err != nil {
			t.Fatal(err)
		}
		return widen(decode(t, "F32", bits))
	}
	part := func(all []float64, i int) []float64 { return all[i*len(all)/3 : (i+1)*len(all)/3] }
	for i := range 3 {
		var tokens []int32
		for _, id := range part(read("idx"), i) {
			tokens = append(tokens, int32(id))
		}
		trace, err := m.Forward(tokens)
		if err != nil {
			t.Fatal(err)
		}
		for name, got := range map[string]Matrix{
			"block0": trace.Hidden[0], "block1": trace.Hidden[1], "block2": trace.Hidden[2],
			"ln_f": trace.Final, "lm_head": trace.Logits,
		} {
			gap := maxGap(t, name, got.Data, part(read(name), i))
			t.Logf("input %d, %s: max gap %.2g", i, name, gap)
			if gap > 1e-4 {
				t.Errorf("input %d, %s: max gap %g, want at most 1e-4", i, name, gap)
			}
		}
	}
}

// besideCheckout finds material in shared/data beside the repository, or skips the test.
func besideCheckout(t *testing.T, name string) string {
	t.Helper()
	at, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; at != filepath.Dir(at); at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(at, "go.mod")); err == nil {
			path := filepath.Join(filepath.Dir(at), "shared", "data", name)
			if _, err := os.Stat(path); err != nil {
				t.Skipf("optional material %s is not beside the checkout", filepath.Join("shared", "data", name))
			}
			return path
		}
	}
	t.Fatal("no go.mod above the test")
	return ""
}
