package checkpoint

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"polynode/model"
)

// hostile is a folder that Open must refuse.
type hostile struct {
	name  string
	make  func(t testing.TB, dir string)
	want  error    // the sentinel
	parts []string // what the message must name
}

// allocationMax bounds what refusing a hostile folder may allocate, in bytes.
const allocationMax = 48 << 20

// checkHostile opens each folder and compares the error.
func checkHostile(t *testing.T, cases []hostile) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			c.make(t, dir)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			opened, err := Open(dir)
			runtime.ReadMemStats(&after)
			if err == nil {
				opened.Close()
				t.Fatalf("opened; findings:\n%s", strings.Join(opened.Findings(), "\n"))
			}
			if !errors.Is(err, c.want) {
				t.Errorf("error %q does not wrap %q", err, c.want)
			}
			text := strings.ReplaceAll(err.Error(), dir, "DIR") // which has the test's name in it
			for _, part := range c.parts {
				if !strings.Contains(text, part) {
					t.Errorf("error %q does not name %q", text, part)
				}
			}
			if len(err.Error()) > 2000 {
				t.Errorf("error of %d bytes", len(err.Error()))
			}
			if spent := after.TotalAlloc - before.TotalAlloc; spent > allocationMax {
				t.Errorf("allocated %d MB before refusing", spent>>20)
			}
		})
	}
	t.Logf("%d hostile cases", len(cases))
}

// broken writes a variant, then puts other bytes in place of one file.
func broken(v variant, name string, data []byte) func(testing.TB, string) {
	return func(t testing.TB, dir string) {
		v.write(t, dir)
		writeFile(t, dir, name, data)
	}
}

// TestHostileFolders refuses folders that are not one.
func TestHostileFolders(t *testing.T) {
	bin, safe := weightKinds[1].single, weightKinds[0].single
	checkHostile(t, []hostile{
		{"empty folder", func(testing.TB, string) {}, ErrFolder, []string{configFile, "missing"}},
		{"no weights", func(t testing.TB, dir string) { variant{}.writeConfig(t, dir) }, ErrFolder, []string{safe, bin}},
		{"config is a folder", func(t testing.TB, dir string) { mkdir(t, dir, configFile) }, ErrFolder, []string{configFile, "regular"}},
		{"weights are a folder", func(t testing.TB, dir string) { variant{}.writeConfig(t, dir); mkdir(t, dir, bin) }, ErrFolder, []string{bin, "regular"}},
		{"index is a folder", func(t testing.TB, dir string) { variant{}.writeConfig(t, dir); mkdir(t, dir, bin+".index.json") }, ErrFolder,
			[]string{bin + ".index.json", "regular"}},
		{"empty config", broken(variant{}, configFile, nil), ErrFormat, []string{configFile, "empty"}},
		{"huge config", broken(variant{}, configFile, bytes.Repeat([]byte(" "), configBytesMax+1)), ErrLimit, []string{configFile}},
		{"empty bin", broken(variant{}, bin, nil), ErrFormat, []string{bin, "empty"}},
		{"empty safetensors beside a good bin", broken(variant{}, safe, nil), ErrFormat, []string{safe, "empty"}},
		{"empty shard", broken(variant{shards: 2}, "pytorch_model-00002-of-00002.bin", nil), ErrFormat, []string{"00002-of-00002.bin", "empty"}},
		{"missing shard", func(t testing.TB, dir string) {
			variant{shards: 2}.write(t, dir)
			if err := os.Remove(filepath.Join(dir, "pytorch_model-00002-of-00002.bin")); err != nil {
				t.Fatal(err)
			}
		}, ErrFolder, []string{"00002-of-00002.bin", "missing"}},
		{"Git LFS pointer for bin", broken(variant{}, bin, []byte("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")), ErrFormat,
			[]string{bin, "Git LFS"}},
		{"Git LFS pointer for safetensors", broken(variant{}, safe, []byte("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")), ErrFormat,
			[]string{safe, "Git LFS"}},
		{"web page for bin", broken(variant{}, bin, []byte("<!doctype html><title>404</title>")), ErrFormat, []string{bin, "not a zip"}},
		{"torch before 1.6", broken(variant{}, bin, append(slices.Clone(legacyTorchStart), make([]byte, 500)...)), ErrUnsupported, []string{bin, "1.6"}},
	})
}

func mkdir(t testing.TB, dir, name string) {
	t.Helper()
	if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
		t.Fatal(err)
	}
}

// TestOpenPath refuses paths that are no folders with the system's reason.
func TestOpenPath(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(filepath.Join(dir, "nowhere")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing folder: %v", err)
	}
	writeFile(t, dir, "file", []byte("x"))
	if _, err := Open(filepath.Join(dir, "file")); !errors.Is(err, ErrFolder) {
		t.Errorf("file instead of a folder: %v", err)
	}
}

// changing writes tiny without some of its tensors or with changed ones.
func changing(v variant, change func(*fileTensor) (keep bool)) func(testing.TB, string) {
	return func(t testing.TB, dir string) {
		v.writeConfig(t, dir)
		var kept []fileTensor
		for _, tensor := range v.tensors() {
			if change(&tensor) {
				kept = append(kept, tensor)
			}
		}
		name := weightKinds[1].single
		if v.safetensors {
			name = weightKinds[0].single
		}
		writeFile(t, dir, name, v.encode(kept))
	}
}

// adding writes tiny with a small tensor more.
func adding(v variant, name string) func(testing.TB, string) {
	return func(t testing.TB, dir string) {
		v.writeConfig(t, dir)
		extra := fileTensor{name: name, dtype: float32t, shape: []int64{8}, stride: []int64{1}, key: "extra", elements: 8, data: make([]byte, 32)}
		writeFile(t, dir, weightKinds[1].single, v.encode(append(v.tensors(), extra)))
	}
}

// reshape makes a contiguous tensor of zeros.
func reshape(tensor *fileTensor, shape ...int64) {
	elements, _ := checkedProduct(shape...)
	tensor.shape, tensor.stride, tensor.elements, tensor.offset = shape, contiguous(shape), elements, 0
	tensor.data = make([]byte, elements*tensor.dtype.size())
}

// TestHostileContent refuses checkpoints whose tensors are not the network's. Each tensor is
// left out once and given another shape once.
func TestHostileContent(t *testing.T) {
	var cases []hostile
	for _, spec := range tiny.Tensors() {
		name := namePrefix + fileName(spec.Name)
		cases = append(cases, hostile{"without " + name, changing(variant{}, func(tensor *fileTensor) bool { return tensor.name != name }),
			ErrMissing, []string{string(spec.Name)}})
		for _, safetensors := range []bool{true, false} {
			v := variant{safetensors: safetensors}
			change := func(change func(*fileTensor)) func(testing.TB, string) {
				return changing(v, func(tensor *fileTensor) bool {
					if tensor.name == name {
						change(tensor)
					}
					return true
				})
			}
			cases = append(cases,
				hostile{"shorter " + name, change(func(tensor *fileTensor) {
					shape := slices.Clone(tensor.shape)
					shape[len(shape)-1]--
					reshape(tensor, shape...)
				}), ErrShape, []string{name}},
				hostile{"deeper " + name, change(func(tensor *fileTensor) { reshape(tensor, append([]int64{1, 1}, tensor.shape...)...) }), ErrShape, []string{name}},
				hostile{"scalar " + name, change(func(tensor *fileTensor) { reshape(tensor, []int64{}...) }), ErrShape, []string{name}},
				hostile{"empty " + name, change(func(tensor *fileTensor) { reshape(tensor, 0) }), ErrShape, []string{name}},
				hostile{"integer " + name, change(func(tensor *fileTensor) { tensor.dtype = int32t }), ErrUnsupported, []string{name, "int32"}})
		}
	}
	bin := weightKinds[1].single
	for _, name := range []string{"transformer.h.0.attn.rotary_emb.inv_freq", "transformer.h.0.crossattention.c_attn.weight", "lm_head.bias", "score.weight",
		"transformer.h.0.attn.c_attn.qweight", "h.0", "h..ln_1.bias", "transformer.h.0.", "transformer.transformer.wte.weight", "model.embed_tokens.weight",
		"transformer.h.2.ln_1.bias", "transformer.h.-1.ln_1.bias", "transformer.h.00.ln_1.bias", "transformer.h.+1.ln_1.bias", "transformer.h.0.attn.bias2",
		"transformer.h.99999999999999999999.ln_1.bias", "wte.weight", "h.1.mlp.c_fc.bias", "\x00", strings.Repeat("x", 1000)} {
		cases = append(cases, hostile{"extra " + name, adding(variant{}, name), ErrUnexpected, []string{bin, show(name)}})
	}
	linear := variant{linear: true}.tensors()
	checkHostile(t, append(cases,
		hostile{"a Linear matrix among Conv1D", changing(variant{}, func(tensor *fileTensor) bool {
			if tensor.name == "transformer.h.1.mlp.c_fc.weight" {
				i := slices.IndexFunc(linear, func(other fileTensor) bool { return other.name == tensor.name })
				tensor.shape, tensor.stride = linear[i].shape, linear[i].stride
			}
			return true
		}), ErrLayout, []string{"h.1.mlp.c_fc.weight", "Linear", "Conv1D", "h.1.attn.c_attn.weight"}},
		hostile{"a view that repeats its storage", changing(variant{}, func(tensor *fileTensor) bool {
			if tensor.name == "transformer.wte.weight" {
				tensor.stride, tensor.elements, tensor.data = []int64{0, 1}, 8, make([]byte, 32)
			}
			return true
		}), ErrFormat, []string{"transformer.wte.weight", "repeats"}},
		hostile{"head of another shape", changing(variant{head: "own"}, func(tensor *fileTensor) bool {
			if tensor.name == headName {
				reshape(tensor, 40, 7)
			}
			return true
		}), ErrShape, []string{headName}},
		hostile{"head of integers", changing(variant{head: "own"}, func(tensor *fileTensor) bool {
			if tensor.name == headName {
				tensor.dtype = int32t
			}
			return true
		}), ErrUnsupported, []string{headName}},
		hostile{"no head although untied", variant{config: map[string]any{"tie_word_embeddings": false}}.write, ErrMissing,
			[]string{headName, "tie_word_embeddings"}},
		hostile{"fewer layers than weights", variant{config: map[string]any{"n_layer": 1}}.write, ErrUnexpected, []string{"h.1.", "n_layer 1"}},
		hostile{"more layers than weights", variant{config: map[string]any{"n_layer": 3}}.write, ErrMissing, []string{"h.2."}},
		hostile{"another vocabulary", variant{config: map[string]any{"vocab_size": 41}}.write, ErrShape, []string{"wte.weight", "[40 8]", "[41 8]"}},
		hostile{"more positions", variant{config: map[string]any{"n_positions": 17}}.write, ErrShape, []string{"wpe.weight"}},
		hostile{"another width", variant{config: map[string]any{"n_embd": 16, "n_inner": 32}}.write, ErrShape, nil},
		hostile{"another inner width", variant{config: map[string]any{"n_inner": 33}}.write, ErrShape, []string{"mlp.c_fc.weight"}},
		hostile{"the largest network there is", variant{config: map[string]any{"n_layer": model.LayersMax, "n_embd": model.EmbedMax, "n_inner": model.InnerMax,
			"vocab_size": model.VocabMax, "n_positions": model.PositionsMax}}.write, ErrMissing, nil},
	))
}

// TestHostileSafetensors refuses headers that lie.
func TestHostileSafetensors(t *testing.T) {
	name := weightKinds[0].single
	file := func(data []byte) func(testing.TB, string) { return broken(variant{safetensors: true}, name, data) }
	header := func(text string, n int) func(testing.TB, string) { return file(safetensorsFile(text, make([]byte, n))) }
	good := variant{safetensors: true}.encode(variant{safetensors: true}.tensors())
	a := `"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}`
	huge := bytes.Repeat([]byte{0xff}, 100)
	cases := []hostile{
		{"7 bytes", file(good[:7]), ErrFormat, []string{"too short"}},
		{"8 bytes", file(good[:8]), ErrFormat, []string{"truncated"}},
		{"half", file(good[:len(good)/2]), ErrFormat, []string{"truncated"}},
		{"one byte short", file(good[:len(good)-1]), ErrFormat, []string{"truncated"}},
		{"one byte long", file(append(slices.Clone(good), 0)), ErrFormat, []string{"after the last"}},
		{"header of 2^64-1", file(huge), ErrLimit, []string{"header"}},
		{"header over the limit", file(append([]byte{0x01, 0xe1, 0xf5, 0x05, 0, 0, 0, 0}, huge...)), ErrLimit, []string{"100000001"}},
		{"header at the limit in a short file", file(append([]byte{0x00, 0xe1, 0xf5, 0x05, 0, 0, 0, 0}, huge...)), ErrFormat, []string{"truncated"}},
		{"empty header", header("", 0), ErrFormat, []string{"header"}},
		{"header of an array", header("[]", 0), ErrFormat, []string{"header"}},
		{"header after a space", header(" {}", 0), ErrFormat, []string{"header"}},
		{"broken header", header(`{"a":{"dtype":`, 8), ErrFormat, []string{"header", "too early"}},
		{"text after the header", header("{"+a+"} x", 8), ErrFormat, []string{"follows"}},
		{"no tensors", header("{}", 0), ErrMissing, nil},
		{"the same name twice", header("{"+a+","+a+"}", 8), ErrFormat, []string{`"a"`, "twice"}},
		{"the same field twice", header(`{"a":{"dtype":"F32","shape":[2],"shape":[2],"data_offsets":[0,8]}}`, 8), ErrFormat, []string{`"a"`, `"shape"`}},
		{"unknown field", header(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"stride":[1]}}`, 8), ErrFormat, []string{`"a"`, `"stride"`}},
		{"unknown type", header(`{"a":{"dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8]}}`, 8), ErrUnsupported, []string{`"a"`, "F8_E4M3"}},
		{"no type", header(`{"a":{"shape":[2],"data_offsets":[0,8]}}`, 8), ErrFormat, []string{`"a"`, "dtype"}},
		{"null type", header(`{"a":{"dtype":null,"shape":[2],"data_offsets":[0,8]}}`, 8), ErrFormat, []string{`"a"`, "dtype"}},
		{"no shape", header(`{"a":{"dtype":"F32","data_offsets":[0,8]}}`, 8), ErrFormat, []string{`"a"`, "shape"}},
		{"one offset", header(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0]}}`, 8), ErrFormat, []string{`"a"`, "data_offsets"}},
		{"three offsets", header(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8,8]}}`, 8), ErrFormat, []string{`"a"`, "data_offsets"}},
		{"negative offset", header(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[-8,0]}}`, 8), ErrFormat, []string{`"a"`}},
		{"reversed offsets", header(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}`, 8), ErrFormat, []string{`"a"`}},
		{"offsets of 2^64", header(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[18446744073709551608,18446744073709551616]}}`, 8), ErrFormat, []string{`"a"`}},
		{"fractional shape", header(`{"a":{"dtype":"F32","shape":[2.5],"data_offsets":[0,10]}}`, 10), ErrFormat, []string{`"a"`, "shape"}},
		{"negative shape", header(`{"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}`, 8), ErrFormat, []string{`"a"`, "negative"}},
		{"shape that overflows to 8 bytes", header(`{"a":{"dtype":"F32","shape":[4294967296,4294967296,2],"data_offsets":[0,8]}}`, 8), ErrFormat, []string{`"a"`}},
		{"dimension over the limit", header(`{"a":{"dtype":"F32","shape":[9223372036854775807],"data_offsets":[0,8]}}`, 8), ErrLimit, []string{`"a"`}},
		{"nine dimensions", header(`{"a":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,2],"data_offsets":[0,8]}}`, 8), ErrLimit, []string{`"a"`, "9 dimensions"}},
		{"a million dimensions", header(`{"a":{"dtype":"F32","shape":[1`+strings.Repeat(",1", 1<<20)+`],"data_offsets":[0,8]}}`, 8), ErrLimit, []string{`"a"`}},
		{"shape unlike the offsets", header(`{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}`, 8), ErrFormat, []string{`"a"`}},
		{"overlap", header(`{`+a+`,"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}`, 12), ErrFormat, []string{`"b"`, "overlaps"}},
		{"the same bytes twice", header(`{`+a+`,"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, 8), ErrFormat, []string{"overlaps"}},
		{"gap", header(`{`+a+`,"b":{"dtype":"F32","shape":[1],"data_offsets":[12,16]}}`, 16), ErrFormat, []string{`"b"`, "unused"}},
		{"outside the file", header(`{`+a+`,"b":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}`, 12), ErrFormat, []string{`"b"`, "truncated"}},
		{"far outside the file", header(`{"a":{"dtype":"U8","shape":[281474976710656],"data_offsets":[0,281474976710656]}}`, 8), ErrFormat, []string{`"a"`}},
		{"no name", header(`{"":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, 8), ErrLimit, nil},
		{"a tensor described at length", header(`{"a":{"dtype":"F32","shape":[2`+strings.Repeat(" ", tensorInfoBytesMax)+`],"data_offsets":[0,8]}}`, 8), ErrLimit,
			[]string{`"a"`, "described in"}},
		{"long name", header(`{"`+strings.Repeat("n", nameBytesMax+1)+`":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, 8), ErrLimit, nil},
		{"not an object", header(`{"a":7}`, 8), ErrFormat, []string{`"a"`}},
		{"too many tensors", header("{"+manyFields(tensorsMax+1, `{"dtype":"F32","shape":[0],"data_offsets":[0,0]}`)+"}", 0), ErrLimit, []string{"tensors"}},
		{"deep nesting", header(`{"a":`+strings.Repeat("[", 1<<20), 0), ErrFormat, nil},
	}
	for i := range cases {
		if cases[i].want != ErrMissing {
			cases[i].parts = append(cases[i].parts, name)
		}
	}
	checkHostile(t, cases)
}

// manyFields writes n members of a JSON object with the same value.
func manyFields(n int, value string) string {
	var out strings.Builder
	for i := range n {
		if i > 0 {
			out.WriteByte(',')
		}
		fmt.Fprintf(&out, `"n%d":%s`, i, value)
	}
	return out.String()
}

// TestHostileIndex refuses indexes that lead elsewhere or contradict the shards.
func TestHostileIndex(t *testing.T) {
	name := weightKinds[1].index
	v := variant{shards: 2}
	index := func(text string) func(testing.TB, string) { return broken(v, name, []byte(text)) }
	one := "pytorch_model-00001-of-00002.bin"
	two := "pytorch_model-00002-of-00002.bin"
	cases := []hostile{
		{"empty index", index(""), ErrFormat, []string{"empty"}},
		{"not JSON", index("weights"), ErrFormat, nil},
		{"cut off", index(`{"weight_map":{"a":"x.bin"`), ErrFormat, []string{"too early"}},
		{"an array", index(`[]`), ErrFormat, nil},
		{"no map", index(`{"metadata":{}}`), ErrIndex, []string{"weight_map"}},
		{"empty map", index(`{"weight_map":{}}`), ErrIndex, []string{"weight_map"}},
		{"map of an array", index(`{"weight_map":[]}`), ErrFormat, nil},
		{"number for a file", index(`{"weight_map":{"a":1}}`), ErrIndex, []string{`"a"`}},
		{"the same tensor twice", index(`{"weight_map":{"a":"x.bin","a":"y.bin"}}`), ErrFormat, []string{`"a"`, "twice"}},
		{"the map twice", index(`{"weight_map":{"a":"x.bin"},"weight_map":{"a":"y.bin"}}`), ErrFormat, []string{"weight_map", "twice"}},
		{"no tensor name", index(`{"weight_map":{"":"x.bin"}}`), ErrLimit, nil},
		{"too many tensors", index(`{"weight_map":{` + manyFields(tensorsMax+1, `"x.bin"`) + `}}`), ErrLimit, []string{"tensors"}},
		{"huge index", index(strings.Repeat(" ", indexBytesMax+1)), ErrLimit, nil},
		{"missing shard", index(`{"weight_map":{"a":"x.bin"}}`), ErrFolder, []string{"x.bin"}},
		{"tensor that its shard lacks", index(fmt.Sprintf(`{"weight_map":{"ghost":%q,"transformer.wte.weight":%q}}`, two, one)), ErrIndex, []string{two, "ghost"}},
		{"tensor in the other shard", index(fmt.Sprintf(`{"weight_map":{"transformer.wte.weight":%q,"transformer.wpe.weight":%q}}`, two, one)), ErrIndex,
			[]string{"wte.weight", one, two}},
		{"tensor in both shards", func(t testing.TB, dir string) {
			v.write(t, dir)
			writeFile(t, dir, two, v.encode(v.tensors()))
		}, ErrIndex, []string{one, two}},
		{"head in both shards, not in the index", func(t testing.TB, dir string) {
			v := variant{shards: 2, head: "own"}
			v.write(t, dir)
			all := v.tensors()
			head := all[len(all)-1]
			writeFile(t, dir, one, v.encode(append(all[:14], head)))
			place := map[string]string{}
			for i, tensor := range all[:len(all)-1] {
				place[tensor.name] = []string{one, two}[i/14]
			}
			writeFile(t, dir, two, v.encode(append(v.tensors()[14:28], head)))
			writeJSON(t, dir, name, map[string]any{"weight_map": place})
		}, ErrIndex, []string{one, two, headName}},
		{"shard left out of the index", index(fmt.Sprintf(`{"weight_map":{"transformer.wte.weight":%q}}`, one)), ErrMissing, nil},
	}
	var many []string
	for i := range shardsMax + 1 {
		many = append(many, fmt.Sprintf(`"t%d":"s%d.bin"`, i, i))
	}
	cases = append(cases, hostile{"too many shards", index(`{"weight_map":{` + strings.Join(many, ",") + `}}`), ErrLimit, []string{"files"}})
	for _, path := range []string{"../config.json", "/etc/passwd", "a/b.bin", `a\\b.bin`, `C:\\x.bin`, "c:x.bin", "", ".", "..", "./x.bin", ".hidden", "x\\u0000.bin",
		"x.bin/..", "~/x.bin", "x.bin\\n", "\\u202ex.bin", strings.Repeat("x", 256), "//server/share/x", "%2e%2e/x", "x:stream"} {
		cases = append(cases, hostile{"file " + path, index(`{"weight_map":{"a":"` + path + `"}}`), ErrIndex, []string{`"a"`, "plain name"}})
	}
	for i := range cases {
		switch cases[i].want {
		case ErrFormat, ErrLimit:
			cases[i].parts = append(cases[i].parts, name)
		}
	}
	checkHostile(t, cases)
}

// TestHostileConfig refuses configurations that are broken or of another network.
func TestHostileConfig(t *testing.T) {
	text := func(text string) func(testing.TB, string) { return broken(variant{}, configFile, []byte(text)) }
	cases := []hostile{
		{"not JSON", text("model: gpt2"), ErrFormat, nil},
		{"cut off", text(`{"n_embd": 8,`), ErrFormat, []string{"too early"}},
		{"an array", text(`[{}]`), ErrFormat, nil},
		{"null", text(`null`), ErrFormat, nil},
		{"two objects", text(`{}{}`), ErrFormat, nil},
		{"a field twice", text(`{"n_layer":2,"n_layer":3}`), ErrFormat, []string{"n_layer", "twice"}},
		{"empty object", text(`{}`), ErrConfig, []string{"architectures"}},
		{"deep nesting", text(`{"a":` + strings.Repeat(`{"a":`, 1<<17)), ErrFormat, nil},
	}
	for _, field := range []struct {
		name string
		bad  []any
		want error
	}{
		{"n_layer", []any{nil, 0, -1, 1.5, "2", true, []int{2}, model.LayersMax + 1, 1e30, math.MaxInt64}, ErrConfig},
		{"n_head", []any{nil, 0, -1, 3, 16, "2", model.EmbedMax + 1}, ErrConfig},
		{"n_embd", []any{nil, 0, -8, 9.5, "8", model.EmbedMax + 1}, ErrConfig},
		{"n_inner", []any{0, -1, "4", model.InnerMax + 1}, ErrConfig},
		{"vocab_size", []any{0, -1, "40", model.VocabMax + 1}, ErrConfig},
		{"n_positions", []any{0, -1, "16", model.PositionsMax + 1}, ErrConfig},
		{"n_ctx", []any{0, -1, "16"}, ErrConfig},
		{"layer_norm_epsilon", []any{0, -1e-5, 1, 1e-60, "1e-5", []float64{1e-5}}, ErrConfig},
		{"activation_function", []any{"relu", "gelu_10", "swish", "", "gelu_fast ", "tanh"}, ErrUnsupported},
		{"activation_function", []any{1, []string{"gelu"}}, ErrConfig},
		{"architectures", []any{[]string{"LlamaForCausalLM"}, []string{"GPT2LMHeadModel", "GPT2ForSequenceClassification"}}, ErrUnsupported},
		{"architectures", []any{"GPT2LMHeadModel", []int{1}}, ErrConfig},
		{"model_type", []any{"llama", "gpt_neo", ""}, ErrUnsupported},
		{"model_type", []any{7}, ErrConfig},
		{"scale_attn_weights", []any{false, 0, "true"}, ErrUnsupported},
		{"scale_attn_by_inverse_layer_idx", []any{true, 1}, ErrUnsupported},
		{"add_cross_attention", []any{true}, ErrUnsupported},
		{"is_encoder_decoder", []any{true}, ErrUnsupported},
		{"pruned_heads", []any{map[string][]int{"0": {1}}}, ErrUnsupported},
		{"quantization_config", []any{map[string]any{"quant_method": "gptq"}}, ErrUnsupported},
		{"tie_word_embeddings", []any{"no", 0}, ErrConfig},
		{"eos_token_id", []any{"</s>", 2.5, []string{"2"}}, ErrConfig},
		{"_name_or_path", []any{7}, ErrConfig},
	} {
		for _, value := range field.bad {
			v := variant{config: map[string]any{field.name: value}}
			cases = append(cases, hostile{fmt.Sprintf("%s %v", field.name, value), v.write, field.want, []string{field.name}})
		}
	}
	for i := range cases {
		cases[i].parts = append(cases[i].parts, configFile)
	}
	checkHostile(t, cases)
}
