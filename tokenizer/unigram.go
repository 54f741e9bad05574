package tokenizer

import (
	"fmt"
	"math"
)

// unkPenalty is how far an unknown rune scores below the least likely piece.
const unkPenalty = 10

// smallestNormal is C's FLT_MIN, from which the library starts its search for the best score. As scores are log-probabilities
// it is the usual result, too, and so the bonus of user-defined symbols.
const smallestNormal = float32(0x1p-126)

// unigram segments text into the most likely pieces under a unigram language model: a Viterbi search over the positions of
// the text (Kudo, "Subword Regularization", 2018), in the arithmetic of the library's EncodeOptimized.
type unigram struct {
	v        *vocab
	score    []float64 // by id, as it counts in the sum; meaningless for pieces that text never matches
	unkScore float32
}

// latticeNode is the best path that ends before a position: its score, its last piece (noPiece if unknown) and how many runes
// that piece has. The length is 0 while no path is known.
type latticeNode struct {
	score  float32
	piece  int32
	length int32
}

func newUnigram(v *vocab) (*unigram, error) {
	if v.words.nodes == 0 {
		return nil, fmt.Errorf("%w: pieces: none of type NORMAL, USER_DEFINED or UNUSED", ErrInvalid)
	}
	lowest, highest := float32(math.MaxFloat32), smallestNormal
	for id, k := range v.kind {
		if k == pieceNormal {
			lowest, highest = min(lowest, v.score[id]), max(highest, v.score[id])
		}
	}
	u := &unigram{v: v, score: make([]float64, v.size()), unkScore: lowest - unkPenalty}
	for id, k := range v.kind {
		u.score[id] = float64(v.score[id])
		if k == pieceUserDefined {
			// The product is rounded to float32 and the rest is done in float64, as C++ promotes it.
			u.score[id] = float64(float32(len(v.piece(int32(id))))*highest) - 0.1
		}
	}
	return u, nil
}

// encode appends the ids of text. Ties go to the path found first, which is the one whose last piece is longest.
func (u *unigram) encode(e *emitter, text []rune, sc *scratch) {
	lattice := append(sc.lattice[:0], latticeNode{})
	base, reach := 0, 0 // the lattice begins at base; no piece found so far ends after reach
	for pos := 0; pos < len(text); pos++ {
		if pos == reach && pos > base {
			// Every path comes through here, so the best one so far is final. Emitting it now keeps the lattice short. The
			// score goes on growing across such points, because rounding depends on it.
			u.emit(e, text[base:pos], lattice)
			lattice = append(lattice[:0], latticeNode{score: lattice[pos-base].score})
			base = pos
		}
		reach = max(reach, u.extend(&lattice, base, pos, text))
	}
	if len(text) > base {
		u.emit(e, text[base:], lattice)
	}
	sc.lattice = lattice
}

// extend enters every piece that begins at pos into the lattice and returns where the longest one ends.
func (u *unigram) extend(lattice *[]latticeNode, base, pos int, text []rune) int {
	l := *lattice
	before := l[pos-base].score
	single := false
	end := pos
	node, piece := uint32(0), noPiece
	for i := pos; i < len(text); i++ {
		if node, piece = u.v.words.step(node, text[i]); node == 0 {
			break
		}
		if piece == noPiece || u.v.kind[piece] == pieceUnused {
			continue
		}
		end = i + 1
		for len(l) <= end-base {
			l = append(l, latticeNode{})
		}
		// The sum is compared in float64 and stored in float32, as C++ does with the types at hand.
		sum := u.score[piece] + float64(before)
		if n := &l[end-base]; n.length == 0 || sum > float64(n.score) {
			*n = latticeNode{score: float32(sum), piece: piece, length: int32(end - pos)}
		}
		single = single || i == pos
	}
	if !single {
		end = max(end, pos+1)
		for len(l) <= end-base {
			l = append(l, latticeNode{})
		}
		sum := u.unkScore + before
		if n := &l[pos+1-base]; n.length == 0 || sum > n.score {
			*n = latticeNode{score: sum, piece: noPiece, length: 1}
		}
	}
	*lattice = l
	return end
}

// emit appends the best path over text, whose lattice has a node for each position.
func (u *unigram) emit(e *emitter, text []rune, lattice []latticeNode) {
	// Turn the links round: each node on the path learns the length of the piece that follows it.
	next, nextLength := int32(noPiece), int32(0)
	for at := len(text); ; {
		n := &lattice[at]
		length := n.length
		n.piece, next = next, n.piece
		n.length, nextLength = nextLength, length
		if at == 0 {
			break
		}
		at -= int(length)
	}
	for at := 0; at < len(text); {
		n := lattice[at]
		if n.piece == noPiece {
			e.unknown(text[at : at+int(n.length)])
		} else {
			e.known(n.piece)
		}
		at += int(n.length)
	}
}
