package tokenizer

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"unicode/utf8"
)

// trie maps texts to piece ids, one rune at a step. All edges lie in one open-addressing hash table keyed by (parent node,
// rune): a step is one multiplication and usually one cache line, whatever the fan-out, and building needs no sorting.
// Node 0 is the root; no edge leads to it, so a child of 0 means "no such edge". Build with newTrie; read-only use is safe
// for many goroutines.
type trie struct {
	edges []edge // a power of two, at most three quarters in use
	shift uint8  // 64 - log2(len(edges))
	nodes int    // edges in use
}

type edge struct {
	key   uint64 // parent<<21 | rune
	child uint32 // 0 marks a free slot
	piece int32  // id of the piece that ends here, or noPiece
}

const (
	noPiece  = int32(-1)
	runeBits = 21
)

// newTrie returns an empty trie with room for at least n nodes before it grows.
func newTrie(n int) trie {
	log2 := bits.Len(uint(n)*4/3 + 15)
	return trie{edges: make([]edge, 1<<log2), shift: uint8(64 - log2)}
}

// slot returns where to start looking for key.
func (t *trie) slot(key uint64) uint64 {
	return key * 0x9E3779B97F4A7C15 >> (t.shift & 63)
}

// step follows the edge r from node and returns the child and the piece that ends there (or noPiece). If there is no such
// edge the child is 0 and the piece means nothing.
func (t *trie) step(node uint32, r rune) (child uint32, piece int32) {
	key := uint64(node)<<runeBits | uint64(r)
	mask := uint64(len(t.edges) - 1)
	for i := t.slot(key); ; i++ {
		if e := &t.edges[i&mask]; e.key == key || e.child == 0 {
			return e.child, e.piece
		}
	}
}

// find returns the id stored for s, or noPiece.
func (t *trie) find(s string) int32 {
	node, piece := uint32(0), noPiece
	for _, r := range s {
		if node, piece = t.step(node, r); node == 0 {
			return noPiece
		}
	}
	return piece
}

// findRunes is find for text in runes.
func (t *trie) findRunes(s []rune) int32 {
	node, piece := uint32(0), noPiece
	for _, r := range s {
		if node, piece = t.step(node, r); node == 0 {
			return noPiece
		}
	}
	return piece
}

// longest returns the length in runes of the longest stored text that s begins with, and its id; 0 if there is none.
func (t *trie) longest(s []rune) (length int, id int32) {
	node, piece := uint32(0), noPiece
	for i, r := range s {
		if node, piece = t.step(node, r); node == 0 {
			break
		}
		if piece != noPiece {
			length, id = i+1, piece
		}
	}
	return length, id
}

// longestPrefix is longest for raw text: it returns a length in bytes and never matches malformed UTF-8.
func (t *trie) longestPrefix(s string) int {
	node, piece, length := uint32(0), noPiece, 0
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 {
			break
		}
		if node, piece = t.step(node, r); node == 0 {
			break
		}
		i += size
		if piece != noPiece {
			length = i
		}
	}
	return length
}

// insertion is a text on its way into a trie: text[at:end] of a shared buffer is still to come below node.
type insertion struct {
	at, end uint32
	node    uint32
	id      int32
}

// insertAll stores each text, which must be valid UTF-8 and not empty, under its id. The list is used up. It stops early and
// returns an error if a text is stored already or the trie would hold more than maxNodes nodes.
//
// A vocabulary of 256,000 pieces takes 1.4 million steps through a table larger than the caches, so all texts go down
// together, one rune each in turn: their steps do not depend on each other, and the misses of a batch overlap.
func (t *trie) insertAll(text []byte, list []insertion, maxNodes int) error {
	const batch = 64
	var keys [batch]uint64
	for len(list) > 0 {
		left := list[:0]
		for len(list) > 0 {
			now := list[:min(batch, len(list))]
			list = list[len(now):]
			for t.nodes+len(now) > len(t.edges)/4*3 {
				t.grow()
			}
			touched := uint32(0)
			for i := range now {
				c := &now[i]
				r, size := rune(text[c.at]), 1
				if r >= utf8.RuneSelf {
					r, size = utf8.DecodeRune(text[c.at:c.end])
				}
				c.at += uint32(size)
				keys[i] = uint64(c.node)<<runeBits | uint64(r)
				touched |= t.edges[t.slot(keys[i])].child
			}
			if touched == math.MaxUint32 {
				return errTrieFull // never true, but the compiler cannot know and must load the lines
			}
			for i, c := range now {
				e := t.addEdge(keys[i])
				if c.at < c.end {
					c.node = e.child
					left = append(left, c)
					continue
				}
				if e.piece != noPiece {
					return &duplicateError{first: e.piece, second: c.id}
				}
				e.piece = c.id
			}
			if t.nodes > maxNodes {
				return errTrieFull
			}
		}
		list = left
	}
	return nil
}

var errTrieFull = errors.New("too many nodes")

// duplicateError says that two ids have the same text.
type duplicateError struct{ first, second int32 }

func (e *duplicateError) Error() string {
	return fmt.Sprintf("the text of %d is that of %d", e.second, e.first)
}

// addEdge returns the edge of key, adding it if it is not there. The table must have room. The pointer is good until it grows.
func (t *trie) addEdge(key uint64) *edge {
	mask := uint64(len(t.edges) - 1)
	for i := t.slot(key); ; i++ {
		e := &t.edges[i&mask]
		if e.child == 0 {
			t.nodes++
			*e = edge{key: key, child: uint32(t.nodes), piece: noPiece}
			return e
		}
		if e.key == key {
			return e
		}
	}
}

// grow doubles the table. Nodes keep their numbers: these do not depend on where an edge lies.
func (t *trie) grow() {
	old := t.edges
	t.edges = make([]edge, 2*len(old))
	t.shift--
	mask := uint64(len(t.edges) - 1)
	for _, e := range old {
		if e.child == 0 {
			continue
		}
		i := t.slot(e.key)
		for t.edges[i&mask].child != 0 {
			i++
		}
		t.edges[i&mask] = e
	}
}
