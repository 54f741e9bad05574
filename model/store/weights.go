package store

import (
	"fmt"
	"strings"
	"unicode"

	"polynode/kernels"
	"polynode/model"
)

// Weights is where a new model's numbers come from: a checkpoint, or something that makes them up. It is called from
// many goroutines at once.
type Weights interface {
	// Tensor finds one tensor of the model, in the names and shapes of model.Config.Tensors.
	Tensor(name model.Name) (Rows, error)
}

// Rows reads parts of one tensor. 64 rows or more at a time are asked for where there are as many.
type Rows interface {
	// ReadRows fills dst, (hi-lo, columns), with rows [lo, hi).
	ReadRows(dst []float32, lo, hi int) error
}

// WeightsFunc makes Weights of a function, such as one that calls checkpoint.Checkpoint.Tensor.
type WeightsFunc func(name model.Name) (Rows, error)

// Tensor calls the function.
func (f WeightsFunc) Tensor(name model.Name) (Rows, error) { return f(name) }

// PackedRows is a matrix that makes its panels itself, straight in packed form. Rows that are PackedRows are never
// read through ReadRows.
type PackedRows interface {
	Rows
	// PackPanel fills dst with panel p, which holds n rows.
	PackPanel(dst []byte, f kernels.Format, p, n int) error
	// Largest is a bound of every |weight|.
	Largest() float64
}

// Synthesised marks Rows that are made up. A model with one such tensor is labelled as synthetic whatever else its
// maker says.
type Synthesised interface{ Synthetic() bool }

// Spec says how a model is to be written. The same Spec and weights give the same file on every machine.
type Spec struct {
	Config     model.Config
	Format     kernels.Format // of every matrix
	Label      string         // what the model is called, for people
	Chat       string         // name of its chat format, or empty
	Provenance Provenance
	Synthetic  bool
	Tokenizer  []byte // its file, or nothing
}

// Progress tells how far the writing of a model is.
type Progress struct {
	Tensor      model.Name // the one at work
	Done, Total int64      // bytes of the packed model
}

// plan lays the model out: everything of the manifest that does not depend on the weights.
func (s *Spec) plan() (*Manifest, error) {
	if err := s.Config.Validate(); err != nil {
		return nil, fmt.Errorf("write model: %w", err)
	}
	if s.Config.Embed%kernels.PanelRows != 0 {
		return nil, fmt.Errorf("write model: %w: width %d is not a multiple of %d, so queries, keys and values do not begin at panels", ErrOptions, s.Config.Embed, kernels.PanelRows)
	}
	if s.Format.BlockBytes() == 0 {
		return nil, fmt.Errorf("write model: %w: weight format %s", ErrOptions, s.Format)
	}
	tensors, err := layOut(s.Config, func(model.Name) kernels.Format { return s.Format })
	if err != nil {
		return nil, fmt.Errorf("write model: %w", err)
	}
	m := &Manifest{
		Version: Version, Label: tidy(s.Label), Chat: s.Chat, Config: s.Config, Leaf: LeafFor(s.Config),
		Synthetic: s.Synthetic, Provenance: s.Provenance, Tensors: tensors,
		Tokenizer: blobOf(s.Tokenizer),
	}
	m.Provenance.Source = tidy(s.Provenance.Source)
	m.Provenance.Notes = nil
	for _, note := range s.Provenance.Notes[:min(notesMax, len(s.Provenance.Notes))] {
		m.Provenance.Notes = append(m.Provenance.Notes, tidy(note))
	}
	if err := m.validate(); err != nil {
		return nil, fmt.Errorf("write model: %w: %w", ErrOptions, err)
	}
	return m, nil
}

// tidy makes one printable line of a text, which may come from a file that nobody has checked.
func tidy(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(text, "?"))
	if len(text) <= textMax {
		return text
	}
	return strings.ToValidUTF8(text[:textMax-len("…")], "") + "…"
}

// manifestRoom is more than the manifest of so many tensors can take.
func manifestRoom(tensors int) int64 { return 64<<10 + 512*int64(tensors) }

// room is the size of the file that the manifest describes, or a little more.
func (m *Manifest) room() int64 {
	s := sections(m, manifestRoom(len(m.Tensors)))
	return s[len(s)-1].end()
}
