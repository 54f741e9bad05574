package checkpoint

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"polynode/model"
)

// tiny is the network of the tests' checkpoints.
var tiny = model.Config{
	Layers: 2, Heads: 2, Embed: 8, Inner: 32, Vocab: 40, Pieces: 40, Positions: 16,
	Activation: model.GELUFast, Epsilon: 1e-5, EOS: 2, TiedHead: true,
}

// tinyValue is element j of tensor i of tiny, in the order of Tensors. All values are exact
// in every float type. testdata/make.py has the same formula.
func tinyValue(i, j int) float32 { return float32((i*131+j*37)%255-127) / 64 }

// ownHead is the index that a head of its own has in tinyValue.
const ownHead = 1000

// tinyValues gives the logical content of one tensor, (rows, cols) row-major.
func tinyValues(i int, spec model.TensorSpec) []float32 {
	values := make([]float32, spec.Rows*spec.Cols)
	for j := range values {
		values[j] = tinyValue(i, j)
	}
	return values
}

// variant says how to write tiny down.
type variant struct {
	name        string
	safetensors bool
	shards      int    // 0 for a single file without an index
	dtype       dtype  // float32 if none
	linear      bool   // layer matrices as (outputs, inputs)
	views       bool   // all layer matrices but c_attn as transposed views
	masks       bool   // attn.bias and attn.masked_bias in each layer
	head        string // "", "shared", "copy" or "own"
	bare        bool   // no name prefix
	oneStorage  bool   // every tensor is a view into one storage
	expectTied  bool
	pickle      pickleStyle
	zip         zipStyle
	config      map[string]any // overrides; nil deletes
}

// fileTensor is a tensor as a file has it.
type fileTensor struct {
	name          string
	dtype         dtype
	shape, stride []int64
	key           string // of its storage
	offset        int64
	elements      int64  // of its storage
	data          []byte // the storage's bytes
}

// write puts a checkpoint of tiny into dir.
func (v variant) write(t testing.TB, dir string) {
	t.Helper()
	v.writeConfig(t, dir)
	tensors := v.tensors()
	kind := weightKinds[0]
	if !v.safetensors {
		kind = weightKinds[1]
	}
	if v.shards == 0 {
		writeFile(t, dir, kind.single, v.encode(tensors))
		return
	}
	place := map[string]string{}
	per := (len(tensors) + v.shards - 1) / v.shards
	for shard := range v.shards {
		part := tensors[min(shard*per, len(tensors)):min((shard+1)*per, len(tensors))]
		name := fmt.Sprintf("pytorch_model-%05d-of-%05d.bin", shard+1, v.shards)
		if v.safetensors {
			name = fmt.Sprintf("model-%05d-of-%05d.safetensors", shard+1, v.shards)
		}
		for _, tensor := range part {
			place[tensor.name] = name
		}
		writeFile(t, dir, name, v.encode(part))
	}
	writeJSON(t, dir, kind.index, map[string]any{"metadata": map[string]any{"total_size": 1}, "weight_map": place})
}

func (v variant) encode(tensors []fileTensor) []byte {
	if v.safetensors {
		return encodeSafetensors(tensors)
	}
	return encodeTorch(tensors, v.pickle, v.zip)
}

// tinyConfig is the config.json of a published model, for tiny.
func tinyConfig() map[string]any {
	return map[string]any{
		"activation_function": "gelu_fast", "architectures": []string{"GPT2LMHeadModel"},
		"attn_pdrop": 0.0, "bos_token_id": 39, "eos_token_id": 39, "embd_pdrop": 0.0, "initializer_range": 0.02,
		"layer_norm_epsilon": 1e-05, "model_type": "gpt2", "n_embd": tiny.Embed, "n_head": tiny.Heads, "n_inner": tiny.Inner,
		"n_layer": tiny.Layers, "n_positions": tiny.Positions, "reorder_and_upcast_attn": false, "resid_pdrop": 0.0,
		"scale_attn_by_inverse_layer_idx": false, "scale_attn_weights": true, "summary_activation": nil,
		"tokenizer_class": "AutoTokenizer", "transformers_version": "4.31.0", "use_cache": true, "vocab_size": tiny.Vocab,
	}
}

func (v variant) writeConfig(t testing.TB, dir string) {
	t.Helper()
	config := tinyConfig()
	for key, value := range v.config {
		if config[key] = value; value == nil {
			delete(config, key)
		}
	}
	writeJSON(t, dir, configFile, config)
}

// tensors writes every tensor of tiny as the variant wants it, in the order of torch's files.
func (v variant) tensors() []fileTensor {
	var all []fileTensor
	kind := v.dtype
	if kind == dtypeNone {
		kind = float32t
	}
	prefix := namePrefix
	if v.bare {
		prefix = ""
	}
	for i, spec := range tiny.Tensors() {
		values := tinyValues(i, spec)
		inLayer := spec.Matrix && spec.Name != model.TokenEmbedding
		transposed := inLayer && !v.linear
		view := v.views && inLayer && !(bytes.HasSuffix([]byte(spec.Name), []byte(model.QKVWeight)))
		tensor := layDown(kind, values, spec.Rows, spec.Cols, transposed, view)
		tensor.name = prefix + fileName(spec.Name)
		if spec.Rows == 1 && !spec.Matrix {
			tensor.shape, tensor.stride = tensor.shape[1:], tensor.stride[1:]
		}
		all = append(all, tensor)
	}
	if v.masks {
		all = append(all, maskTensors(prefix)...)
	}
	all = append(all, v.headTensors(all[0])...)
	for i := range all {
		if all[i].key == "" {
			all[i].key = fmt.Sprint(i)
		}
	}
	if v.oneStorage {
		joinStorages(all)
	}
	return all
}

// fileName is the name that transformers gives to a tensor, without the prefix.
func fileName(name model.Name) string {
	if name == model.TokenEmbedding || name == model.PositionEmbedding {
		return string(name) + ".weight"
	}
	return string(name)
}

// layDown stores a logical (rows, cols) matrix: transposed says that its shape is (cols,
// rows), view that its bytes lie the other way round than its shape says.
func layDown(kind dtype, values []float32, rows, cols int, transposed, view bool) fileTensor {
	across := make([]float32, len(values))
	for r := range rows {
		for c := range cols {
			across[c*rows+r] = values[r*cols+c]
		}
	}
	data := values
	if transposed != view {
		data = across
	}
	tensor := fileTensor{dtype: kind, data: encode(kind, data), elements: int64(len(values))}
	tensor.shape = []int64{int64(rows), int64(cols)}
	if transposed {
		slices.Reverse(tensor.shape)
	}
	tensor.stride = contiguous(tensor.shape)
	if view {
		tensor.stride = []int64{1, tensor.shape[0]}
	}
	return tensor
}

// maskTensors are the buffers that older files carry in each layer.
func maskTensors(prefix string) []fileTensor {
	var masks []fileTensor
	for layer := range tiny.Layers {
		n := int64(tiny.Positions)
		shape := []int64{1, 1, n, n}
		masks = append(masks,
			fileTensor{name: fmt.Sprintf("%sh.%d.attn.bias", prefix, layer), dtype: uint8t, shape: shape, stride: contiguous(shape),
				elements: n * n, data: bytes.Repeat([]byte{1}, int(n*n))},
			fileTensor{name: fmt.Sprintf("%sh.%d.attn.masked_bias", prefix, layer), dtype: bfloat16, shape: []int64{}, stride: []int64{},
				elements: 1, data: encode(bfloat16, []float32{-1e4})})
	}
	return masks
}

func (v variant) headTensors(wte fileTensor) []fileTensor {
	head := wte
	head.name = headName
	switch v.head {
	case "shared":
		head.key = "0" // wte is the first tensor
	case "copy":
	case "own":
		spec := model.TensorSpec{Rows: tiny.Vocab, Cols: tiny.Embed}
		head.data = encode(wte.dtype, tinyValues(ownHead, spec))
	default:
		return nil
	}
	return []fileTensor{head}
}

// joinStorages makes all tensors of the commonest type views into one storage.
func joinStorages(all []fileTensor) {
	var joined []byte
	kind := all[0].dtype
	for i := range all {
		if all[i].dtype == kind {
			all[i].offset = int64(len(joined)) / kind.size()
			joined = append(joined, all[i].data...)
			all[i].key = "all"
		}
	}
	for i := range all {
		if all[i].key == "all" {
			all[i].data, all[i].elements = joined, int64(len(joined))/kind.size()
		}
	}
}

// encode writes values that the type holds exactly.
func encode(kind dtype, values []float32) []byte {
	var out []byte
	for _, value := range values {
		bits := math.Float32bits(value)
		switch kind {
		case bfloat16:
			out = binary.LittleEndian.AppendUint16(out, uint16(bits>>16))
		case float16:
			out = binary.LittleEndian.AppendUint16(out, toHalf(value))
		case float32t:
			out = binary.LittleEndian.AppendUint32(out, bits)
		case float64t:
			out = binary.LittleEndian.AppendUint64(out, math.Float64bits(float64(value)))
		default:
			panic("no float type")
		}
	}
	return out
}

// toHalf writes a value that is exact as a normal half, or zero.
func toHalf(value float32) uint16 {
	bits := math.Float32bits(value)
	sign := uint16(bits >> 16 & 0x8000)
	if value == 0 {
		return sign
	}
	return sign | uint16(int(bits>>23&0xff)-127+15)<<10 | uint16(bits>>13&0x3ff)
}

// encodeSafetensors writes contiguous tensors one after the other.
func encodeSafetensors(tensors []fileTensor) []byte {
	header := map[string]any{"__metadata__": map[string]string{"format": "pt"}}
	var data []byte
	for _, tensor := range tensors {
		header[tensor.name] = map[string]any{
			"dtype": dtypes[tensor.dtype].safetensors, "shape": tensor.shape,
			"data_offsets": []int{len(data), len(data) + len(tensor.data)},
		}
		data = append(data, tensor.data...)
	}
	text, err := json.Marshal(header)
	if err != nil {
		panic(err)
	}
	return safetensorsFile(string(text), data)
}

// safetensorsFile puts the length before a header and data after it.
func safetensorsFile(header string, data []byte) []byte {
	out := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	out = append(out, header...)
	return append(out, data...)
}

func writeJSON(t testing.TB, dir, name string, value any) {
	t.Helper()
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, dir, name, text)
}

func writeFile(t testing.TB, dir, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
		t.Fatal(err)
	}
}
