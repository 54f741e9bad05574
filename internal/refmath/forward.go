package refmath

import (
	"errors"
	"fmt"
	"math"
)

// ErrInput reports tokens that the model cannot take: none, too many, or one outside the vocabulary.
var ErrInput = errors.New("refmath: input")

// Trace is what one forward pass over a whole sequence computed.
type Trace struct {
	Hidden []Matrix // (tokens, Embed), the residual stream after each block
	Final  Matrix   // (tokens, Embed), after the final LayerNorm
	Logits Matrix   // (tokens, Vocab), for the token after each position
}

// Forward runs the network over tokens, which sit at positions 0, 1, …
func (m *Model) Forward(tokens []int32) (*Trace, error) {
	x, err := m.embed(tokens)
	if err != nil {
		return nil, err
	}
	trace := &Trace{}
	for i := range m.layers {
		m.block(&m.layers[i], x)
		trace.Hidden = append(trace.Hidden, x.clone())
	}
	trace.Final = layerNorm(x, m.finalNorm, m.config.Epsilon)
	trace.Logits = multiply(trace.Final, m.head)
	return trace, nil
}

// Logits runs the network and returns one row of logits for each position, as the perplexity helper wants them.
func (m *Model) Logits(tokens []int32) ([][]float64, error) {
	trace, err := m.Forward(tokens)
	if err != nil {
		return nil, err
	}
	rows := make([][]float64, len(tokens))
	for t := range rows {
		rows[t] = trace.Logits.Row(t)
	}
	return rows, nil
}

// embed adds the embeddings of token and position: (tokens, Embed).
func (m *Model) embed(tokens []int32) (Matrix, error) {
	if len(tokens) == 0 || len(tokens) > m.config.Positions {
		return Matrix{}, fmt.Errorf("%w: %d tokens, want 1 to %d", ErrInput, len(tokens), m.config.Positions)
	}
	x := NewMatrix(len(tokens), m.config.Embed)
	for t, token := range tokens {
		if token < 0 || int(token) >= m.config.Vocab {
			return Matrix{}, fmt.Errorf("%w: token %d at position %d, want below %d", ErrInput, token, t, m.config.Vocab)
		}
		row, word, place := x.Row(t), m.tokens.row(int(token)), m.positions.row(t)
		for i := range row {
			row[i] = float64(word[i]) + float64(place[i])
		}
	}
	return x, nil
}

// block adds attention and then the feed-forward network to the residual stream x (tokens, Embed), in place.
func (m *Model) block(l *layer, x Matrix) {
	qkv := affine(layerNorm(x, l.norm1, m.config.Epsilon), l.qkv) // (tokens, 3*Embed)
	x.add(affine(m.attention(qkv), l.attnProj))

	up := affine(layerNorm(x, l.norm2, m.config.Epsilon), l.ffnUp) // (tokens, Inner)
	for i, v := range up.Data {
		up.Data[i] = m.activation(v)
	}
	x.add(affine(up, l.ffnDown))
}

// attention is causal multi-head attention over qkv (tokens, 3*Embed): columns Q, K, V, each head by head. It returns
// (tokens, Embed).
func (m *Model) attention(qkv Matrix) Matrix {
	embed, dim := m.config.Embed, m.config.HeadDim()
	out := NewMatrix(qkv.Rows, embed)
	for h := range m.config.Heads {
		for t := range qkv.Rows {
			query := qkv.Row(t)[h*dim : (h+1)*dim]
			weights := make([]float64, t+1)
			for s := range weights {
				key := qkv.Row(s)[embed+h*dim : embed+(h+1)*dim]
				weights[s] = dot(query, key) / math.Sqrt(float64(dim))
			}
			softmax(weights)
			mix := out.Row(t)[h*dim : (h+1)*dim]
			for s, weight := range weights {
				value := qkv.Row(s)[2*embed+h*dim : 2*embed+(h+1)*dim]
				for i, v := range value {
					mix[i] += weight * v
				}
			}
		}
	}
	return out
}
