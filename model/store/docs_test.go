package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"polynode/kernels"
	"polynode/model"
)

var update = flag.Bool("update", false, "write the examples into docs/store.md")

// exampleSpec is the model of docs/store.md.
func exampleSpec() Spec {
	return Spec{
		Config: model.Config{Layers: 1, Heads: 1, Embed: 32, Inner: 64, Vocab: 20, Pieces: 18, Positions: 2,
			Activation: model.GELUFast, Epsilon: 1e-5, EOS: 2, TiedHead: true},
		Format: kernels.Q8, Label: "Example", Provenance: Provenance{Source: "docs/store.md"}, Tokenizer: []byte("no real tokenizer\n"),
	}
}

// exampleWeights are w(r, c) = ((7r + 3c) mod 15 - 7) / 8.
func exampleWeights(c model.Config) fakeWeights {
	w := fakeWeights{}
	for _, spec := range c.Tensors() {
		values := make([]float32, spec.Rows*spec.Cols)
		for i := range values {
			values[i] = float32((7*(i/spec.Cols)+3*(i%spec.Cols))%15-7) / 8
		}
		w[spec.Name] = &fakeRows{values: values, cols: spec.Cols}
	}
	return w
}

// entry is a tensor as the page describes it, read without the package's own types.
type entry struct {
	Name     string `json:"name"`
	Format   string `json:"format"`
	Rows     int    `json:"rows"`
	K        int    `json:"k"`
	Offset   int    `json:"offset"`
	Bytes    int    `json:"bytes"`
	Cut      string `json:"cut"`
	UnitRows int    `json:"unit_rows"`
	UnitK    int    `json:"unit_k"`
	Units    int    `json:"units"`
	Root     string `json:"root"`
}

// run is one run of a unit's bytes.
type run struct{ offset, size int }

// unit gives the runs of unit i, as the page says.
func (e *entry) unit(i int) (rows, cols [2]int, runs []run) {
	n := (e.K + e.UnitK - 1) / e.UnitK
	rows = [2]int{e.UnitRows * (i / n), min(e.UnitRows*(i/n+1), e.Rows)}
	cols = [2]int{e.UnitK * (i % n), min(e.UnitK*(i%n+1), e.K)}
	block := map[string]int{"f32": 2048, "bf16": 1024, "q8": 544, "q4l": 288}[e.Format]
	if block == 0 {
		return rows, cols, []run{{e.Offset + rows[0]*e.K*4, (rows[1] - rows[0]) * e.K * 4}}
	}
	blocks := func(k int) int { return (k + 31) / 32 }
	for panel := rows[0] / 16; panel*16 < rows[1]; panel++ {
		runs = append(runs, run{e.Offset + (panel*blocks(e.K)+cols[0]/32)*block, (blocks(cols[1]) - cols[0]/32) * block})
	}
	return rows, cols, runs
}

// readIndependently reads a file after docs/store.md and checks every hash in it.
func readIndependently(t *testing.T, file []byte) []entry {
	t.Helper()
	part := func(i int) []byte {
		offset, size := binary.LittleEndian.Uint64(file[24+16*i:]), binary.LittleEndian.Uint64(file[32+16*i:])
		return file[offset : offset+size]
	}
	text := part(3)
	if sum := sha256.Sum256(text); !bytes.Equal(sum[:], file[88:120]) {
		t.Fatal("the digest is not the SHA-256 of the manifest")
	}
	if sum := sha256.Sum256(file[:120]); !bytes.Equal(sum[:], file[120:152]) {
		t.Fatal("the header's hash does not cover bytes 0 to 119")
	}
	var manifest struct {
		Tokenizer struct{ SHA256 string }
		Tensors   []entry
	}
	if err := json.Unmarshal(text, &manifest); err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(part(2)); hex.EncodeToString(sum[:]) != manifest.Tokenizer.SHA256 {
		t.Fatal("the tokenizer does not match its hash")
	}
	hashes := part(1)
	for _, e := range manifest.Tensors {
		list := hashes[:32*e.Units]
		hashes = hashes[32*e.Units:]
		if sum := sha256.Sum256(list); hex.EncodeToString(sum[:]) != e.Root {
			t.Errorf("%s: the hashes do not match the root", e.Name)
		}
		total := 0
		for i := range e.Units {
			_, _, runs := e.unit(i)
			h := sha256.New()
			for _, r := range runs {
				h.Write(file[r.offset : r.offset+r.size])
				total += r.size
			}
			if !bytes.Equal(h.Sum(nil), list[32*i:32*i+32]) {
				t.Errorf("%s: unit %d does not match its hash", e.Name, i)
			}
		}
		if total != e.Bytes {
			t.Errorf("%s: units cover %d of %d bytes", e.Name, total, e.Bytes)
		}
	}
	if len(hashes) != 0 {
		t.Errorf("%d bytes of hashes are left", len(hashes))
	}
	return manifest.Tensors
}

// TestIndependentReader reads models of every format with a reader that knows nothing but the page.
func TestIndependentReader(t *testing.T) {
	for _, f := range allFormats {
		readIndependently(t, pack(t, newFake(tiny(), 8), tinySpec(f)))
	}
}

// TestDocs compares the examples in docs/store.md with a file.
func TestDocs(t *testing.T) {
	spec := exampleSpec()
	file := pack(t, exampleWeights(spec.Config), spec)
	tensors := readIndependently(t, file)
	path := filepath.Join("..", "..", "docs", "store.md")
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	examples := map[string]string{
		"header": headerExample(file), "tensors": tensorsExample(tensors), "block": blockExample(file, tensors[0].Offset),
		"units": unitsExample(t, file, tensors), "manifest": manifestExample(file),
	}
	marker := regexp.MustCompile(`(?s)<!-- example: (\w+) -->\n(.*?)<!-- end -->`)
	fresh := marker.ReplaceAllFunc(page, func(old []byte) []byte {
		m := marker.FindSubmatch(old)
		name := string(m[1])
		want, ok := examples[name]
		if !ok {
			t.Errorf("docs/store.md has an unknown example %q", name)
		}
		delete(examples, name)
		if want != string(m[2]) && !*update {
			t.Errorf("example %q is\n%swant\n%s", name, m[2], want)
		}
		return []byte("<!-- example: " + name + " -->\n" + want + "<!-- end -->")
	})
	for name := range examples {
		t.Errorf("docs/store.md has no example %q", name)
	}
	if *update {
		if err := os.WriteFile(path, fresh, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func headerExample(file []byte) string {
	var b strings.Builder
	b.WriteString("| offset | bytes | meaning |\n|---|---|---|\n")
	u64 := func(at int) uint64 { return binary.LittleEndian.Uint64(file[at:]) }
	row := func(at, n int, format string, args ...any) {
		fmt.Fprintf(&b, "| %d | `% x` | %s |\n", at, file[at:at+n], fmt.Sprintf(format, args...))
	}
	row(0, 8, "magic")
	row(8, 4, "version of the format: %d", binary.LittleEndian.Uint32(file[8:]))
	row(12, 4, "size of the header: %d", binary.LittleEndian.Uint32(file[12:]))
	row(16, 8, "size of the file: %d", u64(16))
	for i, name := range []string{"data", "hashes", "tokenizer", "manifest"} {
		row(24+16*i, 8, "%s: offset %d", name, u64(24+16*i))
		row(32+16*i, 8, "%s: %d bytes", name, u64(32+16*i))
	}
	row(88, 32, "SHA-256 of the manifest: the digest of the model")
	row(120, 32, "SHA-256 of bytes 0 to 119")
	return b.String()
}

func tensorsExample(tensors []entry) string {
	var b strings.Builder
	b.WriteString("| tensor | format | rows × columns | offset | bytes | cut | unit | units |\n|---|---|---|---|---|---|---|---|\n")
	for _, e := range tensors {
		fmt.Fprintf(&b, "| `%s` | %s | %d × %d | %d | %d | %s | %d × %d | %d |\n",
			e.Name, e.Format, e.Rows, e.K, e.Offset, e.Bytes, e.Cut, e.UnitRows, e.UnitK, e.Units)
	}
	return b.String()
}

// blockExample dumps the scales and the first group of a block.
func blockExample(file []byte, at int) string {
	var b strings.Builder
	b.WriteString("```\n")
	for line := range 6 {
		fmt.Fprintf(&b, "%08x  % x\n", at+16*line, file[at+16*line:at+16*line+16])
	}
	b.WriteString("```\n")
	return b.String()
}

func unitsExample(t *testing.T, file []byte, tensors []entry) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("| unit | rows | columns | runs | SHA-256 |\n|---|---|---|---|---|\n")
	for _, e := range tensors {
		if e.Name != "h.0.mlp.c_proj.weight" {
			continue
		}
		for i := range e.Units {
			rows, cols, runs := e.unit(i)
			h, text := sha256.New(), []string{}
			for _, r := range runs {
				h.Write(file[r.offset : r.offset+r.size])
				text = append(text, fmt.Sprintf("%d to %d", r.offset, r.offset+r.size-1))
			}
			fmt.Fprintf(&b, "| %d | %d to %d | %d to %d | %s | `%x` |\n", i, rows[0], rows[1]-1, cols[0], cols[1]-1, strings.Join(text, ", "), h.Sum(nil))
		}
		fmt.Fprintf(&b, "| root | | | | `%s` |\n", e.Root)
	}
	return b.String()
}

// manifestExample breaks the manifest into lines and leaves tensors out.
func manifestExample(file []byte) string {
	offset, size := binary.LittleEndian.Uint64(file[72:]), binary.LittleEndian.Uint64(file[80:])
	text := strings.TrimSuffix(string(file[offset:offset+size]), "\n")
	for _, field := range []string{`"provenance"`, `"config"`, `"positions"`, `"leaf"`, `"tensors"`} {
		text = strings.Replace(text, field, "\n"+field, 1)
	}
	lines := strings.Split(strings.ReplaceAll(text, `{"name"`, "\n"+`{"name"`), "\n")
	var kept []string
	for _, line := range lines {
		if name, ok := strings.CutPrefix(line, `{"name":"`); !ok || strings.HasPrefix(name, `wte"`) || strings.HasPrefix(name, `wpe"`) ||
			strings.HasPrefix(name, `h.0.mlp.c_proj.weight"`) {
			kept = append(kept, strings.Replace(line, `,"cut"`, ",\n \"cut\"", 1))
		} else if kept[len(kept)-1] != "…" {
			kept = append(kept, "…")
		}
	}
	return "```\n" + strings.Join(kept, "\n") + "\n```\n"
}

// TestDocsBlock decodes the first block of the example by hand, as the page explains it.
func TestDocsBlock(t *testing.T) {
	spec := exampleSpec()
	file := pack(t, exampleWeights(spec.Config), spec)
	block := file[4096:]
	if want := []byte{0x01, 0x37, 0x6e, 0xa4}; !bytes.Equal(block[32:36], want) {
		t.Errorf("row 0 begins % x, the page says % x", block[32:36], want)
	}
	for r := range 16 {
		scale := float64(kernels.F16ToF32(binary.LittleEndian.Uint16(block[2*r:])))
		for c := range 32 {
			got := scale * (float64(block[32+c/4*64+r*4+c%4]) - 128)
			want := float64((7*r+3*c)%15-7) / 8
			if math.Abs(got-want) > 0.004 {
				t.Errorf("weight (%d, %d) is %g, want %g", r, c, got, want)
			}
		}
	}
}
