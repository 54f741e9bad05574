package node

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"polynode/configs"
	"polynode/kernels"
	"polynode/model"
)

// writeZeros writes a checkpoint of zeros with the demo model's tokenizer and more rows of vocabulary than that has pieces.
func writeZeros(t *testing.T, folder string, vocab int) {
	t.Helper()
	c := model.Config{Layers: 1, Heads: 1, Embed: 32, Inner: 64, Vocab: vocab, Pieces: vocab, Positions: 16,
		Activation: model.GELUFast, Epsilon: 1e-5, EOS: 2, TiedHead: true}
	header, at := map[string]any{}, 0
	for _, spec := range c.Tensors() {
		name, shape := "transformer."+string(spec.Name), []int{spec.Rows, spec.Cols}
		switch {
		case spec.Name == model.TokenEmbedding || spec.Name == model.PositionEmbedding:
			name += ".weight"
		case spec.Matrix:
			shape = []int{spec.Cols, spec.Rows} // Conv1D
		default:
			shape = []int{spec.Cols}
		}
		size := 4 * spec.Rows * spec.Cols
		header[name] = map[string]any{"dtype": "F32", "shape": shape, "data_offsets": []int{at, at + size}}
		at += size
	}
	text, err := json.Marshal(header)
	if err != nil {
		t.Fatal(err)
	}
	weights := append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...)
	pieces, err := os.ReadFile(filepath.Join("..", "model", "demo", "checkpoint", "tokenizer.model"))
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"model.safetensors": append(weights, make([]byte, at)...), "tokenizer.model": pieces,
		"config.json": fmt.Appendf(nil, `{"architectures":["GPT2LMHeadModel"],"model_type":"gpt2","activation_function":"gelu_fast","n_layer":1,"n_head":1,
			"n_embd":32,"n_inner":64,"vocab_size":%d,"n_positions":16,"layer_norm_epsilon":1e-5,"bos_token_id":255999,"eos_token_id":%d}`, vocab, vocab-1),
	} {
		if err := os.WriteFile(filepath.Join(folder, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// A vocabulary that was padded has rows without a piece: they are counted out at import, and the last of them is no end of
// text although the published configuration says so.
func TestImportKnowsHowManyPiecesThereAre(t *testing.T) {
	const pieces, vocab = 4096, 4110
	library, err := OpenLibrary(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer library.Close()
	folder := t.TempDir()
	writeZeros(t, folder, vocab)
	for eos, want := range map[int]int32{-1: 2, 77: 77} {
		var findings []string
		options := ImportOptions{Name: fmt.Sprintf("eos%d", eos), Format: kernels.Q8, EOS: eos, Found: func(f []string) { findings = f }}
		report, err := library.Import(t.Context(), folder, options)
		if err != nil {
			t.Fatal(err)
		}
		if c := report.Manifest.Config; c.Pieces != pieces || c.Vocab != vocab || c.EOS != want {
			t.Errorf("--eos %d: config %+v, want %d pieces of %d rows and end %d", eos, c, pieces, vocab, want)
		}
		text := strings.Join(findings, "\n")
		for _, part := range []string{"SentencePiece bpe", "4096 pieces", "last 14 rows", "eos_token_id 4109"} {
			if !strings.Contains(text, part) {
				t.Errorf("the findings lack %q:\n%s", part, text)
			}
		}
	}
}

// --eos of a node wins over what the model says.
func TestEOSOfTheSettings(t *testing.T) {
	ask := func(n *Node) string {
		response, err := n.Client().Post("http://localhost/v1/completions", "application/json",
			strings.NewReader(`{"prompt": "Alle Menschen sind frei und", "max_tokens": 30, "temperature": 0, "return_token_ids": true}`))
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		var answer struct {
			Choices []struct {
				Text   string
				Finish string  `json:"finish_reason"`
				IDs    []int32 `json:"token_ids"`
			}
		}
		if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || len(answer.Choices) != 1 || len(answer.Choices[0].IDs) < 3 {
			t.Fatalf("%v: %+v", err, answer)
		}
		return fmt.Sprint(answer.Choices[0].IDs[2], len(answer.Choices[0].IDs), answer.Choices[0].Finish)
	}
	var third, tokens int
	var finish string
	if _, err := fmt.Sscan(ask(start(t, nil)), &third, &tokens, &finish); err != nil || tokens <= 3 {
		t.Fatalf("%v: %d tokens", err, tokens)
	}
	got := ask(start(t, func(c *configs.Config) { c.EOS = third }))
	if want := fmt.Sprint(third, 3, "stop"); got != want {
		t.Errorf("with the third token as the end: %s, want %s", got, want)
	}
}

// The format of conversations is what the folder's name says, unless the import says otherwise.
func TestImportChoosesTheChatFormat(t *testing.T) {
	library, err := OpenLibrary(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer library.Close()
	folder := filepath.Join("..", "model", "demo", "checkpoint")
	for wanted, want := range map[string]string{"": "plain", "chat": "chat", "multialpaca": "multialpaca"} {
		options := ImportOptions{Name: "m" + wanted, Format: kernels.Q4, EOS: -1, Chat: wanted}
		report, err := library.Import(t.Context(), folder, options)
		if err != nil || report.Manifest.Chat != want {
			t.Errorf("wanted %q: format %q, %v; want %q", wanted, report.Manifest.Chat, err, want)
		}
	}
	if _, err := library.Import(t.Context(), folder, ImportOptions{Name: "x", Format: kernels.Q4, EOS: -1, Chat: "llama"}); err == nil {
		t.Error("a format that does not exist was accepted")
	}
}
