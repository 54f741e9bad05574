package checkpoint

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"polynode/model"
)

// openTiny writes a variant and opens it.
func openTiny(t testing.TB, v variant) *Checkpoint {
	t.Helper()
	dir := t.TempDir()
	v.write(t, dir)
	return mustOpen(t, dir)
}

func mustOpen(t testing.TB, dir string) *Checkpoint {
	t.Helper()
	c, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// readAll reads a tensor in uneven pieces.
func readAll(t testing.TB, c *Checkpoint, name model.Name) []float32 {
	t.Helper()
	tensor, err := c.Tensor(name)
	if err != nil {
		t.Fatal(err)
	}
	rows, cols := tensor.Shape()
	values := make([]float32, rows*cols)
	for lo, step := 0, 1; lo < rows; step = step*2 + 1 {
		hi := min(lo+step, rows)
		if err := tensor.ReadRows(values[lo*cols:hi*cols], lo, hi); err != nil {
			t.Fatal(err)
		}
		lo = hi
	}
	return values
}

// sameBits compares values bit by bit.
func sameBits(a, b []float32) bool {
	return slices.EqualFunc(a, b, func(x, y float32) bool { return math.Float32bits(x) == math.Float32bits(y) })
}

// checkTiny compares every tensor with what tinyValue says.
func checkTiny(t testing.TB, c *Checkpoint, tied bool) {
	t.Helper()
	want := tiny
	want.TiedHead = tied
	if c.Config() != want {
		t.Errorf("config %+v, want %+v", c.Config(), want)
	}
	for i, spec := range want.Tensors() {
		if spec.Name == model.Head {
			i = ownHead
		}
		tensor, err := c.Tensor(spec.Name)
		if err != nil {
			t.Error(err)
			continue
		}
		if rows, cols := tensor.Shape(); rows != spec.Rows || cols != spec.Cols {
			t.Errorf("%s has shape (%d, %d), want (%d, %d)", spec.Name, rows, cols, spec.Rows, spec.Cols)
			continue
		}
		if got := readAll(t, c, spec.Name); !sameBits(got, tinyValues(i, spec)) {
			t.Errorf("%s has other values than were written", spec.Name)
		}
	}
}

// goodVariants are the ways to publish a model that must all read the same.
var goodVariants = []variant{
	{name: "plain bin", expectTied: true},
	{name: "plain safetensors", safetensors: true, expectTied: true},
	{name: "bf16 bin", dtype: bfloat16, expectTied: true},
	{name: "f16 bin", dtype: float16, expectTied: true},
	{name: "f64 bin", dtype: float64t, expectTied: true},
	{name: "bf16 safetensors", safetensors: true, dtype: bfloat16, expectTied: true},
	{name: "f16 safetensors", safetensors: true, dtype: float16, expectTied: true},
	{name: "transposed views", views: true, expectTied: true},
	{name: "Linear", linear: true, expectTied: true},
	{name: "Linear safetensors", linear: true, safetensors: true, expectTied: true},
	{name: "Linear with transposed views", linear: true, views: true, expectTied: true},
	{name: "masks", masks: true, expectTied: true},
	{name: "masks safetensors", masks: true, safetensors: true, expectTied: true},
	{name: "shared head", head: "shared", expectTied: true},
	{name: "copied head", head: "copy", expectTied: true},
	{name: "copied head safetensors", head: "copy", safetensors: true, expectTied: true},
	{name: "own head", head: "own"},
	{name: "own head safetensors", head: "own", safetensors: true},
	{name: "own head, Linear, one storage", head: "own", linear: true, oneStorage: true},
	{name: "no prefix", bare: true, expectTied: true},
	{name: "no prefix, GPT2Model", bare: true, safetensors: true, expectTied: true,
		config: map[string]any{"architectures": []string{"GPT2Model"}}},
	{name: "shards", shards: 3, expectTied: true},
	{name: "shards, copied head", shards: 4, head: "copy", expectTied: true},
	{name: "shards, own head", shards: 4, head: "own"},
	{name: "one shard", shards: 1, expectTied: true},
	{name: "shards safetensors", shards: 3, safetensors: true, expectTied: true},
	{name: "shards safetensors, copied head", shards: 3, head: "copy", safetensors: true, expectTied: true},
	{name: "one storage", oneStorage: true, masks: true, expectTied: true},
	{name: "ordered dictionary with metadata", pickle: pickleStyle{ordered: true}, expectTied: true},
	{name: "protocol 4", pickle: pickleStyle{protocol: 4, ordered: true}, views: true, expectTied: true},
	{name: "protocol 5", pickle: pickleStyle{protocol: 5}, expectTied: true},
	{name: "parameters", pickle: pickleStyle{parameters: true}, expectTied: true},
	{name: "zip without zip64", zip: zipStyle{narrow: true}, expectTied: true},
	{name: "byte order said", zip: zipStyle{byteorder: "little", folder: "pytorch_model"}, expectTied: true},
	{name: "as PolyLM-1.7B", dtype: bfloat16, views: true, masks: true, head: "shared", expectTied: true},
	{name: "as PolyLM-13B", dtype: bfloat16, views: true, masks: true, head: "copy", shards: 4, expectTied: true},
	{name: "as PolyLM-13B, PolyLMHeadModel and Linear", dtype: bfloat16, linear: true, masks: true, head: "copy", shards: 4, expectTied: true,
		config: map[string]any{"architectures": []string{"PolyLMHeadModel"}, "n_ctx": 16, "eos_token_id": 2, "bos_token_id": nil,
			"auto_map": map[string]string{"AutoModelForCausalLM": "modeling_polylm.PolyLMHeadModel"}}},
	{name: "n_inner null", config: map[string]any{"n_inner": nil}, expectTied: true},
	{name: "harmless flags", config: map[string]any{"reorder_and_upcast_attn": true, "add_cross_attention": false, "pruned_heads": map[string]int{},
		"quantization_config": nil, "tie_word_embeddings": true}, expectTied: true},
	{name: "sizes from the weights", config: map[string]any{"vocab_size": nil, "n_positions": nil}, expectTied: true},
	{name: "n_ctx only", config: map[string]any{"n_ctx": 16, "n_positions": nil}, expectTied: true},
	{name: "no epsilon", config: map[string]any{"layer_norm_epsilon": nil}, expectTied: true},
	{name: "tied false but copied", head: "copy", config: map[string]any{"tie_word_embeddings": false}, expectTied: true},
	{name: "eos list", config: map[string]any{"eos_token_id": []int{39, 2}}, expectTied: true},
	{name: "no eos", config: map[string]any{"eos_token_id": nil}, expectTied: true},
}

// TestVariants opens every variant, with the files mapped and read piece by piece.
func TestVariants(t *testing.T) {
	for _, v := range goodVariants {
		t.Run(v.name, func(t *testing.T) {
			c := openTiny(t, v)
			checkTiny(t, c, v.expectTied)
			for _, file := range c.files {
				if file.data != nil {
					if err := unmapFile(file.data); err != nil {
						t.Fatal(err)
					}
					file.data = nil
				}
			}
			checkTiny(t, c, v.expectTied)
		})
	}
}

// TestFindings looks for what a person must be told.
func TestFindings(t *testing.T) {
	cases := []struct {
		v    variant
		want []string
	}{
		{variant{dtype: bfloat16, views: true, masks: true, head: "shared"}, []string{
			"GPT2LMHeadModel: 2 layers, 2 heads, 8 wide, FFN 32 wide, 40 vocabulary rows, 16 positions, gelu_fast, epsilon 1e-05",
			"weights come from pytorch_model.bin (torch zip pickle", "bfloat16 (28 tensors)",
			"Conv1D, (inputs, outputs); 6 of 8 are views", "shares the storage of wte",
			"ignored: 4 mask buffers (attn.bias, attn.masked_bias)",
			"config.json says eos_token_id 39; texts end with 2 all the same", "no tokenizer.model"}},
		{variant{linear: true, safetensors: true, head: "copy", shards: 2, bare: true}, []string{
			"2 shards, model-00001-of-00002.safetensors to model-00002-of-00002.safetensors",
			"Linear, (outputs, inputs)", "is a copy of wte", "lack the prefix"}},
		{variant{head: "own"}, []string{"differs from wte and is kept", "does not say tie_word_embeddings", "float32 (29 tensors)"}},
		{variant{head: "own", config: map[string]any{"tie_word_embeddings": true}}, []string{"says tie_word_embeddings true"}},
		{variant{head: "copy", config: map[string]any{"tie_word_embeddings": false}}, []string{"says tie_word_embeddings false although"}},
		{variant{config: map[string]any{"n_ctx": 7, "eos_token_id": []int{39, 2}}}, []string{
			"n_ctx 7 beside n_positions 16", "eos_token_id 39 2;", "no lm_head.weight, wte serves"}},
		{variant{config: map[string]any{"architectures": nil, "activation_function": "gelu_pytorch_tanh", "layer_norm_epsilon": nil,
			"eos_token_id": nil}}, []string{"names no architecture", "gelu_new", "no layer_norm_epsilon", "names no eos_token_id"}},
	}
	for _, c := range cases {
		text := strings.Join(openTiny(t, c.v).Findings(), "\n")
		for _, want := range c.want {
			if !strings.Contains(text, want) {
				t.Errorf("findings of %+v lack %q:\n%s", c.v, want, text)
			}
		}
	}
}

// TestEOSThatIsRight says nothing about it.
func TestEOSThatIsRight(t *testing.T) {
	c := openTiny(t, variant{config: map[string]any{"eos_token_id": 2}})
	if text := strings.Join(c.Findings(), "\n"); strings.Contains(text, "eos_token_id") {
		t.Errorf("findings mention eos_token_id:\n%s", text)
	}
}

// TestBothFormats prefers safetensors and says so.
func TestBothFormats(t *testing.T) {
	dir := t.TempDir()
	variant{head: "own"}.write(t, dir)
	variant{safetensors: true}.write(t, dir)
	writeFile(t, dir, "model.safetensors.index.json", []byte("{}"))
	c := mustOpen(t, dir)
	checkTiny(t, c, true)
	text := strings.Join(c.Findings(), "\n")
	for _, want := range []string{"come from model.safetensors", "pytorch_model.bin is there as well", "model.safetensors.index.json is there as well"} {
		if !strings.Contains(text, want) {
			t.Errorf("findings lack %q:\n%s", want, text)
		}
	}
}

// TestTokenizerPath finds the tokenizer and takes its size.
func TestTokenizerPath(t *testing.T) {
	dir := t.TempDir()
	variant{}.write(t, dir)
	if c := mustOpen(t, dir); c.TokenizerPath() != "" {
		t.Errorf("found a tokenizer at %q", c.TokenizerPath())
	}
	writeFile(t, dir, tokenizerFile, []byte("model"))
	c := mustOpen(t, dir)
	if want := filepath.Join(dir, tokenizerFile); c.TokenizerPath() != want {
		t.Errorf("tokenizer at %q, want %q", c.TokenizerPath(), want)
	}
	if c.Config().Pieces != tiny.Vocab {
		t.Errorf("%d pieces before SetPieces, want %d", c.Config().Pieces, tiny.Vocab)
	}
	if err := c.SetPieces(37); err != nil || c.Config().Pieces != 37 {
		t.Errorf("SetPieces(37): %v, pieces %d", err, c.Config().Pieces)
	}
	for _, bad := range []int{0, -1, tiny.Vocab + 1} {
		if err := c.SetPieces(bad); !errors.Is(err, ErrRange) {
			t.Errorf("SetPieces(%d): %v, want ErrRange", bad, err)
		}
	}
}

// TestSmallVocabulary ends texts with the last row if there is no id 2.
func TestSmallVocabulary(t *testing.T) {
	for vocab, want := range map[int]int32{1: 0, 2: 1, 3: 2} {
		small := tiny
		small.Vocab, small.Pieces, small.EOS = vocab, vocab, want
		dir := t.TempDir()
		writeShape(t, dir, small)
		if c := mustOpen(t, dir); c.Config() != small {
			t.Errorf("config %+v, want %+v", c.Config(), small)
		}
	}
}

// writeShape writes a checkpoint of zeros in another shape than tiny's.
func writeShape(t testing.TB, dir string, config model.Config) {
	t.Helper()
	variant{config: map[string]any{"n_layer": config.Layers, "n_head": config.Heads, "n_embd": config.Embed, "n_inner": config.Inner,
		"vocab_size": config.Vocab, "n_positions": config.Positions}}.writeConfig(t, dir)
	var tensors []fileTensor
	for _, spec := range config.Tensors() {
		shape := []int64{int64(spec.Cols), int64(spec.Rows)}
		if spec.Rows == 1 && !spec.Matrix && spec.Name != model.PositionEmbedding {
			shape = shape[:1]
		} else if !spec.Matrix || spec.Name == model.TokenEmbedding {
			slices.Reverse(shape)
		}
		tensors = append(tensors, fileTensor{name: namePrefix + fileName(spec.Name), dtype: float32t, shape: shape,
			data: make([]byte, 4*spec.Rows*spec.Cols)})
	}
	writeFile(t, dir, "model.safetensors", encodeSafetensors(tensors))
}

// TestOddShapes opens networks whose matrices have dimensions of one element or are square.
func TestOddShapes(t *testing.T) {
	for _, change := range []func(*model.Config){
		func(c *model.Config) { c.Embed, c.Heads, c.Inner = 1, 1, 1 },
		func(c *model.Config) { c.Inner = c.Embed },
		func(c *model.Config) { c.Inner = 1 },
		func(c *model.Config) { c.Positions = 1 },
		func(c *model.Config) { c.Positions, c.Vocab, c.Pieces, c.EOS = 1, 1, 1, 0 },
	} {
		config := tiny
		change(&config)
		dir := t.TempDir()
		writeShape(t, dir, config)
		c := mustOpen(t, dir)
		if c.Config() != config {
			t.Errorf("config %+v, want %+v", c.Config(), config)
		}
		for _, spec := range config.Tensors() {
			if got := readAll(t, c, spec.Name); len(got) != spec.Rows*spec.Cols {
				t.Errorf("%s has %d values, want %d", spec.Name, len(got), spec.Rows*spec.Cols)
			}
		}
	}
}

// TestChatHint tells the published models apart.
func TestChatHint(t *testing.T) {
	for _, c := range []struct{ dir, name, want string }{
		{"/m/polylm-13b", "", "plain"},
		{"/m/polylm-chat-13b", "", "chat"},
		{"/m/polylm-multialpaca-13b", "", "multialpaca"},
		{"/m/PolyLM-Assistant-13B", "", "chat"},
		{"/m/nlp_polylm_multialpaca_13b_text_generation", "", "multialpaca"},
		{"/chat/polylm-13b", "", "plain"},
		{"/m/here", "DAMO-NLP-MT/polylm-chat-13b", "chat"},
		{"/m/here", "/home/chat/polylm-multialpaca-13b/", "multialpaca"},
		{"/m/here", "/chat/polylm-13b-fine-grained-shards", "plain"},
		{"/m/polylm-multialpaca-13b", "polylm-chat-13b", "multialpaca"},
		{"/hub/models--DAMO-NLP-MT--polylm-chat-13b/snapshots/0f3a", "", "chat"},
	} {
		if got := chatHint(c.dir, c.name); got != c.want {
			t.Errorf("chatHint(%q, %q) = %q, want %q", c.dir, c.name, got, c.want)
		}
	}
}

// TestSymlinkedFiles opens a folder as the Hugging Face client's cache lays it out.
func TestSymlinkedFiles(t *testing.T) {
	blobs, dir := t.TempDir(), t.TempDir()
	variant{shards: 2}.write(t, blobs)
	entries, err := os.ReadDir(blobs)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if err := os.Symlink(filepath.Join(blobs, entry.Name()), filepath.Join(dir, entry.Name())); err != nil {
			t.Skip("this system makes no symbolic links:", err)
		}
	}
	checkTiny(t, mustOpen(t, dir), true)
}

// TestConcurrentReads reads all tensors from several goroutines while one of them is told
// to close the checkpoint: each read is right or ErrClosed.
func TestConcurrentReads(t *testing.T) {
	c := openTiny(t, variant{shards: 3, head: "own"})
	config := tiny
	config.TiedHead = false
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for i, spec := range config.Tensors() {
				tensor, err := c.Tensor(spec.Name)
				if err != nil {
					t.Error(err)
					return
				}
				if spec.Name == model.Head {
					i = ownHead
				}
				got := make([]float32, spec.Rows*spec.Cols)
				err = tensor.ReadRows(got, 0, spec.Rows)
				if err == nil && !sameBits(got, tinyValues(i, spec)) {
					t.Errorf("%s has other values than were written", spec.Name)
				}
				if err != nil && !errors.Is(err, ErrClosed) {
					t.Error(err)
				}
			}
		})
	}
	readers.Go(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	readers.Wait()
	tensor, err := c.Tensor(model.TokenEmbedding)
	if err != nil {
		t.Fatal(err)
	}
	if err := tensor.ReadRows(make([]float32, tiny.Embed), 0, 1); !errors.Is(err, ErrClosed) {
		t.Errorf("read after Close: %v, want ErrClosed", err)
	}
	if err := c.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

// TestTensorErrors asks for what is not there.
func TestTensorErrors(t *testing.T) {
	c := openTiny(t, variant{head: "copy"})
	for _, name := range []model.Name{model.Head, "h.2.ln_1.bias", "nothing"} {
		if _, err := c.Tensor(name); !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), string(name)) {
			t.Errorf("Tensor(%s): %v, want ErrMissing with the name", name, err)
		}
	}
	tensor, err := c.Tensor(model.TokenEmbedding)
	if err != nil {
		t.Fatal(err)
	}
	if tensor.DType() != "float32" {
		t.Errorf("type %s, want float32", tensor.DType())
	}
	for _, r := range []struct{ lo, hi, n int }{
		{-1, 1, 16}, {0, 41, 41 * 8}, {3, 2, 0}, {40, 41, 8}, {0, 1, 7}, {0, 1, 9}, {0, 2, 8}, {math.MinInt, math.MaxInt, 0},
	} {
		if err := tensor.ReadRows(make([]float32, r.n), r.lo, r.hi); !errors.Is(err, ErrRange) {
			t.Errorf("ReadRows(%d values, %d, %d): %v, want ErrRange", r.n, r.lo, r.hi, err)
		}
	}
	if err := tensor.ReadRows(nil, 40, 40); err != nil {
		t.Errorf("no rows: %v", err)
	}
}

// ExampleOpen shows the whole use of the package.
func ExampleOpen() {
	dir, err := os.MkdirTemp("", "polylm")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	variant{}.write(&testing.T{}, dir)

	checkpoint, err := Open(dir)
	if err != nil {
		panic(err)
	}
	defer checkpoint.Close()
	tensor, err := checkpoint.Tensor(model.FFNUpWeight.Of(1))
	if err != nil {
		panic(err)
	}
	rows, cols := tensor.Shape()
	block := make([]float32, 16*cols)
	if err := tensor.ReadRows(block, 0, 16); err != nil {
		panic(err)
	}
	fmt.Println(rows, cols, tensor.DType())
	// Output: 32 8 float32
}
