package checkpoint

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"polynode/model"
)

// tempWeights puts bytes into a file and opens it for weights.
func tempWeights(t testing.TB, data []byte, mapped bool) *weightFile {
	t.Helper()
	dir := t.TempDir()
	writeFile(t, dir, "weights", data)
	file, err := openWeightFile(dir, "weights")
	if err != nil {
		t.Fatal(err)
	}
	if mapped {
		file.mapWeights()
	}
	t.Cleanup(func() { file.close() })
	return file
}

// TestReadRowsOfAnyView compares ReadRows with a plain double loop for views of all strides,
// sizes around the tiles' and every float type, mapped and piecewise.
func TestReadRowsOfAnyView(t *testing.T) {
	const elements = 1 << 17
	files := map[dtype][2]*weightFile{}
	values := make([]float32, elements)
	for i := range values {
		values[i] = tinyValue(i>>8, i)
	}
	for _, kind := range []dtype{bfloat16, float16, float32t, float64t} {
		data := encode(kind, values)
		files[kind] = [2]*weightFile{tempWeights(t, data, true), tempWeights(t, data, false)}
	}
	rapid.Check(t, func(t *rapid.T) {
		kind := rapid.SampledFrom([]dtype{bfloat16, float16, float32t, float64t}).Draw(t, "type")
		rows := rapid.SampledFrom([]int{1, 2, 15, 16, 17, 100, 255, 256, 257, 300}).Draw(t, "rows")
		cols := rapid.SampledFrom([]int{1, 2, 15, 16, 17, 33, 100}).Draw(t, "cols")
		rowStride, colStride := int64(cols), int64(1)
		switch rapid.SampledFrom([]string{"rows", "columns", "padded rows", "padded columns", "gaps"}).Draw(t, "strides") {
		case "columns":
			rowStride, colStride = 1, int64(rows)
		case "padded rows":
			rowStride += 3
		case "padded columns":
			rowStride, colStride = 1, int64(rows)+5
		case "gaps":
			rowStride, colStride = 2*int64(cols)+1, 2
		}
		offset := rapid.Int64Range(0, 100).Draw(t, "offset")
		file := files[kind][rapid.IntRange(0, 1).Draw(t, "piecewise")]
		tensor := &Tensor{name: "view", owner: &Checkpoint{}, rows: rows, cols: cols, rowStride: rowStride, colStride: colStride,
			stored: &stored{file: file, dtype: kind, offset: offset * kind.size()}}
		lo := rapid.IntRange(0, rows).Draw(t, "lo")
		hi := rapid.IntRange(lo, rows).Draw(t, "hi")
		got := make([]float32, (hi-lo)*cols)
		if err := tensor.ReadRows(got, lo, hi); err != nil {
			t.Fatal(err)
		}
		for r := lo; r < hi; r++ {
			for c := range cols {
				want := values[offset+int64(r)*rowStride+int64(c)*colStride]
				if math.Float32bits(got[(r-lo)*cols+c]) != math.Float32bits(want) {
					t.Fatalf("element (%d, %d) is %g, want %g", r, c, got[(r-lo)*cols+c], want)
				}
			}
		}
	})
}

// TestShrunkFile takes the end of a file away after Open: reading what is gone must end in
// an error, mapped or not, and leave the rest readable.
func TestShrunkFile(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("an open file cannot shrink here")
	}
	config := tiny
	config.Embed, config.Inner = 512, 2048
	dir := t.TempDir()
	writeShape(t, dir, config)
	for _, mapped := range []bool{true, false} {
		t.Run(fmt.Sprint("mapped ", mapped), func(t *testing.T) {
			c := mustOpen(t, dir)
			if !mapped {
				if err := unmapFile(c.files[0].data); err != nil {
					t.Fatal(err)
				}
				c.files[0].data = nil
			}
			path := filepath.Join(dir, c.files[0].name)
			if err := os.Truncate(path, c.files[0].size/2); err != nil {
				t.Fatal(err)
			}
			defer os.Truncate(path, c.files[0].size)
			tensor, err := c.Tensor(model.FFNDownWeight.Of(1))
			if err != nil {
				t.Fatal(err)
			}
			err = tensor.ReadRows(make([]float32, 512*2048), 0, 512)
			if !errors.Is(err, ErrRead) || !strings.Contains(err.Error(), "model.safetensors") {
				t.Errorf("read of a shrunk file: %v, want ErrRead with its name", err)
			}
			readAll(t, c, model.TokenEmbedding)
		})
	}
}

// resident gives this process's resident megabytes.
func resident(t testing.TB) int {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip("this system does not tell the resident memory:", err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(text))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize() >> 20
}

// TestResidentMemory reads 768 MB of weights and watches that the process does not hold them.
func TestResidentMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("reads 768 MB")
	}
	const rows, cols, size = 1 << 15, 1 << 12, 768 << 20
	path := filepath.Join(t.TempDir(), "weights")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Skip("no sparse files here:", err)
	}
	file, err := openWeightFile(filepath.Dir(path), "weights")
	if err != nil {
		t.Fatal(err)
	}
	file.mapWeights()
	defer file.close()
	owner := &Checkpoint{files: []*weightFile{file}}
	before, peak := resident(t), 0
	for part := range int64(3) { // 256 MB each: rows, columns, rows
		tensor := &Tensor{owner: owner, rows: rows, cols: cols, rowStride: cols, colStride: 1,
			stored: &stored{file: file, dtype: bfloat16, offset: part << 28}}
		if part == 1 {
			tensor.rows, tensor.cols, tensor.rowStride, tensor.colStride = cols, rows, 1, cols
		}
		step := 1 << 20 / tensor.cols
		buffer := make([]float32, step*tensor.cols)
		for lo := 0; lo+step <= tensor.rows && (part != 1 || lo < 8*step); lo += step {
			if err := tensor.ReadRows(buffer, lo, lo+step); err != nil {
				t.Fatal(err)
			}
			if lo%(8*step) == 0 {
				peak = max(peak, resident(t)-before)
			}
		}
	}
	// Without giving pages back all 768 MB would stay.
	if limit := residentMax>>20 + 64; peak > limit {
		t.Errorf("%d MB resident while reading, want at most %d", peak, limit)
	}
}

// BenchmarkReadRows measures decoding in both directions with one goroutine.
func BenchmarkReadRows(b *testing.B) {
	const rows, cols, step = 15360, 5120, 256
	for _, kind := range []dtype{bfloat16, float16, float32t} {
		file := tempWeights(b, make([]byte, rows*cols*kind.size()), true)
		for _, across := range []bool{false, true} {
			tensor := &Tensor{owner: &Checkpoint{files: []*weightFile{file}}, rows: rows, cols: cols, rowStride: cols, colStride: 1,
				stored: &stored{file: file, dtype: kind}}
			name := fmt.Sprintf("%s/rows", kind)
			if across {
				tensor.rowStride, tensor.colStride, name = 1, rows, fmt.Sprintf("%s/columns", kind)
			}
			b.Run(name, func(b *testing.B) {
				buffer := make([]float32, step*cols)
				b.SetBytes(step * cols * kind.size())
				for i := 0; b.Loop(); i++ {
					lo := i * step % rows
					if err := tensor.ReadRows(buffer, lo, lo+step); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
