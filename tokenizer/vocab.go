package tokenizer

import (
	"errors"
	"fmt"
	"math"
	"unicode/utf8"
)

// pieceKind is the schema's ModelProto.SentencePiece.Type.
type pieceKind uint8

const (
	pieceNormal      pieceKind = 1
	pieceUnknown     pieceKind = 2
	pieceControl     pieceKind = 3
	pieceUserDefined pieceKind = 4
	pieceUnused      pieceKind = 5
	pieceByte        pieceKind = 6
)

// vocab holds the pieces by id and by text. It is read-only once made.
type vocab struct {
	text  string   // all pieces, one after another
	off   []uint32 // piece id is text[off[id]:off[id+1]]
	score []float32
	kind  []pieceKind

	// The two name spaces of the library: reserved has the UNKNOWN, CONTROL and BYTE pieces, which text never matches; words
	// has the NORMAL, USER_DEFINED and UNUSED ones, which it does. Where a text is in both, reserved wins (see canonical).
	reserved map[string]int32
	words    trie
	shadowed map[int32]int32 // ids of words whose text is reserved too → the reserved id; nil: none

	symbols   *trie // the USER_DEFINED pieces; nil: none
	hasUnused bool
	unk       int32
	fallback  bool       // unknown text becomes byte pieces
	bytes     [256]int32 // their ids, where fallback
	byteOf    map[int32]byte
}

// newVocab checks the pieces as the library does when it loads a model, and a little more strictly: texts must be valid UTF-8
// and scores finite.
func newVocab(m *modelProto) (*vocab, error) {
	v := &vocab{
		off:      make([]uint32, 1, len(m.pieces)+1),
		score:    make([]float32, len(m.pieces)),
		kind:     make([]pieceKind, len(m.pieces)),
		reserved: make(map[string]int32),
		byteOf:   make(map[int32]byte),
		unk:      noPiece,
		fallback: m.trainer.byteFallback,
	}
	total := 0
	for i := range m.pieces {
		total += len(m.pieces[i].text)
	}
	text := make([]byte, 0, total)
	words := make([]insertion, 0, len(m.pieces))
	for i := range m.pieces {
		p := &m.pieces[i]
		if err := checkPiece(p, i); err != nil {
			return nil, err
		}
		start := len(text)
		text = append(text, p.text...)
		v.off = append(v.off, uint32(len(text)))
		v.kind[i] = p.kind
		v.score[i] = p.score
		if isWord(p.kind) {
			words = append(words, insertion{at: uint32(start), end: uint32(len(text)), id: int32(i)})
		} else if err := v.reserve(p, int32(i)); err != nil {
			return nil, err
		}
	}
	v.text = string(text)
	if err := v.fileWords(text, words); err != nil {
		return nil, err
	}
	return v, v.finish()
}

// isWord reports whether text can match pieces of a kind.
func isWord(k pieceKind) bool {
	return k == pieceNormal || k == pieceUserDefined || k == pieceUnused
}

// checkPiece checks what can be seen from one piece alone.
func checkPiece(p *protoPiece, id int) error {
	switch {
	case len(p.text) == 0:
		return fmt.Errorf("%w: pieces[%d].piece: empty", ErrInvalid, id)
	case len(p.text) > MaxPieceBytes:
		return fmt.Errorf("%w: pieces[%d].piece: %d bytes, more than %d", ErrTooLarge, id, len(p.text), MaxPieceBytes)
	case !utf8.Valid(p.text):
		return fmt.Errorf("%w: pieces[%d].piece: not valid UTF-8", ErrInvalid, id)
	case math.IsNaN(float64(p.score)) || math.IsInf(float64(p.score), 0):
		return fmt.Errorf("%w: pieces[%d].score: %v", ErrInvalid, id, p.score)
	}
	return nil
}

// reserve files a piece that text never matches.
func (v *vocab) reserve(p *protoPiece, id int32) error {
	if first, dup := v.reserved[string(p.text)]; dup {
		return fmt.Errorf("%w: pieces[%d].piece: %q is already piece %d", ErrInvalid, id, p.text, first)
	}
	v.reserved[string(p.text)] = id
	switch p.kind {
	case pieceUnknown:
		if v.unk != noPiece {
			return fmt.Errorf("%w: pieces[%d].type: UNKNOWN, as is piece %d", ErrInvalid, id, v.unk)
		}
		v.unk = id
	case pieceByte:
		if !v.fallback {
			return fmt.Errorf("%w: pieces[%d].type: BYTE, but trainer_spec.byte_fallback is false", ErrInvalid, id)
		}
		b, ok := parseBytePiece(p.text)
		if !ok {
			return fmt.Errorf("%w: pieces[%d].piece: %q is not a byte as <0x00> to <0xFF>", ErrInvalid, id, p.text)
		}
		v.byteOf[id] = b
		v.bytes[b] = id
	}
	return nil
}

// fileWords files the pieces that text can match.
func (v *vocab) fileWords(text []byte, words []insertion) error {
	var symbols []insertion
	for _, w := range words {
		switch v.kind[w.id] {
		case pieceUnused:
			v.hasUnused = true
		case pieceUserDefined:
			symbols = append(symbols, w)
		}
	}
	// Pieces share prefixes, so that a vocabulary of n has about 2n distinct ones.
	v.words = newTrie(2 * len(words))
	err := v.words.insertAll(text, words, MaxTrieNodes)
	if dup := (*duplicateError)(nil); errors.As(err, &dup) {
		return fmt.Errorf("%w: pieces[%d].piece: %q is already piece %d", ErrInvalid, dup.second, v.piece(dup.second), dup.first)
	}
	if err != nil {
		return fmt.Errorf("%w: pieces: more than %d distinct prefixes", ErrTooLarge, MaxTrieNodes)
	}
	if len(symbols) > 0 {
		t := newTrie(2 * len(symbols))
		v.symbols = &t
		return t.insertAll(text, symbols, MaxTrieNodes)
	}
	return nil
}

// finish makes the checks that need all pieces.
func (v *vocab) finish() error {
	if v.unk == noPiece {
		return fmt.Errorf("%w: pieces: none of type UNKNOWN", ErrInvalid)
	}
	if v.fallback && len(v.byteOf) != 256 {
		return fmt.Errorf("%w: pieces: %d of type BYTE where trainer_spec.byte_fallback needs 256", ErrInvalid, len(v.byteOf))
	}
	for s, id := range v.reserved {
		if word := v.words.find(s); word != noPiece {
			if v.shadowed == nil {
				v.shadowed = make(map[int32]int32)
			}
			v.shadowed[word] = id
		}
	}
	return nil
}

// parseBytePiece reads "<0xHH>" with two capital hexadecimal digits.
func parseBytePiece(s []byte) (byte, bool) {
	const digits = "0123456789ABCDEF"
	if len(s) != 6 || string(s[:3]) != "<0x" || s[5] != '>' {
		return 0, false
	}
	b := byte(0)
	for _, c := range s[3:5] {
		d := byte(0)
		for d < 16 && digits[d] != c {
			d++
		}
		if d == 16 {
			return 0, false
		}
		b = b<<4 | d
	}
	return b, true
}

func (v *vocab) size() int { return len(v.kind) }

// piece returns the text of a piece that exists.
func (v *vocab) piece(id int32) string { return v.text[v.off[id]:v.off[id+1]] }

// lookup returns the id of a piece's text, or noPiece.
func (v *vocab) lookup(text string) int32 {
	if id, ok := v.reserved[text]; ok {
		return id
	}
	return v.words.find(text)
}

// canonical returns the id that a piece's text stands for: its own unless the text is reserved as well.
func (v *vocab) canonical(id int32) int32 {
	if v.shadowed == nil {
		return id
	}
	if other, ok := v.shadowed[id]; ok {
		return other
	}
	return id
}

// emitter appends ids to dst and remembers what the next unknown text needs to know.
type emitter struct {
	v       *vocab
	dst     []int32
	prevUnk bool
}

// known appends the id of a piece that text matched.
func (e *emitter) known(id int32) {
	e.dst = append(e.dst, id)
	e.prevUnk = false
}

// unknown appends text that no piece covers: its bytes in UTF-8, or one unknown piece for a run of it.
func (e *emitter) unknown(text []rune) {
	if e.v.fallback {
		var buf [utf8.UTFMax]byte
		for _, r := range text {
			for _, b := range buf[:utf8.EncodeRune(buf[:], r)] {
				e.dst = append(e.dst, e.v.bytes[b])
			}
		}
		e.prevUnk = true
		return
	}
	if !e.prevUnk {
		e.dst = append(e.dst, e.v.unk)
	}
	e.prevUnk = true
}
