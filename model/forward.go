package model

import (
	"fmt"

	"polynode/kernels"
	"polynode/shard"
)

// Embed starts the residual stream of the batch's rows: token embedding plus position embedding. Only the first
// stage can. hidden is (T, Embed).
func (s *Stage) Embed(b *Batch, hidden []float32) error {
	if err := b.check(&s.config, s.cache.blocks); err != nil {
		return err
	}
	for _, token := range b.Tokens {
		panel := int(token) / panelRows * panelRows
		rows := shard.Slice{Lo: panel, Hi: min(panel+panelRows, s.config.Vocab)}
		if err := s.source.Verify(TokenEmbedding, rows, shard.Slice{Hi: s.config.Embed}); err != nil {
			return err
		}
	}
	s.batch, s.hidden = b, hidden
	s.pool.Run(b.Rows(), s.embed)
	return nil
}

// Forward takes the residual stream of the batch's rows through the stage's layers, in place, and stores their
// keys and values in the cache. hidden is (T, Embed). Every rank of the group must be given the same rows.
func (s *Stage) Forward(b *Batch, hidden []float32) error {
	if err := b.check(&s.config, s.cache.blocks); err != nil {
		return err
	}
	if want := b.Rows() * s.config.Embed; len(hidden) != want {
		return fmt.Errorf("%w: residual stream of %d values, want %d", ErrBatch, len(hidden), want)
	}
	s.batch, s.hidden = b, hidden
	s.reserve(b.Rows())
	for i := range s.layers {
		s.layer, s.number = &s.layers[i], i
		if err := s.verify(&s.layer.unverified); err != nil {
			return err
		}
		if err := s.attention(); err != nil {
			return fmt.Errorf("layer %d attention: %w", s.share.Layers.Lo+i, err)
		}
		if err := s.ffn(); err != nil {
			return fmt.Errorf("layer %d FFN: %w", s.share.Layers.Lo+i, err)
		}
	}
	return nil
}

// attention adds the attention of the current layer to the residual stream.
func (s *Stage) attention() error {
	l, rows := s.layer, s.batch.Rows()
	s.pool.Run(rows, s.normAttention)
	if heads := s.share.Heads.Len(); heads > 0 {
		s.multiply(&s.normed, l.qkv, s.sums, s.qkvWidth())
		s.pool.Run(rows, s.splitQKV)
		s.pool.Run(s.attendance.parts, s.attend)
		s.pool.Run(rows, s.collectAttended)
	}
	if err := s.reduce(&s.attended, l.attnProj); err != nil {
		return err
	}
	s.done.Add(1)
	s.pool.Run(rows, s.addAttention)
	return nil
}

// ffn adds the feed-forward network of the current layer to the residual stream. The rows were normed by
// addAttention.
func (s *Stage) ffn() error {
	l, rows := s.layer, s.batch.Rows()
	if inner := s.share.Inner.Len(); inner > 0 {
		s.multiply(&s.normed, l.up, s.sums, inner)
		s.pool.Run(s.activationPieces(rows, s.pool.Workers()), s.activate)
	}
	if err := s.reduce(&s.inner, l.down); err != nil {
		return err
	}
	s.done.Add(1)
	s.pool.Run(rows, s.addFFN)
	return nil
}

// multiply puts the products of x with the matrices side by side into out, (T, stride).
func (s *Stage) multiply(x *kernels.Activations, matrices []kernels.Matrix, out []int32, stride int) {
	s.pool.Run(s.product.prepare(out, stride, x, matrices, s.pool.Workers()), &s.product)
}

// reduce multiplies x by the rank's columns of a matrix with Embed rows and adds up over the group, into sums
// (T, Embed). A rank without columns adds nothing.
func (s *Stage) reduce(x *kernels.Activations, columns []kernels.Matrix) error {
	sums := s.sums[:s.batch.Rows()*s.config.Embed]
	if len(columns) == 0 {
		clear(sums)
	} else {
		s.multiply(x, columns, sums, s.config.Embed)
	}
	return s.group.AllReduce(sums)
}

// verify compares pieces with their hashes before they are first used, and empties the list when all are good.
func (s *Stage) verify(pieces *[]piece) error {
	if len(*pieces) == 0 {
		return nil
	}
	errs := make([]error, len(*pieces))
	s.pool.Run(len(errs), rowTask(func(i int) {
		p := (*pieces)[i]
		errs[i] = s.source.Verify(p.name, p.rows, p.k)
		s.done.Add(1)
	}))
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	*pieces = nil
	return nil
}

// reserve sizes the buffers for so many rows.
func (s *Stage) reserve(rows int) {
	leaf := s.source.Leaf()
	heads, inner := s.share.Heads.Len()*s.config.HeadDim(), s.share.Inner.Len()
	s.normed.Reset(rows, s.config.Embed, leaf)
	if heads > 0 {
		s.attended.Reset(rows, heads, leaf)
	}
	if inner > 0 {
		s.inner.Reset(rows, inner, leaf)
	}
	s.qkv = grow(s.qkv, rows*3*heads)
	s.sums = grow(s.sums, rows*max(s.config.Embed, 3*heads, inner))
	s.attendance.plan(s.batch, s.share.Heads.Len(), s.config.HeadDim(), s.pool.Workers())
}

func (s *Stage) qkvWidth() int { return 3 * s.share.Heads.Len() * s.config.HeadDim() }

// grow returns a slice of n elements, in s's memory if that is large enough.
func grow[E any](s []E, n int) []E {
	if cap(s) >= n {
		return s[:n]
	}
	return make([]E, n)
}
