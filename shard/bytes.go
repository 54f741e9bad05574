package shard

import "math"

// WeightBytes is what one rank reads of the packed matrices for each step, and so what should stay in its memory: its
// part of the layers and of the head, at perWeight bytes a weight (such as 0.5625 for 4.5 bits). Biases and norms are
// left out (less than a thousandth), and so is the token embedding of the first stage: a lookup reads one row.
func (p *Plan) WeightBytes(shape Shape, stage, rank int, perWeight float64) int64 {
	s, r := &p.Stages[stage], &p.Stages[stage].Group[rank]
	embed := int64(shape.Embed())
	attention := 4 * int64(r.Heads.Len()) * int64(shape.HeadDim) * embed // QKV and projection
	ffn := 2 * int64(r.Inner.Len()) * embed
	weights := int64(s.Layers.Len())*(attention+ffn) + int64(r.Vocab.Len())*embed
	return int64(math.Ceil(float64(weights) * perWeight))
}

// KVBytes is what one rank keeps of the KV cache for one token, at perValue bytes a value (2 for f16).
func (p *Plan) KVBytes(shape Shape, stage, rank int, perValue float64) int64 {
	s, r := &p.Stages[stage], &p.Stages[stage].Group[rank]
	values := 2 * int64(s.Layers.Len()) * int64(r.Heads.Len()) * int64(shape.HeadDim) // keys and values
	return int64(math.Ceil(float64(values) * perValue))
}
