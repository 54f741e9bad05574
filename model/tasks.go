package model

import "polynode/kernels"

// makeTasks binds the row loops of a layer. Each says what one part computes; forward.go says in which order.
func (s *Stage) makeTasks() {
	s.embed = s.embedRow
	s.normAttention = s.normAttentionRow
	s.splitQKV = s.splitQKVRun
	s.attend = s.attendPart
	s.collectAttended = s.collectAttendedRow
	s.addAttention = s.addAttentionRow
	s.activate = s.activateRow
	s.addFFN = s.addFFNRow
	s.normFinal = s.normFinalRow
	s.showLogits = s.showLogitsPiece
	s.sumTarget = s.sumTargetRow
}

// residual is row t of the residual stream, (Embed).
func (s *Stage) residual(t int) []float32 {
	return s.hidden[t*s.config.Embed : (t+1)*s.config.Embed]
}

// quantise prepares row t of x for the matrices, if their format wants int8.
func (s *Stage) quantise(x *kernels.Activations, matrices []kernels.Matrix, t int) {
	if len(matrices) > 0 && matrices[0].Format.Quantised() {
		x.Quantise(t, t+1)
	}
}

func (s *Stage) embedRow(t int) {
	row, position := s.residual(t), int(s.batch.Positions[t])
	kernels.UnpackRow(row, &s.wte[0], int(s.batch.Tokens[t]))
	kernels.Add(row, s.wpe[position*s.config.Embed:(position+1)*s.config.Embed])
}

// norm puts the LayerNorm of row t into normed, ready for the matrices.
func (s *Stage) norm(n norm, row []float32, t int, matrices []kernels.Matrix) {
	kernels.LayerNorm(s.normed.Row(t), row, n.weight, n.bias, s.config.Epsilon)
	s.quantise(&s.normed, matrices, t)
}

func (s *Stage) normAttentionRow(t int) {
	s.norm(s.layer.norm1, s.residual(t), t, s.layer.qkv)
}

// splitQKVRun turns a run's product into queries, keys and values and stores the latter two in the cache.
func (s *Stage) splitQKVRun(part int) {
	r, width := &s.batch.runs[part], s.qkvWidth()
	for t := r.row; t < r.row+r.rows; t++ {
		row := s.qkv[t*width : (t+1)*width]
		kernels.Finish(row, s.sums[t*width:(t+1)*width], s.layer.qkv[0].Exponent, s.layer.qkvBias)
		position := int(s.batch.Positions[t])
		block, slot := r.blocks[position/kernels.BlockTokens], position%kernels.BlockTokens
		s.cache.layers[s.number].Store(block, slot, row[width/3:2*width/3], row[2*width/3:])
	}
}

// addAttentionRow adds the reduced attention output to row t of the residual stream and norms it for the FFN.
func (s *Stage) addAttentionRow(t int) {
	s.addSums(t, s.layer.attnProjExponent, s.layer.attnProjBias)
	s.norm(s.layer.norm2, s.residual(t), t, s.layer.up)
}

func (s *Stage) activateRow(t int) {
	width := s.share.Inner.Len()
	row := s.inner.Row(t)
	kernels.Finish(row, s.sums[t*width:(t+1)*width], s.layer.up[0].Exponent, s.layer.upBias)
	if s.config.Activation == GELUErf {
		kernels.GELUErf(row)
	} else {
		kernels.GELU(row)
	}
	s.quantise(&s.inner, s.layer.down, t)
}

func (s *Stage) addFFNRow(t int) {
	s.addSums(t, s.layer.downExponent, s.layer.downBias)
}

// addSums adds row t of the reduced sums and the bias to the residual stream. The row of normed is free by now and
// holds the product as float32.
func (s *Stage) addSums(t, exponent int, bias []float32) {
	embed := s.config.Embed
	product := s.normed.Row(t)
	kernels.Finish(product, s.sums[t*embed:(t+1)*embed], exponent, bias)
	kernels.Add(s.residual(t), product)
}
