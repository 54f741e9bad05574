package node

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"polynode/configs"
	"polynode/engine"
	"polynode/kernels"
	"polynode/model"
	"polynode/model/checkpoint"
	"polynode/model/demo"
	"polynode/model/store"
	"polynode/shard/planner"
)

// besideCheckout finds test material that may lie beside the checkout but is not part of it.
func besideCheckout(t *testing.T, parts ...string) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for range 6 {
		dir = filepath.Dir(dir)
		path := filepath.Join(append([]string{dir, "shared", "data"}, parts...)...)
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	t.Skipf("no shared/data/%s beside the checkout", filepath.Join(parts...))
	return ""
}

// startEngineOn runs a node on a checkpoint that has no tokenizer.
func startEngineOn(t *testing.T, folder string) *Node {
	t.Helper()
	source, err := checkpoint.Open(folder)
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	path := filepath.Join(t.TempDir(), "model.pn")
	weights := store.WeightsFunc(func(name model.Name) (store.Rows, error) { return source.Tensor(name) })
	if _, err := store.WriteFile(t.Context(), path, weights, store.Spec{Config: source.Config(), Format: kernels.F32, Label: "test", Tokenizer: anyTokenizer(t)}, nil); err != nil {
		t.Fatal(err)
	}
	m, err := store.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	config := configs.Default()
	config.KVFormat, config.Model, config.Listen, config.HTTP = "f32", "test", "", ""
	models := newModels(config)
	models.open[m.Digest().String()] = opened{m, "test"}
	n, err := startWith(t.Context(), config, slog.New(slog.DiscardHandler), models, planner.Plan)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return n
}

// anyTokenizer is one that a node can start with; the test speaks in ids.
func anyTokenizer(t *testing.T) []byte {
	t.Helper()
	m, err := demo.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	data, err := m.Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func generate(t *testing.T, n *Node, request engine.Request) []int32 {
	t.Helper()
	handle, err := n.serving().engine.Submit(request)
	if err != nil {
		t.Fatal(err)
	}
	var tokens []int32
	for {
		event, err := handle.Next(t.Context())
		if errors.Is(err, io.EOF) {
			return tokens
		}
		if err != nil {
			t.Fatal(err)
		}
		if event.Token >= 0 {
			tokens = append(tokens, event.Token)
		}
	}
}

// Greedy and beam search give the ids that another engine's tests expect of the same checkpoint.
func TestBeamsAgainstAnotherEngine(t *testing.T) {
	folder := besideCheckout(t, "third-party-checkpoints")
	data, err := os.ReadFile(filepath.Join(folder, "reference.json"))
	if err != nil {
		t.Fatal(err)
	}
	var all map[string]json.RawMessage
	var want struct {
		Greedy []struct {
			Prompt []int32 `json:"prompt_ids"`
			IDs    []int32 `json:"ids"`
		}
		Beam4 struct {
			Beams     int     `json:"num_beams"`
			Penalty   float32 `json:"length_penalty"`
			Sequences [][]int32
		}
	}
	if err := errors.Join(json.Unmarshal(data, &all), json.Unmarshal(all["ort-tiny-random-gpt2"], &want)); err != nil {
		t.Fatal(err)
	}
	n := startEngineOn(t, filepath.Join(folder, "ort-tiny-random-gpt2"))
	for _, g := range want.Greedy {
		if got := generate(t, n, engine.Request{Prompt: g.Prompt, MaxTokens: len(g.IDs)}); !slices.Equal(got, g.IDs) {
			t.Errorf("greedy after %v: got %v, want %v", g.Prompt, got, g.IDs)
		}
	}
	for _, sequence := range want.Beam4.Sequences {
		const prompt = 12
		got := generate(t, n, engine.Request{
			Prompt: sequence[:prompt], MaxTokens: len(sequence) - prompt,
			Beams: want.Beam4.Beams, LengthPenalty: want.Beam4.Penalty, StopIDs: []int32{98},
		})
		if !slices.Equal(got, sequence[prompt:]) {
			t.Errorf("beams after %v: got %v, want %v", sequence[:prompt], got, sequence[prompt:])
		}
	}
}
