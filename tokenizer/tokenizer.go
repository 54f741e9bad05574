package tokenizer

import "sync"

// Tokenizer turns text into token ids and back. Implementations are safe for concurrent use.
type Tokenizer interface {
	// Append appends the ids of text to dst and returns the extended slice. It adds no begin or end token.
	Append(dst []int32, text string) []int32
	// Decode returns the text of ids. Control pieces are invisible and ids out of range count for nothing.
	Decode(ids []int32) string
	// Piece returns the piece of an id as the model stores it, such as "▁the" or "<0x0A>"; false if there is none.
	Piece(id int32) (string, bool)
	// ID returns the id of a piece as the model stores it; false if there is none.
	ID(piece string) (int32, bool)
	// Size returns the number of pieces: ids are 0 to Size()-1.
	Size() int
	// NewStream returns a decoder that takes one id at a time.
	NewStream() *Stream
}

// SentencePiece is a Tokenizer made from a tokenizer.model file. Make one with Parse. It is read-only and safe for concurrent
// use.
type SentencePiece struct {
	vocab    *vocab
	norm     *normalizer
	denorm   *normalizer // nil: decoded text stays as it is
	model    segmenter
	kind     string
	bos, eos int32
	surface  string // what an unknown token reads as
	scratch  sync.Pool
}

var _ Tokenizer = (*SentencePiece)(nil)

// segmenter is the algorithm that cuts normalised text into pieces.
type segmenter interface {
	encode(e *emitter, text []rune, sc *scratch)
}

// scratch is the memory of one Append, kept for the next.
type scratch struct {
	out     emitter
	runes   []rune
	lattice []latticeNode
	parts   []part
	syms    []symbol
	heap    []candidate
}

// keepRunes is how long a text's scratch memory may be and still go back to the pool: long texts are rare, and the memory of
// one (up to 100 bytes a rune) should not stay.
const keepRunes = 1 << 16

// Append appends the ids of text to dst. Malformed UTF-8 is read as one U+FFFD a byte. No text becomes a control piece.
func (s *SentencePiece) Append(dst []int32, text string) []int32 {
	sc, _ := s.scratch.Get().(*scratch)
	if sc == nil {
		sc = new(scratch)
	}
	sc.runes = s.norm.normalize(sc.runes[:0], text)
	sc.out = emitter{v: s.vocab, dst: dst}
	s.model.encode(&sc.out, sc.runes, sc)
	dst = sc.out.dst
	sc.out.dst = nil
	if cap(sc.runes) <= keepRunes {
		s.scratch.Put(sc)
	}
	return dst
}

// Piece returns the piece of id as stored; false if id is out of range.
func (s *SentencePiece) Piece(id int32) (string, bool) {
	if id < 0 || int(id) >= s.vocab.size() {
		return "", false
	}
	return s.vocab.piece(id), true
}

// ID returns the id of piece as stored. If there is none it returns Unknown() and false.
func (s *SentencePiece) ID(piece string) (int32, bool) {
	if id := s.vocab.lookup(piece); id != noPiece {
		return id, true
	}
	return s.vocab.unk, false
}

// Size returns the number of pieces.
func (s *SentencePiece) Size() int { return s.vocab.size() }

// Kind returns the algorithm: "unigram" or "bpe".
func (s *SentencePiece) Kind() string { return s.kind }

// Unknown returns the id of the unknown piece, which every model has.
func (s *SentencePiece) Unknown() int32 { return s.vocab.unk }

// BOS returns the id of the piece that begins a text, or -1 if the model has none.
func (s *SentencePiece) BOS() int32 { return s.bos }

// EOS returns the id of the piece that ends a text, or -1 if the model has none.
func (s *SentencePiece) EOS() int32 { return s.eos }

// IsControl reports whether id is a control piece, such as BOS: invisible in text and never the result of Append.
func (s *SentencePiece) IsControl(id int32) bool {
	return id >= 0 && int(id) < s.vocab.size() && s.vocab.kind[id] == pieceControl
}
