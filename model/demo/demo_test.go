package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"polynode/internal/npy"
	"polynode/kernels"
	"polynode/model"
	"polynode/model/checkpoint"
	"polynode/model/store"
	"polynode/tokenizer"
)

var update = flag.Bool("update", false, "write udhr.pn from the files in checkpoint/")

// pack imports checkpoint/ and gives the packed model.
func pack(t *testing.T) []byte {
	t.Helper()
	source, err := checkpoint.Open("checkpoint")
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
	if err := source.SetPieces(tok.Size()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "udhr.pn")
	weights := store.WeightsFunc(func(n model.Name) (store.Rows, error) { return source.Tensor(n) })
	_, err = store.WriteFile(context.Background(), path, weights, store.Spec{
		Config: source.Config(), Format: kernels.Q8, Label: "UDHR demonstration model", Chat: source.ChatHint(),
		Provenance: store.Provenance{
			Source: "trained for polynode on the Universal Declaration of Human Rights in 18 languages",
			Notes:  []string{"float16 checkpoint, made by model/demo/checkpoint/train.py"},
		},
		Tokenizer: pieces,
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestCurrent imports the checkpoint again: the embedded file must be what the importer makes today, on any machine.
func TestCurrent(t *testing.T) {
	data := pack(t)
	if *update {
		if err := os.WriteFile("udhr.pn", data, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(data, packed) {
		t.Fatal("udhr.pn is not what the importer makes of checkpoint/; run go generate ./model/demo if that is meant")
	}
}

func TestOpen(t *testing.T) {
	m, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := m.VerifyAll(context.Background(), nil); err != nil {
		t.Error(err)
	}
	c := m.Config()
	if c.Layers != 6 || c.Heads != 8 || c.Embed != 256 || c.Inner != 1024 || c.Pieces != 4096 || c.Positions != 512 || !c.TiedHead || c.EOS != 2 {
		t.Errorf("configuration %+v", c)
	}
	if m.Synthetic() || m.Leaf() != 32 || m.Size() > 7_000_000 {
		t.Errorf("synthetic %v, leaf %d, %d bytes", m.Synthetic(), m.Leaf(), m.Size())
	}
	for _, tensor := range m.Manifest().Tensors {
		if tensor.RMSError > 0.01 {
			t.Errorf("%s: relative error %g of q8", tensor.Name, tensor.RMSError)
		}
	}
}

// TestReference checks that the tokenizer in the model and the reference outputs beside the checkpoint belong together.
func TestReference(t *testing.T) {
	m, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	data, err := m.Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	tok, err := tokenizer.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	var reference struct {
		Prompts []struct {
			Lang, Prompt string
			IDs          []int32 `json:"prompt_ids"`
		}
	}
	text, err := os.ReadFile(filepath.Join("checkpoint", "reference.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &reference); err != nil {
		t.Fatal(err)
	}
	arrays, err := npy.ReadFile(filepath.Join("checkpoint", "reference.npz"))
	if err != nil {
		t.Fatal(err)
	}
	known := false
	for _, p := range reference.Prompts {
		known = known || p.Prompt == Prompt
		ids := tok.Append(nil, p.Prompt)
		if !slices.Equal(ids, p.IDs) {
			t.Errorf("%s: %q is %v, want %v", p.Lang, p.Prompt, ids, p.IDs)
		}
		if logits := arrays[p.Lang+"_logits"]; !slices.Equal(logits.Shape, []int{len(ids), 4096}) {
			t.Errorf("%s: logits of shape %v", p.Lang, logits.Shape)
		}
		corpus, err := os.ReadFile(filepath.Join("udhr", p.Lang+".txt"))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(corpus), p.Prompt) {
			t.Errorf("%s: the corpus does not have %q", p.Lang, p.Prompt)
		}
	}
	if len(reference.Prompts) != 18 || !known {
		t.Errorf("%d prompts, the example among them: %v", len(reference.Prompts), known)
	}
}
