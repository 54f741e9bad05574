package store_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"polynode/kernels"
	"polynode/model"
	"polynode/model/checkpoint"
	"polynode/model/store"
)

// childFolder is the environment variable that turns the test binary into an importer.
const childFolder = "STORE_TEST_IMPORT"

// large is big enough that a reader which kept a tensor or the model would show.
func large() model.Config {
	return model.Config{
		Layers: 3, Heads: 16, Embed: 2048, Inner: 8192, Vocab: 48000, Pieces: 48000, Positions: 512,
		Activation: model.GELUFast, Epsilon: 1e-5, EOS: 2, TiedHead: true,
	}
}

// TestImportMemory imports a float32 checkpoint in a process of its own and reads the peak of that process's memory.
// The files are sparse: a checkpoint of zeros takes no room on the disk.
func TestImportMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("imports a checkpoint of 1 GB")
	}
	if _, err := os.Stat("/proc/self/status"); err != nil {
		t.Skip("the system does not tell the peak memory of a process")
	}
	folder := t.TempDir()
	weights := writeZeros(t, folder, large())
	child := exec.Command(os.Args[0], "-test.run=^TestImportMemoryChild$", "-test.v")
	child.Env = append(os.Environ(), childFolder+"="+folder)
	out, err := child.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	_, text, ok := strings.Cut(string(out), "peak ")
	if !ok {
		t.Fatalf("the importer did not tell its peak:\n%s", out)
	}
	peak, err := strconv.ParseInt(strings.Fields(text)[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	// The reader may keep 256 MiB of the mapped checkpoint resident; the rest is the packer's.
	const budget = 416 << 20
	t.Logf("importing %d MiB took at most %d MiB", weights>>20, peak>>20)
	if weights < 2*budget {
		t.Fatalf("a checkpoint of %d bytes proves nothing", weights)
	}
	if peak > budget {
		t.Errorf("peak memory %d bytes, want at most %d", peak, budget)
	}
}

// TestImportMemoryChild is the other process.
func TestImportMemoryChild(t *testing.T) {
	folder := os.Getenv(childFolder)
	if folder == "" {
		t.Skip("only runs as a child of TestImportMemory")
	}
	source, err := checkpoint.Open(folder)
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	dir, err := store.OpenDir(filepath.Join(folder, "store"))
	if err != nil {
		t.Fatal(err)
	}
	weights := store.WeightsFunc(func(n model.Name) (store.Rows, error) { return source.Tensor(n) })
	spec := store.Spec{Config: source.Config(), Format: kernels.Q8, Label: "Zeros"}
	if _, err := dir.Import(context.Background(), weights, spec, store.Options{Name: "zeros"}); err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("peak %d", kb<<10)
}

// writeZeros writes a checkpoint of zeros in the layout of GPT-2 and gives the size of its weights.
func writeZeros(t *testing.T, folder string, c model.Config) int64 {
	t.Helper()
	config := fmt.Sprintf(`{"model_type":"gpt2","architectures":["GPT2LMHeadModel"],"activation_function":"gelu_fast","n_layer":%d,"n_head":%d,"n_embd":%d,"n_inner":%d,"vocab_size":%d,"n_positions":%d,"layer_norm_epsilon":1e-5,"eos_token_id":2}`,
		c.Layers, c.Heads, c.Embed, c.Inner, c.Vocab, c.Positions)
	if err := os.WriteFile(filepath.Join(folder, "config.json"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	type entry struct {
		DType   string   `json:"dtype"`
		Shape   []int    `json:"shape"`
		Offsets [2]int64 `json:"data_offsets"`
	}
	header, at := map[string]entry{}, int64(0)
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
		n := int64(spec.Rows) * int64(spec.Cols) * 4
		header[name] = entry{"F32", shape, [2]int64{at, at + n}}
		at += n
	}
	text, err := json.Marshal(header)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(folder, "model.safetensors")
	head := append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...)
	if err := os.WriteFile(path, head, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, int64(len(head))+at); err != nil {
		t.Fatal(err)
	}
	return at
}
