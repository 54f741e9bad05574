package checkpoint

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// inputErrors are the sentinels with which bad bytes may be refused.
var inputErrors = []error{ErrConfig, ErrUnsupported, ErrFormat, ErrUnsafePickle, ErrLimit, ErrIndex}

// checkRefusal fails the test if an error is none that bad bytes may give, or is long.
func checkRefusal(t *testing.T, err error) {
	t.Helper()
	if len(err.Error()) > 4000 {
		t.Errorf("error of %d bytes", len(err.Error()))
	}
	for _, sentinel := range inputErrors {
		if errors.Is(err, sentinel) {
			return
		}
	}
	t.Errorf("error without a sentinel: %v", err)
}

// checkTensors fails the test if a tensor reaches outside a file of that size.
func checkTensors(t *testing.T, tensors []*stored, size int64) {
	t.Helper()
	for _, tensor := range tensors {
		last := tensor.offset
		if len(tensor.shape) != len(tensor.stride) || len(tensor.shape) > dimsMax || last < 0 {
			t.Fatalf("tensor %+v", tensor)
		}
		if tensor.elements() == 0 {
			continue
		}
		for i, dim := range tensor.shape {
			last += (dim - 1) * tensor.stride[i] * tensor.dtype.size()
			if last < 0 || last+tensor.dtype.size() > size {
				t.Fatalf("tensor %+v ends at %d of %d", tensor, last, size)
			}
		}
		if last+tensor.dtype.size() > size {
			t.Fatalf("tensor %+v ends at %d of %d", tensor, last, size)
		}
	}
}

// FuzzPickle runs any program against an archive that has two storages.
func FuzzPickle(f *testing.F) {
	for _, bad := range badPickles() {
		if len(bad.code) < 1<<12 {
			f.Add(bad.code)
		}
	}
	for _, style := range []pickleStyle{{}, {ordered: true}, {protocol: 4, parameters: true}} {
		f.Add(pickleTensors(variant{masks: true, head: "shared", views: true}.tensors()[:6], style))
	}
	const size = 1 << 16
	f.Fuzz(func(t *testing.T, code []byte) {
		value, err := runPickle(code)
		if err != nil {
			checkRefusal(t, err)
			return
		}
		tensors, _, err := placeTensors(value, func(key string) (zipEntry, bool) {
			return zipEntry{name: key, offset: 64, size: int64(len(key)) * 100}, len(key) <= 8
		})
		if err != nil {
			checkRefusal(t, err)
			return
		}
		checkTensors(t, tensors, size)
	})
}

// FuzzTorchFile reads any bytes as a torch archive.
func FuzzTorchFile(f *testing.F) {
	legacy, err := os.ReadFile(filepath.Join("testdata", "torch-legacy", "pytorch_model.bin"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(legacy[:64])
	f.Add([]byte("version https://git-lfs.github.com/spec/v1"))
	small := []fileTensor{{name: "t", dtype: float16, key: "0", elements: 4, shape: []int64{2, 2}, stride: []int64{1, 2}, data: make([]byte, 8)}}
	f.Add(encodeTorch(small, pickleStyle{}, zipStyle{byteorder: "little"}))
	f.Add(encodeTorch(small, pickleStyle{protocol: 4}, zipStyle{narrow: true, byteorder: "big"}))
	f.Fuzz(func(t *testing.T, data []byte) {
		tensors, _, err := parseTorch(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			checkRefusal(t, err)
			return
		}
		checkTensors(t, tensors, int64(len(data)))
	})
}

// FuzzSafetensorsHeader reads any text as the header of a file with room bytes of weights.
func FuzzSafetensorsHeader(f *testing.F) {
	good := encodeSafetensors(variant{masks: true}.tensors()[:5])
	header := good[safetensorsPrefix:][:bytes.IndexByte(good[safetensorsPrefix:], 0)]
	f.Add(header, int64(len(good)-len(header)-safetensorsPrefix))
	f.Add([]byte(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"BF16","shape":[],"data_offsets":[8,10]}}  `), int64(10))
	f.Add([]byte(`{"a":{"dtype":"I64","shape":[0,9],"data_offsets":[4,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}`), int64(4))
	f.Add([]byte(`{"__metadata__":{"format":"pt"}}`), int64(0))
	f.Add([]byte(`{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,-1]}}`), int64(-1))
	f.Fuzz(func(t *testing.T, header []byte, room int64) {
		room = max(room, 0)
		start := safetensorsPrefix + int64(len(header))
		if room > 1<<62 {
			return // no file is that large
		}
		tensors, err := parseSafetensorsHeader(header, start, room)
		if err != nil {
			checkRefusal(t, err)
			return
		}
		checkTensors(t, tensors, start+room)
		var sum int64
		for _, tensor := range tensors {
			sum += tensor.elements() * tensor.dtype.size()
		}
		if sum != room {
			t.Fatalf("tensors of %d bytes fill a room of %d", sum, room)
		}
	})
}

// FuzzConfig reads any text as a config.json.
func FuzzConfig(f *testing.F) {
	paths, err := filepath.Glob(filepath.Join("testdata", "*", configFile))
	if err != nil || len(paths) == 0 {
		f.Fatal(paths, err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(`{"model_type":"gpt2","n_layer":1,"n_head":1,"n_embd":1,"n_inner":null,"eos_token_id":[1,2]}`))
	f.Add([]byte(`{"architectures":["LlamaForCausalLM"]}`))
	f.Add([]byte(strings.Repeat("9", 4000))) // no float64: the decoder's own error would repeat it
	f.Fuzz(func(t *testing.T, text []byte) {
		config, err := parseConfig(text)
		if err != nil {
			checkRefusal(t, err)
			return
		}
		if config.layers < 1 || config.heads < 1 || config.embed%config.heads != 0 || config.inner < 1 || !(config.epsilon > 0) {
			t.Fatalf("accepted %+v", config)
		}
	})
}

// FuzzIndex reads any text as an index of shards.
func FuzzIndex(f *testing.F) {
	f.Add([]byte(`{"metadata":{"total_size":0},"weight_map":{"transformer.wte.weight":"pytorch_model-00001-of-00002.bin"}}`))
	f.Add([]byte(`{"weight_map":{"a":"../x.bin"}}`))
	f.Add([]byte(`{"weight_map":{"a":"x.bin","b":"y.bin"},"metadata":null}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		place, files, err := parseIndex(text)
		if err != nil {
			checkRefusal(t, err)
			return
		}
		if len(place) == 0 || len(files) == 0 || len(files) > shardsMax {
			t.Fatalf("accepted %d tensors in %d files", len(place), len(files))
		}
		for _, file := range files {
			if filepath.Base(file) != file || !filepath.IsLocal(file) || bytes.ContainsAny([]byte(file), "/\\:\x00") {
				t.Fatalf("accepted the file %q", file)
			}
		}
	})
}
