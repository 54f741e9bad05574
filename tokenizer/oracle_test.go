package tokenizer

import (
	"math"
	"strings"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// The oracles here do what the library does in the plainest way: on strings, with maps, without cutting the text, without heap
// and without streams. They handle models without UNUSED pieces and without a text in both name spaces.

// maxOraclePiece is the longest piece in bytes that the unigram oracle looks for.
const maxOraclePiece = 64

type oracle struct {
	kind            uint64
	pieces          []testPiece
	words           map[string]int32
	users           []string // user-defined pieces
	bytes           map[byte]int32
	unk             int32
	lowest, highest float32
}

func newOracle(m testModel) *oracle {
	o := &oracle{kind: m.kind, pieces: m.pieces, words: map[string]int32{}, bytes: map[byte]int32{},
		lowest: math.MaxFloat32, highest: smallestNormal}
	for i, p := range m.pieces {
		switch p.kind {
		case pieceUnknown:
			o.unk = int32(i)
		case pieceByte:
			b, _ := parseBytePiece([]byte(p.text))
			o.bytes[b] = int32(i)
		case pieceUserDefined:
			o.words[p.text] = int32(i)
			o.users = append(o.users, p.text)
		case pieceNormal:
			o.words[p.text] = int32(i)
			o.lowest, o.highest = min(o.lowest, p.score), max(o.highest, p.score)
		}
	}
	return o
}

// encode returns the ids of normalised text.
func (o *oracle) encode(text string) []int32 {
	segment := o.unigram
	if o.kind == modelBPE {
		segment = o.bpe
	}
	ids, prevUnk := []int32{}, false
	for _, s := range segment(text) {
		id, known := o.words[s]
		switch {
		case known:
			ids = append(ids, id)
		case len(o.bytes) > 0:
			for _, b := range []byte(s) {
				ids = append(ids, o.bytes[b])
			}
		case !prevUnk:
			ids = append(ids, o.unk)
		}
		prevUnk = !known
	}
	return ids
}

func (o *oracle) bpe(text string) []string {
	var syms []string
	var frozen []bool
	for text != "" {
		_, n := utf8.DecodeRuneInString(text)
		user := 0
		for _, u := range o.users {
			if len(u) > user && strings.HasPrefix(text, u) {
				user = len(u)
			}
		}
		if user > 0 {
			n = user
		}
		syms, frozen = append(syms, text[:n]), append(frozen, user > 0)
		text = text[n:]
	}
	for {
		best, score := -1, float32(0)
		for i := 0; i+1 < len(syms); i++ {
			id, ok := o.words[syms[i]+syms[i+1]]
			if ok && !frozen[i] && !frozen[i+1] && (best < 0 || o.pieces[id].score > score) {
				best, score = i, o.pieces[id].score
			}
		}
		if best < 0 {
			return syms
		}
		syms[best] += syms[best+1]
		syms = append(syms[:best+1], syms[best+2:]...)
		frozen = append(frozen[:best+1], frozen[best+2:]...)
	}
}

func (o *oracle) unigram(text string) []string {
	type node struct {
		score float32
		from  int
	}
	best := make([]node, len(text)+1)
	for i := range best {
		best[i].from = -1
	}
	for i := 0; i < len(text); {
		_, size := utf8.DecodeRuneInString(text[i:])
		single := false
		for j := i + 1; j <= min(i+maxOraclePiece, len(text)); j++ {
			id, ok := o.words[text[i:j]]
			if !ok {
				continue
			}
			single = single || j == i+size
			score := float64(o.pieces[id].score)
			if o.pieces[id].kind == pieceUserDefined {
				score = float64(float32(j-i)*o.highest) - 0.1
			}
			if sum := score + float64(best[i].score); best[j].from < 0 || sum > float64(best[j].score) {
				best[j] = node{float32(sum), i}
			}
		}
		if sum := o.lowest - 10 + best[i].score; !single && (best[i+size].from < 0 || sum > best[i+size].score) {
			best[i+size] = node{sum, i}
		}
		i += size
	}
	var out []string
	for end := len(text); end > 0; end = best[end].from {
		out = append([]string{text[best[end].from:end]}, out...)
	}
	return out
}

// oracleDecode decodes with the whole text at hand. It knows no denormaliser.
func oracleDecode(sp *SentencePiece, ids []int32) string {
	text, begun, lost := "", false, false
	for i := 0; i < len(ids); i++ {
		if sp.vocab.kind[ids[i]] == pieceByte {
			var run []byte
			for ; i < len(ids) && sp.vocab.kind[ids[i]] == pieceByte; i++ {
				run = append(run, sp.TokenBytes(ids[i])...)
			}
			text += string([]rune(string(run))) // U+FFFD for each byte that is part of no character
			i--
			continue
		}
		begun = begun || lost || text != ""
		lost = false
		piece, _ := sp.Piece(ids[i])
		switch sp.vocab.kind[ids[i]] {
		case pieceControl:
			continue
		case pieceUnknown:
			text += sp.surface
			continue
		}
		if !begun && (sp.norm.dummyPrefix || sp.norm.trim) && strings.HasPrefix(piece, "▁") {
			piece = strings.TrimPrefix(piece, "▁")
			lost = !sp.norm.trim
		}
		text += strings.ReplaceAll(piece, "▁", " ")
	}
	return text
}

// alphabet is small, so that random pieces and random texts meet, and has runes of every length.
var alphabet = []string{"a", "b", "c", "▁", "é", "日", "😀"}

func drawWord(maxLen int) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(rapid.SampledFrom(alphabet), 1, maxLen).Draw(t, "runes"), "")
	})
}

// drawModel draws a model without normalisation. Scores tie often.
func drawModel(t *rapid.T, kind uint64) testModel {
	m := testModel{kind: kind, normalizer: plainNormalizer(), pieces: pieces("a")}
	seen := map[string]bool{"a": true}
	for range rapid.IntRange(0, 40).Draw(t, "pieces") {
		p := testPiece{text: drawWord(5).Draw(t, "piece"), kind: pieceNormal}
		if seen[p.text] {
			continue
		}
		seen[p.text] = true
		p.score = -rapid.SampledFrom([]float32{1, 2, 3, 0.1, 0.7, 0, 12.3, -1.5}).Draw(t, "score")
		if rapid.IntRange(0, 9).Draw(t, "user") == 0 {
			p.kind = pieceUserDefined
		}
		m.pieces = append(m.pieces, p)
	}
	if rapid.Bool().Draw(t, "fallback") {
		m.pieces = append(m.pieces, bytePieces()...)
		m.trainer = appendInt(nil, 35, 1)
	}
	return m
}
