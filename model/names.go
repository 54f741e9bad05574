package model

import "fmt"

// Name is the canonical name of one tensor of a model, in checkpoints' readers, packed
// stores and synthetic sources alike. Matrices are always (outputs, inputs).
type Name string

// Tensors outside the layers.
const (
	TokenEmbedding    Name = "wte"         // (Vocab, Embed)
	PositionEmbedding Name = "wpe"         // (Positions, Embed), float32
	FinalNormWeight   Name = "ln_f.weight" // (Embed), float32
	FinalNormBias     Name = "ln_f.bias"   // (Embed), float32
	Head              Name = "head"        // (Vocab, Embed), only where it differs from wte
)

// Part names one tensor inside a layer.
type Part string

// Tensors of one layer.
const (
	Norm1Weight    Part = "ln_1.weight"        // (Embed), float32
	Norm1Bias      Part = "ln_1.bias"          // (Embed), float32
	QKVWeight      Part = "attn.c_attn.weight" // (3*Embed, Embed): rows Q, K, V, each head by head
	QKVBias        Part = "attn.c_attn.bias"   // (3*Embed), float32
	AttnProjWeight Part = "attn.c_proj.weight" // (Embed, Embed)
	AttnProjBias   Part = "attn.c_proj.bias"   // (Embed), float32
	Norm2Weight    Part = "ln_2.weight"        // (Embed), float32
	Norm2Bias      Part = "ln_2.bias"          // (Embed), float32
	FFNUpWeight    Part = "mlp.c_fc.weight"    // (Inner, Embed)
	FFNUpBias      Part = "mlp.c_fc.bias"      // (Inner), float32
	FFNDownWeight  Part = "mlp.c_proj.weight"  // (Embed, Inner)
	FFNDownBias    Part = "mlp.c_proj.bias"    // (Embed), float32
)

// LayerParts lists the tensors of one layer in the order in which a forward pass needs them.
var LayerParts = []Part{
	Norm1Weight, Norm1Bias, QKVWeight, QKVBias, AttnProjWeight, AttnProjBias,
	Norm2Weight, Norm2Bias, FFNUpWeight, FFNUpBias, FFNDownWeight, FFNDownBias,
}

// Of names the part in one layer, such as "h.3.ln_1.weight".
func (p Part) Of(layer int) Name { return Name(fmt.Sprintf("h.%d.%s", layer, p)) }

// TensorSpec is a tensor that a model of some shape must have. Rows is 1 for vectors.
type TensorSpec struct {
	Name   Name
	Rows   int
	Cols   int
	Matrix bool // stored in the packed weight format; everything else stays float32
}

// Tensors lists every tensor of the model in the order in which a forward pass needs them.
func (c *Config) Tensors() []TensorSpec {
	specs := []TensorSpec{
		{TokenEmbedding, c.Vocab, c.Embed, true},
		{PositionEmbedding, c.Positions, c.Embed, false},
	}
	for layer := range c.Layers {
		for _, part := range LayerParts {
			rows, cols, matrix := c.PartShape(part)
			specs = append(specs, TensorSpec{part.Of(layer), rows, cols, matrix})
		}
	}
	specs = append(specs,
		TensorSpec{FinalNormWeight, 1, c.Embed, false},
		TensorSpec{FinalNormBias, 1, c.Embed, false})
	if !c.TiedHead {
		specs = append(specs, TensorSpec{Head, c.Vocab, c.Embed, true})
	}
	return specs
}

// PartShape gives the shape of one tensor of a layer; vectors have one row.
func (c *Config) PartShape(part Part) (rows, cols int, matrix bool) {
	switch part {
	case QKVWeight:
		return 3 * c.Embed, c.Embed, true
	case AttnProjWeight:
		return c.Embed, c.Embed, true
	case FFNUpWeight:
		return c.Inner, c.Embed, true
	case FFNDownWeight:
		return c.Embed, c.Inner, true
	case QKVBias:
		return 1, 3 * c.Embed, false
	case FFNUpBias:
		return 1, c.Inner, false
	default:
		return 1, c.Embed, false
	}
}
