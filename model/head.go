package model

import (
	"polynode/kernels"
	"polynode/shard"
)

// headRows is how many rows of the head one part of a parallel section computes and shows: few enough that logits are looked at
// while they lie in a processor's cache, and so many that looking starts seldom.
const headRows = 512

// Looker looks at logits as soon as they are made.
type Looker interface {
	// Look is given the logits of tokens [lo, lo+n) after each row that Head was asked for, row i's at logits[i*stride:]. It may
	// change them; they are gone when it returns. Several goroutines call it at once, each with other tokens.
	Look(logits []float32, stride, lo, n int)
}

// head is the last norm and the share of the vocabulary that a rank of the last stage multiplies by.
type head struct {
	norm     norm
	matrix   []kernels.Matrix // one of (share.Vocab, Embed)
	exponent int              // also where the share is empty

	unverified []piece
	scratch    chan *headScratch // one for each worker of the pool
}

// headScratch is a piece of the logits before and after scaling, (rows, headRows) each.
type headScratch struct {
	sums   []int32
	logits []float32
}

// loadHead reads the share of the head.
func (s *Stage) loadHead(ld *loader, workers int) {
	all := shard.Slice{Hi: s.config.Embed}
	name := Head
	if s.config.TiedHead {
		name = TokenEmbedding
	}
	s.head = head{
		norm:       ld.norm(FinalNormWeight, FinalNormBias),
		matrix:     ld.matrix(name, s.share.Vocab, all),
		exponent:   ld.exponent(name, s.config.Vocab, s.config.Embed),
		unverified: cutRows(piece{name, s.share.Vocab, all}),
		scratch:    make(chan *headScratch, workers),
	}
	for range workers {
		s.head.scratch <- new(headScratch)
	}
}

// Head shows looker the logits of the share's part of the vocabulary after some rows of the residual stream, hidden (T, Embed), a
// piece at a time. Rows that no tokenizer piece names are -Inf. No more than a piece for each thread exists at any time.
func (s *Stage) Head(hidden []float32, rows []int32, looker Looker) error {
	width := s.share.Vocab.Len()
	if width == 0 || len(rows) == 0 {
		return nil
	}
	if err := s.normRows(hidden, rows); err != nil {
		return err
	}
	s.looker = looker
	s.pool.Run((width+headRows-1)/headRows, s.showLogits)
	s.looker = nil
	return nil
}

// TargetLogits writes the logit of token tokens[i] after row rows[i] of the residual stream to dst[i], for all ranks of the group, which
// must ask for the same. A negative token gives 0.
func (s *Stage) TargetLogits(dst, hidden []float32, rows, tokens []int32) error {
	if err := s.normRows(hidden, rows); err != nil {
		return err
	}
	s.targets, s.targetSums = tokens, grow(s.targetSums, len(rows))
	clear(s.targetSums)
	if s.share.Vocab.Len() > 0 {
		s.pool.Run(len(rows), s.sumTarget)
	}
	if err := s.group.AllReduce(s.targetSums); err != nil {
		return err
	}
	kernels.Finish(dst, s.targetSums, s.head.exponent, nil)
	for i, token := range tokens {
		if int(token) >= s.config.Pieces {
			dst[i] = negativeInfinity
		}
	}
	return nil
}

// normRows puts the last norm of the rows into normed, ready for the head.
func (s *Stage) normRows(hidden []float32, rows []int32) error {
	if err := s.verify(&s.head.unverified); err != nil {
		return err
	}
	s.hidden, s.rows = hidden, rows
	s.normed.Reset(len(rows), s.config.Embed, s.source.Leaf())
	s.pool.Run(len(rows), s.normFinal)
	return nil
}

func (s *Stage) normFinalRow(i int) {
	s.norm(s.head.norm, s.residual(int(s.rows[i])), i, s.head.matrix)
}

// showLogitsPiece multiplies one piece of the head and shows the result.
func (s *Stage) showLogitsPiece(part int) {
	rows, lo := s.normed.T(), part*headRows
	n := min(headRows, s.share.Vocab.Len()-lo)
	w := <-s.head.scratch
	w.sums = grow(w.sums, rows*n)
	w.logits = grow(w.logits, rows*n)
	s.mulHead(w.sums, n, lo)
	kernels.Finish(w.logits, w.sums, s.head.exponent, nil)
	lo += s.share.Vocab.Lo
	for id := max(s.config.Pieces, lo); id < lo+n; id++ {
		for i := range rows {
			w.logits[i*n+id-lo] = negativeInfinity
		}
	}
	s.looker.Look(w.logits, n, lo, n)
	s.head.scratch <- w
}

// mulHead multiplies rows [lo, lo+n) of the head's share by the normed rows into sums (T, n). lo is the first row of a panel.
func (s *Stage) mulHead(sums []int32, n, lo int) {
	m, err := s.head.matrix[0].SliceRows(lo, lo+n)
	if err != nil {
		panic(err)
	}
	if clamped := kernels.MulPanels(sums, n, &m, &s.normed, 0, kernels.Panels(n)); clamped > 0 {
		s.product.clamps.Add(int64(clamped))
	}
}

// sumTargetRow computes the logit of one target, if it lies in the share, before scaling.
func (s *Stage) sumTargetRow(i int) {
	at := int(s.targets[i]) - s.share.Vocab.Lo
	if s.targets[i] < 0 || at < 0 || at >= s.share.Vocab.Len() {
		return
	}
	lo := at / panelRows * panelRows
	n := min(panelRows, s.share.Vocab.Len()-lo)
	w := <-s.head.scratch
	w.sums = grow(w.sums, s.normed.T()*n)
	s.mulHead(w.sums, n, lo)
	s.targetSums[i] = w.sums[i*n+at-lo]
	s.head.scratch <- w
}
