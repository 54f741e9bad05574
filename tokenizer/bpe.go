package tokenizer

import (
	"math"
	"slices"
)

// bpe segments text by merging: of all neighbouring symbols whose joined text is a piece, the pair with the highest score is
// joined, the leftmost on a tie, until no pair is left (Sennrich et al., "Neural Machine Translation of Rare Words with
// Subword Units", 2016).
//
// Merges never cross a place that no piece crosses, so the text is cut there first and each segment is done alone: short ones
// by scanning all pairs for each merge, long ones with a heap (bpe_heap.go), which keeps any text at O(n log n).
type bpe struct {
	v *vocab
	// rank orders pieces by falling score, as unsigned numbers: a smaller rank merges first.
	rank []uint32
	// cutBefore: no piece has a space symbol after another rune, so that words begin at spaces. cutAfter is its mirror.
	cutBefore, cutAfter bool
	maxSegment          int
}

const (
	// noRank is the rank of a pair that does not merge; no finite score has it.
	noRank = uint32(math.MaxUint32)
	// shortSegment is up to how many symbols scanning beats a heap.
	shortSegment = 32
	// maxSegmentRunes is where a segment is cut although a piece might cross, so that indices fit an int32.
	maxSegmentRunes = 1 << 30
)

func newBPE(v *vocab) *bpe {
	b := &bpe{v: v, rank: make([]uint32, v.size()), cutBefore: true, cutAfter: true, maxSegment: maxSegmentRunes}
	for id, k := range v.kind {
		b.rank[id] = rankOf(v.score[id])
		if k == pieceNormal {
			b.learnCuts(v.piece(int32(id)))
		}
	}
	return b
}

// rankOf maps a finite score to a number that falls as the score rises.
func rankOf(score float32) uint32 {
	if score == 0 {
		score = 0 // the two zeros compare equal
	}
	bits := math.Float32bits(score)
	if bits>>31 == 1 {
		return bits
	}
	return ^bits &^ (1 << 31)
}

// learnCuts takes back a cut that the piece crosses. User-defined pieces do not matter: they are never the result of a merge,
// since the text they stand for is set aside before.
func (b *bpe) learnCuts(piece string) {
	prev := rune(-1)
	for _, r := range piece {
		switch {
		case prev < 0 || (r == spaceSymbol) == (prev == spaceSymbol):
		case r == spaceSymbol:
			b.cutBefore = false
		default:
			b.cutAfter = false
		}
		prev = r
	}
}

// encode appends the ids of text.
func (b *bpe) encode(e *emitter, text []rune, sc *scratch) {
	if b.v.hasUnused {
		b.encodeWhole(e, text, sc)
		return
	}
	start, prevSpace := 0, false
	for i := 0; i < len(text); {
		if b.v.symbols != nil {
			if n, id := b.v.symbols.longest(text[i:]); n > 0 {
				b.segment(e, text[start:i], sc)
				b.emit(e, id, text[i:i+n])
				i += n
				start = i
				continue
			}
		}
		space := text[i] == spaceSymbol
		cut := space && !prevSpace && b.cutBefore || prevSpace && !space && b.cutAfter || i-start == b.maxSegment
		if cut && i > start {
			b.segment(e, text[start:i], sc)
			start = i
		}
		prevSpace = space
		i++
	}
	b.segment(e, text[start:], sc)
}

// segment encodes text that has no user-defined symbol in it.
func (b *bpe) segment(e *emitter, text []rune, sc *scratch) {
	switch {
	case len(text) == 0:
	case len(text) <= shortSegment:
		b.segmentShort(e, text, sc)
	default:
		b.segmentLong(e, text, sc)
	}
}

// part is a symbol of a short segment, with what joining it to the next one would give.
type part struct {
	start int32  // its first rune
	node  uint32 // its place in the trie; 0 if no piece begins with it
	piece int32

	rank       uint32 // of the joined piece; noRank if there is none
	joinedNode uint32
	joined     int32
}

// segmentShort merges by scanning for the best pair; parts is kept without gaps.
func (b *bpe) segmentShort(e *emitter, text []rune, sc *scratch) {
	parts := sc.parts[:0]
	for i, r := range text {
		p := part{start: int32(i)}
		if p.node, p.piece = b.v.words.step(0, r); p.node == 0 {
			p.piece = noPiece
		}
		parts = append(parts, p)
	}
	for i := range parts {
		b.pair(parts, i, text)
	}
	for {
		best, rank := 0, noRank
		for i := range parts {
			if parts[i].rank < rank {
				best, rank = i, parts[i].rank
			}
		}
		if rank == noRank {
			break
		}
		p := &parts[best]
		p.node, p.piece = p.joinedNode, p.joined
		parts = slices.Delete(parts, best+1, best+2)
		b.pair(parts, best, text)
		if best > 0 {
			b.pair(parts, best-1, text)
		}
	}
	for i, p := range parts {
		end := len(text)
		if i+1 < len(parts) {
			end = int(parts[i+1].start)
		}
		b.emit(e, p.piece, text[p.start:end])
	}
	sc.parts = parts
}

// pair works out what joining part i to the next one gives.
func (b *bpe) pair(parts []part, i int, text []rune) {
	p := &parts[i]
	p.rank = noRank
	if i+1 == len(parts) || p.node == 0 {
		return
	}
	end := len(text)
	if i+2 < len(parts) {
		end = int(parts[i+2].start)
	}
	node, id := b.join(p.node, text[parts[i+1].start:end])
	if id != noPiece {
		p.rank, p.joinedNode, p.joined = b.rank[id], node, id
	}
}

// join walks on from a symbol's node along the next symbol's runes. The id is noPiece if their joined text is no piece.
func (b *bpe) join(node uint32, right []rune) (uint32, int32) {
	id := noPiece
	for _, r := range right {
		if node, id = b.v.words.step(node, r); node == 0 {
			return 0, noPiece
		}
	}
	return node, id
}

// emit appends a final symbol: the piece of its text, or unknown text.
func (b *bpe) emit(e *emitter, id int32, text []rune) {
	if id != noPiece {
		id = b.v.canonical(id)
		if k := b.v.kind[id]; k != pieceControl && k != pieceUnknown {
			e.known(id)
			return
		}
		// Text that spells a control piece must not become one; the library refuses such a text.
	}
	e.unknown(text)
}
