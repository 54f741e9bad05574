package tokenizer

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// Stream decodes ids one at a time, for text that is shown while it grows. All results of Write and Flush joined together are
// the text that Decode gives for all ids, and each is valid UTF-8: what a later id could still change is held back. A Stream
// belongs to one goroutine at a time.
type Stream struct {
	sp     *SentencePiece
	state  decodeState
	denorm *denormalStream // nil if the model has none
	tail   string          // shown before the stream began, although the prompt's last bytes were still open
	buf    []byte
}

// NewStream returns a stream for a text that begins with the first id written.
func (s *SentencePiece) NewStream() *Stream {
	st := &Stream{sp: s}
	if s.denorm != nil {
		st.denorm = &denormalStream{n: s.denorm}
	}
	return st
}

// NewStreamAfter returns a stream for ids that continue prompt: its text is Decode(prompt followed by ids) less
// Decode(prompt). So a first piece "▁world" reads " world", where at the beginning of a text it would read "world". Should the
// prompt end within a character of byte pieces, which Decode shows as U+FFFD, and ids complete it, then the stream's text
// begins with the whole character.
func (s *SentencePiece) NewStreamAfter(prompt []int32) *Stream {
	st := s.NewStream()
	for _, id := range prompt {
		st.buf = st.advance(st.buf[:0], id)
	}
	st.buf = nil
	st.tail = st.clone().Flush()
	return st
}

// Write takes the next id and returns the text that is now settled, often one word, sometimes nothing. Ids out of range count
// for nothing.
func (st *Stream) Write(id int32) string {
	st.buf = st.advance(st.buf[:0], id)
	return st.untail(string(st.buf))
}

// Flush ends the stream and returns the text held back: U+FFFD for each byte of a character that never became whole. The
// stream must not be used after it.
func (st *Stream) Flush() string {
	st.buf = st.finish(st.buf[:0])
	return st.untail(string(st.buf))
}

// Decode returns the text of ids. Control pieces are invisible, unknown ones read " ⁇ " unless the model says otherwise, and
// ids out of range count for nothing.
func (s *SentencePiece) Decode(ids []int32) string {
	st := s.NewStream()
	buf := make([]byte, 0, 4*len(ids))
	for _, id := range ids {
		buf = st.advance(buf, id)
	}
	return string(st.finish(buf))
}

// TokenBytes returns the bytes that a token stands for within a text: one byte for a byte piece, none for control pieces and
// ids out of range. Joined over a text's tokens they are the bytes of its text, save for the space that begins it.
func (s *SentencePiece) TokenBytes(id int32) []byte {
	if id < 0 || int(id) >= s.vocab.size() {
		return nil
	}
	id = s.vocab.canonical(id)
	switch s.vocab.kind[id] {
	case pieceControl:
		return nil
	case pieceByte:
		return []byte{s.vocab.byteOf[id]}
	case pieceUnknown:
		return []byte(s.surface)
	}
	return appendSpaced(nil, s.vocab.piece(id))
}

// advance appends to dst the text that id settles.
func (st *Stream) advance(dst []byte, id int32) []byte {
	if st.denorm == nil {
		return st.sp.decode(dst, &st.state, id)
	}
	return st.denorm.write(dst, string(st.sp.decode(nil, &st.state, id)), false)
}

// finish appends to dst what was held back.
func (st *Stream) finish(dst []byte) []byte {
	if st.denorm == nil {
		return st.state.drop(dst)
	}
	return st.denorm.write(dst, string(st.state.drop(nil)), true)
}

// untail removes from text what was already shown of it. Either all of tail comes again, and is skipped, or something else
// comes in its place, and is kept.
func (st *Stream) untail(text string) string {
	if st.tail == "" {
		return text
	}
	common := 0
	for common < min(len(text), len(st.tail)) && text[common] == st.tail[common] {
		common++
	}
	if common < len(text) && common < len(st.tail) {
		st.tail = ""
		return text
	}
	st.tail = st.tail[common:]
	return text[common:]
}

func (st *Stream) clone() *Stream {
	c := &Stream{sp: st.sp, state: st.state}
	if st.denorm != nil {
		d := *st.denorm
		d.held = slices.Clone(d.held)
		c.denorm = &d
	}
	return c
}

// decodeState is where the decoding of one text stands between two ids.
type decodeState struct {
	held      [utf8.UTFMax]byte // bytes of a character that is not whole yet
	n         int
	any       bool // the text is not empty, once held is dropped
	begun     bool // past the place where a piece loses its space symbol
	lostSpace bool // the last piece lost it
}

// decode appends to dst the text that id settles.
func (s *SentencePiece) decode(dst []byte, d *decodeState, id int32) []byte {
	if id < 0 || int(id) >= s.vocab.size() {
		return dst
	}
	id = s.vocab.canonical(id)
	kind := s.vocab.kind[id]
	if kind == pieceByte {
		return d.push(dst, s.vocab.byteOf[id])
	}
	dst = d.drop(dst)
	d.begun = d.begun || d.any || d.lostSpace
	d.lostSpace = false
	text := ""
	switch kind {
	case pieceControl:
	case pieceUnknown:
		text = s.surface
	default:
		text = s.vocab.piece(id)
		if !d.begun && (s.norm.dummyPrefix || s.norm.trim) {
			rest, cut := strings.CutPrefix(text, spaceSymbolText)
			text = rest
			// Where spaces are trimmed, every piece loses its space symbol until there is text; else only the first does.
			d.lostSpace = cut && !s.norm.trim
		}
		d.any = d.any || text != ""
		return appendSpaced(dst, text)
	}
	d.any = d.any || text != ""
	return append(dst, text...)
}

// push takes the byte of a byte piece and appends the characters that are whole, and U+FFFD for bytes that cannot be in one.
func (d *decodeState) push(dst []byte, b byte) []byte {
	d.held[d.n] = b
	d.n++
	d.any = true
	for d.n > 0 && utf8.FullRune(d.held[:d.n]) {
		r, size := utf8.DecodeRune(d.held[:d.n])
		dst = utf8.AppendRune(dst, r)
		d.n = copy(d.held[:], d.held[size:d.n])
	}
	return dst
}

// drop appends one U+FFFD for each byte held.
func (d *decodeState) drop(dst []byte) []byte {
	for ; d.n > 0; d.n-- {
		dst = append(dst, "\uFFFD"...)
	}
	return dst
}

// appendSpaced appends a piece's text with spaces for space symbols.
func appendSpaced(dst []byte, piece string) []byte {
	for {
		before, after, found := strings.Cut(piece, spaceSymbolText)
		dst = append(dst, before...)
		if !found {
			return dst
		}
		dst = append(dst, ' ')
		piece = after
	}
}
