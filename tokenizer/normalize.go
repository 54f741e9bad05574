package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// spaceSymbol stands for a space inside pieces and normalised text.
const spaceSymbol = '\u2581'

const spaceSymbolText = "\u2581"

// normalizer rewrites text before segmentation, by the model's normalizer_spec. It is read-only.
type normalizer struct {
	charsmap    *charsmap // nil: no rules
	symbols     *trie     // user-defined symbols, which no rule may touch; nil: none
	dummyPrefix bool      // add a space where the text begins (ends, if suffix)
	trim        bool      // drop leading and trailing spaces and all but one of those between
	suffix      bool      // spaces end words instead of beginning them
	space       rune      // what a space becomes: spaceSymbol, or ' ' where the model does not escape spaces
}

func newNormalizer(spec normalizerSpec, name string) (*normalizer, error) {
	n := &normalizer{dummyPrefix: spec.addDummyPrefix, trim: spec.removeExtraSpace, space: ' '}
	if spec.escapeSpace {
		n.space = spaceSymbol
	}
	if len(spec.charsmap) > 0 {
		c, err := newCharsmap(spec.charsmap, name+".precompiled_charsmap")
		if err != nil {
			return nil, err
		}
		n.charsmap = c
	}
	return n, nil
}

// normalize appends the normalised form of text to dst.
func (n *normalizer) normalize(dst []rune, text string) []rune {
	if text == "" {
		return dst
	}
	if n.charsmap == nil && !n.trim {
		return n.copySpaced(dst, text)
	}
	start := len(dst)
	var st normState
	for len(text) > 0 {
		replacement, size := n.next(text)
		dst = n.step(dst, &st, replacement)
		text = text[size:]
	}
	if !st.started {
		return dst
	}
	if n.trim {
		for len(dst) > start && dst[len(dst)-1] == n.space {
			dst = dst[:len(dst)-1]
		}
	}
	if n.suffix && n.dummyPrefix {
		dst = append(dst, n.space)
	}
	return dst
}

// copySpaced is normalize where only spaces and malformed bytes change. User-defined symbols need no protection from that.
func (n *normalizer) copySpaced(dst []rune, text string) []rune {
	if n.dummyPrefix && !n.suffix {
		dst = append(dst, n.space)
	}
	for _, r := range text { // malformed bytes come out as U+FFFD, one each
		if r == ' ' {
			r = n.space
		}
		dst = append(dst, r)
	}
	if n.dummyPrefix && n.suffix {
		dst = append(dst, n.space)
	}
	return dst
}

// normState is where the normalisation of one text stands between two steps.
type normState struct {
	started   bool // something other than a leading space has come
	prevSpace bool // the next spaces are to be dropped
}

// next returns what the beginning of text becomes, and how many bytes of text that covers (at least 1).
func (n *normalizer) next(text string) (replacement string, size int) {
	if n.symbols != nil {
		if size := n.symbols.longestPrefix(text); size > 0 {
			return text[:size], size
		}
	}
	if n.charsmap != nil {
		if replacement, size := n.charsmap.longest(text); size > 0 {
			return replacement, size
		}
	}
	if text[0] < utf8.RuneSelf {
		return text[:1], 1
	}
	r, size := utf8.DecodeRuneInString(text)
	if r == utf8.RuneError && size == 1 {
		return "\uFFFD", 1
	}
	return text[:size], size
}

// step appends one replacement to dst.
func (n *normalizer) step(dst []rune, st *normState, replacement string) []rune {
	if !st.started {
		// Only a replacement that is exactly one space counts as a leading space; an empty one ends the leading run.
		if n.trim && replacement == " " {
			return dst
		}
		st.started = true
		st.prevSpace = n.trim
		if n.dummyPrefix && !n.suffix {
			dst = append(dst, n.space)
		}
	}
	if st.prevSpace {
		replacement = strings.TrimLeft(replacement, " ")
	}
	if replacement == "" {
		return dst
	}
	for _, r := range replacement {
		if r == ' ' {
			r = n.space
		}
		dst = append(dst, r)
	}
	st.prevSpace = n.trim && replacement[len(replacement)-1] == ' '
	return dst
}

// denormalStream applies a denormalizer_spec to decoded text that comes in parts. What it has not yet given out is what later
// text could still change: a match that may grow, and spaces that are dropped if nothing follows.
type denormalStream struct {
	n    *normalizer
	st   normState
	in   string // not yet normalised
	held []rune // spaces at the end of what is
}

// write takes more text and appends to dst what is settled; last says that no more text will come.
func (d *denormalStream) write(dst []byte, text string, last bool) []byte {
	d.in += text
	out := d.held
	for len(d.in) > 0 {
		if !last && d.n.charsmap != nil && d.n.charsmap.undecided(d.in) {
			break
		}
		replacement, size := d.n.next(d.in)
		out = d.n.step(out, &d.st, replacement)
		d.in = d.in[size:]
	}
	settled := len(out)
	if d.n.trim {
		for settled > 0 && out[settled-1] == d.n.space {
			settled--
		}
	}
	for _, r := range out[:settled] {
		dst = utf8.AppendRune(dst, r)
	}
	d.held = append([]rune(nil), out[settled:]...)
	return dst
}
