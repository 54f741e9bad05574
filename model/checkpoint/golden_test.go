package checkpoint

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"polynode/model"
)

// TestFilesOfTorch opens checkpoints that torch itself wrote; testdata/make.py made them.
func TestFilesOfTorch(t *testing.T) {
	for _, c := range []struct {
		folder string
		tied   bool
		want   []string
	}{
		{"torch-polylm", true, []string{"bfloat16 (28", "6 of 8 are views", "shares the storage of wte", "ignored: 4 mask buffers"}},
		{"torch-shards", true, []string{"3 shards", "float16 (28", "copy of wte"}},
		{"torch-module", false, []string{"float32 (29", "differs from wte"}},
		{"torch-parameters", true, []string{"float64 (28", "no lm_head.weight"}},
	} {
		t.Run(c.folder, func(t *testing.T) {
			opened := mustOpen(t, filepath.Join("testdata", c.folder))
			checkTiny(t, opened, c.tied)
			text := strings.Join(opened.Findings(), "\n")
			for _, want := range c.want {
				if !strings.Contains(text, want) {
					t.Errorf("findings lack %q:\n%s", want, text)
				}
			}
		})
	}
	if _, err := Open(filepath.Join("testdata", "torch-legacy")); !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "1.6") {
		t.Errorf("the format before torch 1.6: %v", err)
	}
}

// sharedData finds the optional folder of test material beside the checkout.
func sharedData(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Skip("not within a checkout")
		}
		dir = parent
	}
	data := filepath.Join(filepath.Dir(dir), "shared", "data")
	if _, err := os.Stat(data); err != nil {
		t.Skip("no shared/data beside the checkout: the published models in it are not tested")
	}
	return data
}

// digest hashes all tensors of a model, as float32 in the order of Tensors.
func digest(t testing.TB, c *Checkpoint) string {
	t.Helper()
	config := c.Config()
	hash := sha256.New()
	for _, spec := range config.Tensors() {
		values := readAll(t, c, spec.Name)
		bytes := make([]byte, 0, 4*len(values))
		for _, value := range values {
			bytes = binary.LittleEndian.AppendUint32(bytes, math.Float32bits(value))
		}
		hash.Write(bytes)
	}
	return fmt.Sprintf("%x", hash.Sum(nil))
}

// TestPublishedModels opens real checkpoints in every form that they come in and compares
// all weights with digests that torch 1.13 computed from its own reading of the .bin files.
func TestPublishedModels(t *testing.T) {
	data := sharedData(t)
	demo := model.Config{Layers: 6, Heads: 8, Embed: 256, Inner: 1024, Vocab: 4096, Pieces: 4096, Positions: 512,
		Activation: model.GELUFast, Epsilon: 1e-5, EOS: 2, TiedHead: true}
	sort := model.Config{Layers: 3, Heads: 3, Embed: 48, Inner: 192, Vocab: 3, Pieces: 3, Positions: 11,
		Activation: model.GELUNew, Epsilon: 1e-5, EOS: 2}
	random := model.Config{Layers: 5, Heads: 4, Embed: 32, Inner: 128, Vocab: 1000, Pieces: 1000, Positions: 512,
		Activation: model.GELUNew, Epsilon: 1e-5, EOS: 2, TiedHead: true}
	const (
		halfDemo   = "7af5b6fc1c7470ad80b5626966f7b769b683d8f79d9c93fbe6f9f33ea25e6cdb"
		brainDemo  = "ad55f9ea346828b24812511520d5f519ccf27d1da5df9f555d979dc1dd5e843b"
		sortHash   = "a5b16b603992531a07fb1945fedcbb5a8831b407027b8993baa16abc3cbe63e3"
		randomHash = "087d3b91aa2440cad43203d9dc12384c4cfd0d7dedc497a8eccf44cff376fcde"
	)
	for _, c := range []struct {
		folder string
		files  []string // only these weights, or all if none
		config model.Config
		digest string
	}{
		{"udhr-model", nil, demo, halfDemo},
		{"udhr-model", []string{"pytorch_model.bin"}, demo, halfDemo},
		{"udhr-model/sharded", nil, demo, halfDemo},
		{"udhr-model/polylm-layout", nil, demo, brainDemo},
		{"third-party-checkpoints/llm-viz-gpt-nano-sort", nil, sort, sortHash},
		{"third-party-checkpoints/llm-viz-gpt-nano-sort", []string{"pytorch_model.bin"}, sort, sortHash},
		{"third-party-checkpoints/ort-tiny-random-gpt2", nil, random, randomHash},
		{"third-party-checkpoints/ort-tiny-random-gpt2", []string{"pytorch_model.bin"}, random, randomHash},
	} {
		t.Run(fmt.Sprint(c.folder, c.files), func(t *testing.T) {
			opened := mustOpen(t, only(t, filepath.Join(data, c.folder), c.files))
			if opened.Config() != c.config {
				t.Errorf("config %+v, want %+v", opened.Config(), c.config)
			}
			if got := digest(t, opened); got != c.digest {
				t.Errorf("digest %s, want %s\n%s", got, c.digest, strings.Join(opened.Findings(), "\n"))
			}
		})
	}
}

// only is the folder itself, or one that shows just its config.json and those files.
func only(t testing.TB, folder string, files []string) string {
	if files == nil {
		return folder
	}
	dir := t.TempDir()
	for _, name := range append(files, configFile) {
		if err := os.Symlink(filepath.Join(folder, name), filepath.Join(dir, name)); err != nil {
			t.Skip("this system makes no symbolic links:", err)
		}
	}
	return dir
}

// TestBrainAgainstHalf compares the demonstration model in bfloat16 and in float16: both
// were rounded from the same float32, once to 8 bits and once to 11.
func TestBrainAgainstHalf(t *testing.T) {
	data := sharedData(t)
	half := mustOpen(t, filepath.Join(data, "udhr-model"))
	brain := mustOpen(t, filepath.Join(data, "udhr-model", "polylm-layout"))
	if half.TokenizerPath() == "" || brain.TokenizerPath() == "" || brain.ChatHint() != "plain" {
		t.Errorf("tokenizers at %q and %q, hint %q", half.TokenizerPath(), brain.TokenizerPath(), brain.ChatHint())
	}
	config := half.Config()
	for _, spec := range config.Tensors() {
		a, b := readAll(t, half, spec.Name), readAll(t, brain, spec.Name)
		for i := range a {
			difference := math.Abs(float64(a[i]) - float64(b[i]))
			if bound := math.Abs(float64(a[i]))*(0x1p-8+0x1p-10) + 0x1p-24; !(difference <= bound) {
				t.Fatalf("%s element %d: %g in float16, %g in bfloat16", spec.Name, i, a[i], b[i])
			}
		}
	}
}
