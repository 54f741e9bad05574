package store

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"unicode"
	"unicode/utf8"

	"polynode/kernels"
	"polynode/model"
)

// Manifest describes one packed model and pins every byte of it: the root of each tensor's hashes is in it, and its
// own SHA-256 is the model's digest. It has no clock, path or machine in it.
type Manifest struct {
	Version    int          `json:"version"`
	Label      string       `json:"label"`     // what the model is called, for people
	Synthetic  bool         `json:"synthetic"` // the weights are made up; the text means nothing
	Provenance Provenance   `json:"provenance"`
	Chat       string       `json:"chat"` // name of the chat format, or empty
	Config     model.Config `json:"config"`
	Leaf       int          `json:"leaf"` // width in K at which matrices may be cut
	Tokenizer  Blob         `json:"tokenizer"`
	Tensors    []Tensor     `json:"tensors"` // in the order of Config.Tensors and of the file
}

// Provenance says where the weights came from.
type Provenance struct {
	Source string   `json:"source"`          // such as "GPT2LMHeadModel, bfloat16" or the preset of synthetic weights
	Notes  []string `json:"notes,omitempty"` // what was found in the source and how it was read
	Seed   uint64   `json:"seed,omitempty"`  // of synthetic weights
}

// Blob is a run of bytes that is not a tensor. Zero bytes means that there is none.
type Blob struct {
	Bytes int64 `json:"bytes"`
	Hash  Hash  `json:"sha256"`
}

// Plain is the format of tensors that are not matrices: little-endian float32, row by row. Matrices have the
// name of their kernels.Format, but for Q4.
const Plain = "plain"

// A matrix in Q4 is called q4l, for levels. The first versions of this package wrote q4 for matrices of the same size whose quants
// were multiples of the scale: those bytes mean other weights now.
const (
	levelsQ4 = "q4l"
	linearQ4 = "q4"
)

// Cut says along which side the hash units of a tensor run, and so how ranks share it.
type Cut string

// The ways to cut a tensor.
const (
	CutRows Cut = "rows" // units are runs of whole rows
	CutK    Cut = "k"    // units are one leaf wide, so that a rank with some columns can check them
	CutNone Cut = "none" // every rank has it whole
)

// Tensor is one tensor as it lies in the file.
type Tensor struct {
	Name     model.Name `json:"name"`
	Format   string     `json:"format"` // plain, f32, bf16, q8 or q4l; FormatName is for people
	Rows     int        `json:"rows"`
	K        int        `json:"k"`
	Offset   int64      `json:"offset"` // from the start of the file
	Bytes    int64      `json:"bytes"`
	Cut      Cut        `json:"cut"`
	UnitRows int        `json:"unit_rows"` // rows of one hash unit; a multiple of 16 in matrices
	UnitK    int        `json:"unit_k"`    // columns of one hash unit
	Units    int        `json:"units"`     // hashes of this tensor in the hash section
	Exponent int        `json:"exponent"`  // of the fixed-point sums of this matrix
	RMSError float32    `json:"rms_error"` // of the packed weights, relative to the weights' own RMS
	MaxError float32    `json:"max_error"` // largest absolute difference of one weight
	Root     Hash       `json:"root"`      // SHA-256 of this tensor's hashes, one after the other
}

// kernel is the kernels' name of the tensor's format; zero for plain tensors.
func (t *Tensor) kernel() kernels.Format {
	switch t.Format {
	case Plain, linearQ4:
		return 0
	case levelsQ4:
		return kernels.Q4
	}
	f, _ := kernels.ParseFormat(t.Format)
	return f
}

// FormatName is the format as people call it: plain, f32, bf16, q8 or q4.
func (t *Tensor) FormatName() string {
	if t.Format == levelsQ4 {
		return kernels.Q4.String()
	}
	return t.Format
}

// namePattern is what names of models and chat formats look like: no path can hide in one.
var namePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

// Limits on the texts in a manifest.
const (
	textMax  = 256
	notesMax = 64
)

// encode gives the canonical bytes: fields in the order of the struct, no spaces, one newline at the end.
func (m *Manifest) encode() ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(m); err != nil {
		return nil, fmt.Errorf("encode manifest: %w", err)
	}
	return buf.Bytes(), nil
}

// decodeManifest reads canonical bytes and nothing else, and checks that the manifest describes a file that this
// package could have written: it computes every place and size itself and compares.
func decodeManifest(data []byte) (*Manifest, error) {
	m := new(Manifest)
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(m); err != nil {
		return nil, fmt.Errorf("parse manifest: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, fmt.Errorf("parse manifest: text follows it")
	}
	again, err := m.encode()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, data) {
		return nil, fmt.Errorf("parse manifest: not in canonical form")
	}
	return m, m.validate()
}

// validate checks everything that the manifest says about itself.
func (m *Manifest) validate() error {
	if m.Version != Version {
		return fmt.Errorf("manifest version %d, want %d", m.Version, Version)
	}
	if err := m.Config.Validate(); err != nil {
		return err
	}
	texts := append([]string{m.Label, m.Provenance.Source}, m.Provenance.Notes...)
	for _, text := range texts {
		if err := checkText(text); err != nil {
			return err
		}
	}
	if len(m.Provenance.Notes) > notesMax {
		return fmt.Errorf("%d notes, want at most %d", len(m.Provenance.Notes), notesMax)
	}
	if m.Chat != "" && !namePattern.MatchString(m.Chat) {
		return fmt.Errorf("chat format %q is not a name", m.Chat)
	}
	if want := LeafFor(m.Config); m.Leaf != want {
		return fmt.Errorf("leaf %d, want %d", m.Leaf, want)
	}
	if m.Tokenizer.Bytes < 0 || m.Tokenizer.Bytes > tokenizerMax {
		return fmt.Errorf("tokenizer of %d bytes, want at most %d", m.Tokenizer.Bytes, tokenizerMax)
	}
	return m.validateTensors()
}

// validateTensors compares each tensor with the place that the layout gives it.
func (m *Manifest) validateTensors() error {
	formats := make(map[model.Name]kernels.Format, len(m.Tensors))
	for i := range m.Tensors {
		t := &m.Tensors[i]
		if t.Format == linearQ4 {
			return fmt.Errorf("tensor %s is q4 of an older version, whose 4-bit weights have other values: import the model again", t.Name)
		}
		formats[t.Name] = t.kernel()
	}
	want, err := layOut(m.Config, func(n model.Name) kernels.Format { return formats[n] })
	if err != nil {
		return err
	}
	if len(m.Tensors) != len(want) {
		return fmt.Errorf("%d tensors, want %d", len(m.Tensors), len(want))
	}
	for i := range want {
		got := m.Tensors[i]
		// These are facts about the weights; everything else follows from the configuration.
		want[i].Exponent, want[i].RMSError, want[i].MaxError, want[i].Root = got.Exponent, got.RMSError, got.MaxError, got.Root
		if got != want[i] {
			return fmt.Errorf("tensor %d: %s is described as %+v, want %+v", i, want[i].Name, got, want[i])
		}
		if got.Exponent < 0 || got.Exponent > kernels.MaxExponent {
			return fmt.Errorf("tensor %s: exponent %d, want 0 to %d", got.Name, got.Exponent, kernels.MaxExponent)
		}
		if !(got.RMSError >= 0) || !(got.MaxError >= 0) {
			return fmt.Errorf("tensor %s: negative error", got.Name)
		}
	}
	return nil
}

// Tensor finds one tensor by name.
func (m *Manifest) Tensor(name model.Name) (*Tensor, error) {
	for i := range m.Tensors {
		if m.Tensors[i].Name == name {
			return &m.Tensors[i], nil
		}
	}
	return nil, fmt.Errorf("find tensor %q: %w", name, ErrNotFound)
}

// checkText refuses what could not be shown in one line of a terminal.
func checkText(text string) error {
	if len(text) > textMax || !utf8.ValidString(text) {
		return fmt.Errorf("text of %d bytes is not valid UTF-8 of at most %d bytes", len(text), textMax)
	}
	for _, r := range text {
		if !unicode.IsPrint(r) {
			return fmt.Errorf("text %q has the unprintable character %U", text, r)
		}
	}
	return nil
}
