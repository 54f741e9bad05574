package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"polynode/model/store"
	"polynode/node"
	"polynode/tokenizer"
)

func TestGreeting(t *testing.T) {
	info := node.Info{
		Node: "here", URL: "http://127.0.0.1:8080", Threads: 2, Kernels: "generic", NeedsKey: true, Model: "big", Synthetic: true, Parameters: 13906790400,
		WeightBytes: 7 << 30, Format: "q4", Context: 2048, KVFormat: "f16", KVBytes: 1 << 30, KVTokens: 1296, ExamplePrompt: "Alle Menschen",
	}
	var out bytes.Buffer
	greet(&out, info)
	for _, want := range []string{
		"cluster of one", "big (SYNTHETIC", "13.9 B parameters", "7.0 GiB in q4", "room for 1296 tokens", "context 2048", "page    http://127.0.0.1:8080/\n",
		"curl http://127.0.0.1:8080/v1/completions", "Authorization: Bearer", `"prompt": "Alle Menschen", "max_tokens": 40, "temperature": 0}`,
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the greeting lacks %q:\n%s", want, &out)
		}
	}
	out.Reset()
	info.Synthetic, info.NeedsKey = false, false
	if greet(&out, info); strings.Contains(out.String(), "SYNTHETIC") || strings.Contains(out.String(), "Bearer") {
		t.Errorf("a real model without keys:\n%s", &out)
	}
}

// Made-up weights are called that wherever a model is listed.
func TestSyntheticIsLabelled(t *testing.T) {
	var out bytes.Buffer
	if err := printModels(&out, []modelLine{{Name: "a", Synthetic: true}}); err != nil || !strings.Contains(out.String(), "SYNTHETIC") {
		t.Errorf("%v\n%s", err, &out)
	}
	out.Reset()
	var report node.ImportReport
	report.Manifest.Label, report.Manifest.Synthetic = "a", true
	printReport(&out, report, time.Second)
	if !strings.Contains(out.String(), "SYNTHETIC") {
		t.Errorf("%s", &out)
	}
	line, err := json.Marshal(modelLine{Synthetic: true})
	if err != nil || !strings.Contains(string(line), `"synthetic":true`) {
		t.Errorf("%s, %v", line, err)
	}
}

// A model of which only parts are here says so.
func TestPartialIsLabelled(t *testing.T) {
	var out bytes.Buffer
	lines := modelLines([]node.LibraryEntry{{Present: 12, Total: 100, Manifest: &store.Manifest{Tensors: make([]store.Tensor, 1)}}})
	if err := printModels(&out, lines); err != nil || !strings.Contains(out.String(), "12 % here") {
		t.Errorf("%v\n%s", err, &out)
	}
}

func TestVersionAndCompletion(t *testing.T) {
	out, err := polynode(t, t.TempDir(), "", "version", "--json")
	var info versionInfo
	if err != nil || json.Unmarshal([]byte(out), &info) != nil || info.Kernels == "" || info.Go == "" || info.Version == "" {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := polynode(t, t.TempDir(), "", "version"); err != nil || !strings.HasPrefix(out, "polynode "+info.Version) {
		t.Errorf("%v: %s", err, out)
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if out, err := polynode(t, t.TempDir(), "", "completion", shell); err != nil || !strings.Contains(out, "polynode") {
			t.Errorf("%s: %v", shell, err)
		}
	}
}

func TestBenchPrintsJSON(t *testing.T) {
	if testing.Short() {
		t.Skip("reads half a gigabyte several times")
	}
	out, err := polynode(t, t.TempDir(), "", "bench", "--json", "--prompt", "8", "--output", "4", "--batch", "1,2", "--rounds", "1")
	var result node.BenchResult
	if err != nil || json.Unmarshal([]byte(out), &result) != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if len(result.Runs) != 2 || result.Runs[1].Sequences != 2 || !(result.Runs[0].Decode > 0) || !(result.ReadGBs > 0) || result.Resident == 0 {
		t.Errorf("%+v", result)
	}
}

func TestPromptFromStandardInput(t *testing.T) {
	got, err := polynode(t, t.TempDir(), "Alle Menschen sind frei und\n", "generate", "--max-tokens", "5", "-")
	if want := "Alle Menschen sind frei und gleich an Würde\n"; err != nil || got != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	if got, err := polynode(t, t.TempDir(), "", "generate", "--max-tokens", "0", "Alle"); err != nil || got != "Alle\n" {
		t.Errorf("no tokens wanted: got %q, %v", got, err)
	}
	if _, err := polynode(t, t.TempDir(), strings.Repeat("a", promptMax+1), "generate", "-"); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("a prompt over the limit: %v", err)
	}
}

func TestTokenizerFile(t *testing.T) {
	const text = "Alle Menschen sind frei. 人人生而自由 🙂"
	file := filepath.Join("..", "..", "model", "demo", "checkpoint", "tokenizer.model")
	want, err := polynode(t, t.TempDir(), "", "tokenize", text) // the demo model's own
	if err != nil {
		t.Fatal(err)
	}
	if got, err := polynode(t, t.TempDir(), "", "tokenize", "--tokenizer", file, text); err != nil || got != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	ids := strings.Fields(want)
	args := slices.Concat([]string{"detokenize", "--tokenizer", file}, ids)
	if got, err := polynode(t, t.TempDir(), "", args...); err != nil || got != text+"\n" {
		t.Errorf("got %q, %v", got, err)
	}
	large := filepath.Join(t.TempDir(), "large.model")
	if err := os.WriteFile(large, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(large, 1<<40); err != nil {
		t.Skip("no sparse files here:", err)
	}
	if _, err := polynode(t, t.TempDir(), "", "tokenize", "--tokenizer", large, "x"); err == nil || !strings.Contains(err.Error(), tokenizer.ErrTooLarge.Error()) {
		t.Errorf("a file of a terabyte: %v", err)
	}
}

func TestNullIsNoText(t *testing.T) {
	for _, c := range []struct{ verb, line string }{{"tokenize", "null"}, {"tokenize", "[1]"}, {"detokenize", "null"}, {"detokenize", "[5,null]"}, {"detokenize", `"a"`}} {
		if out, err := polynode(t, t.TempDir(), c.line+"\n", c.verb, "--jsonl"); err == nil || !strings.Contains(err.Error(), "line 1") {
			t.Errorf("%s of %s: %q, %v", c.verb, c.line, out, err)
		}
	}
}
