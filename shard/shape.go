package shard

import "fmt"

// Shape is what the arithmetic of splitting has to know of a model.
type Shape struct {
	Layers    int `json:"layers"`
	Heads     int `json:"heads"`
	HeadDim   int `json:"head_dim"`
	Inner     int `json:"inner"`
	Vocab     int `json:"vocab"`
	Leaf      int `json:"leaf"`       // K is cut at multiples of this only
	PanelRows int `json:"panel_rows"` // rows are cut at multiples of this only
}

// Embed is the width of the residual stream.
func (s Shape) Embed() int { return s.Heads * s.HeadDim }

// HeadUnit is the number of heads between two borders. A run of heads is rows of the QKV matrix and columns of the
// attention projection, so a border has to suit both.
func (s Shape) HeadUnit() int { return lcm(s.HeadDim, s.InnerUnit()) / s.HeadDim }

// InnerUnit is the number of FFN columns between two borders. They are rows of one matrix and columns of the next.
func (s Shape) InnerUnit() int { return lcm(s.Leaf, s.PanelRows) }

// VocabUnit is the number of vocabulary rows between two borders.
func (s Shape) VocabUnit() int { return s.PanelRows }

// Validate refuses shapes with which no model can be cut, wrapping ErrPlan.
func (s Shape) Validate() error {
	for _, size := range []struct {
		name         string
		value, limit int
	}{
		{"layers", s.Layers, sizeMax}, {"heads", s.Heads, sizeMax}, {"head width", s.HeadDim, sizeMax},
		{"FFN columns", s.Inner, sizeMax}, {"vocabulary rows", s.Vocab, sizeMax},
		{"leaf", s.Leaf, unitMax}, {"panel rows", s.PanelRows, unitMax},
	} {
		if size.value < 1 || size.value > size.limit {
			return fmt.Errorf("%w: %s is %d, want 1 to %d", ErrPlan, size.name, size.value, size.limit)
		}
	}
	return nil
}

// Limits of a shape. They keep products of two sizes, and the least common multiple of the three units, far from overflow.
const (
	sizeMax = 1 << 24
	unitMax = 1 << 12
)

func lcm(a, b int) int { return a / gcd(a, b) * b }

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
