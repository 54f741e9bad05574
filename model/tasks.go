package model

import "polynode/kernels"

// makeTasks binds the row loops of a layer. Each says what one part computes; forward.go says in which order.
func (s *Stage) makeTasks() {
	s.embed = s.embedRow
	s.normAttention = s.normAttentionRow
	s.splitQKV = s.splitQKVRow
	s.attend = s.attendPart
	s.collectAttended = s.collectAttendedRow
	s.addAttention = s.addAttentionRow
	s.activate = s.activatePiece
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
	switch {
	case len(matrices) == 0:
	case matrices[0].Format.Quantised():
		s.normed.SetNorm(t, row, n.weight, n.bias, s.config.Epsilon)
	default:
		kernels.LayerNorm(s.normed.Row(t), row, n.weight, n.bias, s.config.Epsilon)
	}
}

func (s *Stage) normAttentionRow(t int) {
	s.norm(s.layer.norm1, s.residual(t), t, s.layer.qkv)
}

// splitQKVRow turns a row's product into queries, keys and values and stores the latter two in the cache.
func (s *Stage) splitQKVRow(t int) {
	width := s.qkvWidth()
	row := s.qkv[t*width : (t+1)*width]
	kernels.Finish(row, s.sums[t*width:(t+1)*width], s.layer.qkv[0].Exponent, s.layer.qkvBias)
	blocks, position := s.batch.runs[s.batch.runOf[t]].blocks, int(s.batch.Positions[t])
	block, slot := blocks[position/kernels.BlockTokens], position%kernels.BlockTokens
	s.cache.layers[s.number].Store(block, slot, row[width/3:2*width/3], row[2*width/3:])
}

// addAttentionRow adds the reduced attention output to row t of the residual stream and norms it for the FFN.
func (s *Stage) addAttentionRow(t int) {
	s.addSums(t, s.layer.attnProjExponent, s.layer.attnProjBias)
	s.norm(s.layer.norm2, s.residual(t), t, s.layer.up)
}

// activateColumns is the least number of columns that are worth a part of their own: a third of a microsecond.
const activateColumns = 512

// activationPieces cuts each row of the FFN's inner layer so that every worker has a part, and returns the number of parts.
func (s *Stage) activationPieces(rows, workers int) int {
	wanted := (workers + rows - 1) / max(1, rows)
	s.pieces = max(1, min(wanted, s.share.Inner.Len()/activateColumns))
	return rows * s.pieces
}

// activatePiece turns a piece of a row of the product with up into activations for down.
func (s *Stage) activatePiece(part int) {
	t, piece, width := part/s.pieces, part%s.pieces, s.share.Inner.Len()
	lo, hi := s.pieceStart(piece, width), s.pieceStart(piece+1, width)
	sums, bias, exponent := s.sums[t*width+lo:t*width+hi], s.layer.upBias[lo:hi], s.layer.up[0].Exponent
	exact := s.config.Activation == GELUErf
	if len(s.layer.down) > 0 && s.layer.down[0].Format.Quantised() {
		s.inner.SetGELU(t, lo, sums, exponent, bias, exact)
		return
	}
	row := s.inner.Row(t)[lo:hi]
	kernels.Finish(row, sums, exponent, bias)
	if exact {
		kernels.GELUErf(row)
	} else {
		kernels.GELU(row)
	}
}

// pieceStart is the first column of a piece: whole leaves, which have one scale.
func (s *Stage) pieceStart(piece, width int) int {
	leaf := s.source.Leaf()
	return min(width, piece*((width+leaf-1)/leaf)/s.pieces*leaf)
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
