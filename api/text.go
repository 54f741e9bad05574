package api

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"polynode/tokenizer"
)

// text is what one choice says: tokens go in, text that may be sent comes out. It belongs to one goroutine.
type text struct {
	tokenizer   *tokenizer.SentencePiece
	prompt      []int32
	stream      *tokenizer.Stream
	stop        *stopper
	own         int  // stops before this index are the client's, the others the chat format's
	includeStop bool // the client's stop string belongs to the text
	skipSpecial bool
	minTokens   int // text of the first minTokens tokens is not searched for stops
	count       int // tokens so far
	runes       int // characters the tokens gave so far, sent or not
}

// newText begins a text that follows a prompt. formatStops end it too, but are never shown.
func newText(t *tokenizer.SentencePiece, prompt []int32, g *generation, formatStops []string) *text {
	return &text{
		tokenizer: t, prompt: prompt, stream: t.NewStreamAfter(prompt),
		stop: newStopper(slices.Concat(g.stops, formatStops)), own: len(g.stops),
		includeStop: g.includeStop, skipSpecial: g.skipSpecial, minTokens: g.request.MinTokens,
	}
}

// write adds a token and returns the text that may be sent now, often none. After a stop string was met it returns nothing.
func (t *text) write(id int32) string {
	t.count++
	if t.skipSpecial || !t.tokenizer.IsControl(id) {
		return t.add(t.stream.Write(id))
	}
	name, _ := t.tokenizer.Piece(id)
	piece := t.stream.Flush() + name
	t.stream = t.tokenizer.NewStreamAfter(t.prompt) // a flushed stream is spent
	return t.add(piece)
}

// add sends decoded text through the stopper.
func (t *text) add(piece string) string {
	t.runes += utf8.RuneCountInString(piece)
	if t.count <= t.minTokens {
		return piece
	}
	before := t.stop.met
	out := t.stop.write(piece)
	if before < 0 && t.stop.met >= 0 && t.stop.met < t.own && t.includeStop {
		out += t.stop.stops[t.stop.met]
	}
	return out
}

// stopped returns the stop string that was met. It returns false when none was.
func (t *text) stopped() (string, bool) {
	if t.stop.met < 0 {
		return "", false
	}
	return t.stop.stops[t.stop.met], true
}

// end returns what was held back: an incomplete character as U+FFFD, and the beginning of a stop string that never came.
func (t *text) end() string {
	if t.stop.met >= 0 {
		return ""
	}
	return t.add(t.stream.Flush()) + t.stop.flush()
}

// tokenText writes a token for an answer's log-probabilities: its text, or its bytes as \xNN when they are not a whole
// character, or the piece's name when it has no text.
func tokenText(t *tokenizer.SentencePiece, id int32) (written string, raw []byte) {
	raw = t.TokenBytes(id)
	switch {
	case len(raw) == 0:
		written, _ = t.Piece(id)
		return written, raw
	case utf8.Valid(raw):
		return string(raw), raw
	}
	var b strings.Builder
	for _, c := range raw {
		fmt.Fprintf(&b, `\x%02x`, c)
	}
	return b.String(), raw
}
