package model_test

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"polynode/internal/npy"
	"polynode/internal/refmath"
	"polynode/kernels"
	"polynode/model"
	"polynode/model/checkpoint"
	"polynode/model/store"
	"polynode/tokenizer"
)

// The demo model is a real one, trained with PyTorch, with PyTorch's own float32 logits beside it.
var demoCheckpoint = filepath.Join("demo", "checkpoint")

// importDemo packs the demo checkpoint with the project's own importer.
func importDemo(t testing.TB, format kernels.Format) (*store.Model, *tokenizer.SentencePiece) {
	t.Helper()
	source, err := checkpoint.Open(demoCheckpoint)
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	pieces, err := os.ReadFile(source.TokenizerPath())
	if err != nil {
		t.Fatal(err)
	}
	tok, err := tokenizer.Parse(pieces)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "demo.pn")
	weights := store.WeightsFunc(func(name model.Name) (store.Rows, error) { return source.Tensor(name) })
	if _, err := store.WriteFile(t.Context(), path, weights, store.Spec{Config: source.Config(), Format: format, Label: "demo"}, nil); err != nil {
		t.Fatal(err)
	}
	m, err := store.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m, tok
}

// logits computes a whole sequence at once, reusing the same blocks.
func (r *runner) logits(tokens []int32) ([][]float32, error) {
	return r.step(piece{tokens, 0, blocks(0, len(tokens))}), nil
}

const demoBlocks = 32 // the demo model's context

// Largest difference to PyTorch's float32 logits, over every position of a prompt in each of 18 languages.
func TestLogitsAgainstPyTorch(t *testing.T) {
	arrays, err := npy.ReadFile(filepath.Join(demoCheckpoint, "reference.npz"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		format kernels.Format
		kv     kernels.KVFormat
		most   float64 // absolute
		rms    float64 // relative
	}{
		{kernels.F32, kernels.KVF32, 2e-4, 1e-5},
		{kernels.BF16, kernels.KVF16, 2, 2e-2},
		{kernels.Q8, kernels.KVF16, 5, 5e-2},
		{kernels.Q8, kernels.KVQ8, 5, 5e-2},
	} {
		t.Run(c.format.String()+"/"+c.kv.String(), func(t *testing.T) {
			m, _ := importDemo(t, c.format)
			r := newRunner(t, m, c.kv, 2, demoBlocks)
			var most, gap, size float64
			languages := 0
			for name, ids := range arrays {
				language, ok := strings.CutSuffix(name, "_ids")
				if !ok {
					continue
				}
				languages++
				if testing.Short() && language != "de" {
					continue
				}
				tokens := make([]int32, len(ids.Ints))
				for i, id := range ids.Ints {
					tokens[i] = int32(id)
				}
				got, _ := r.logits(tokens)
				want := arrays[language+"_logits"].Floats
				for i, x := range slices.Concat(got...) {
					d := float64(x) - float64(want[i])
					most, gap, size = max(most, math.Abs(d)), gap+d*d, size+float64(want[i])*float64(want[i])
				}
			}
			rms := math.Sqrt(gap / size)
			t.Logf("%d languages: largest difference %.3g, relative RMS %.3g", languages, most, rms)
			if languages != 18 || !(most < c.most) || !(rms < c.rms) {
				t.Errorf("%d languages, largest difference %g, relative RMS %g; want 18, below %g and %g", languages, most, rms, c.most, c.rms)
			}
		})
	}
}

// What quantisation costs, as perplexity on the text that the model was trained on. Each line was one sample.
func TestPerplexityOfFormats(t *testing.T) {
	if testing.Short() {
		t.Skip("computes some thousand tokens in each format")
	}
	reference := 0.0
	for _, c := range []struct {
		format kernels.Format
		kv     kernels.KVFormat
		worse  float64 // than f32, at most
	}{
		{kernels.F32, kernels.KVF32, 0},
		{kernels.BF16, kernels.KVF16, 0.002},
		{kernels.Q8, kernels.KVF16, 0.005},
		{kernels.Q8, kernels.KVQ8, 0.005},
		{kernels.Q4, kernels.KVF16, 0.05},
	} {
		m, tok := importDemo(t, c.format)
		got := perplexity(t, newRunner(t, m, c.kv, 2, demoBlocks), tok)
		if c.format == kernels.F32 {
			reference = got
		}
		t.Logf("%-4s weights, %-3s keys and values: perplexity %.5f, %+.3f %%", c.format, c.kv, got, 100*(got/reference-1))
		if math.Abs(got/reference-1) > c.worse {
			t.Errorf("%s: perplexity %.5f is more than %.1f %% away from %.5f", c.format, got, 100*c.worse, reference)
		}
	}
}

// perplexity is that of one article in each language, another in each, followed by the end of text.
func perplexity(t *testing.T, r *runner, tok *tokenizer.SentencePiece) float64 {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("demo", "udhr", "*.txt"))
	if err != nil || len(files) < 18 {
		t.Fatalf("found %d texts, %v", len(files), err)
	}
	var loss refmath.Loss
	for i, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(string(text), "\n")
		tokens := append(tok.Append(nil, lines[2+i]), endOfText)
		got, err := refmath.MeasureLoss(tokens, len(tokens), tok.Size(), r.logits)
		if err != nil {
			t.Fatal(fmt.Errorf("%s: %w", file, err))
		}
		loss.Mean = (loss.Mean*float64(loss.Tokens) + got.Mean*float64(got.Tokens)) / float64(loss.Tokens+got.Tokens)
		loss.Tokens += got.Tokens
	}
	return loss.Perplexity()
}

const endOfText = 2 // </s>
