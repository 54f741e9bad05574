package tokenizer

import (
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// fill makes a trie of words, whose ids are their indices, starting from room for n nodes.
func fill(n int, words []string) (trie, error) {
	t := newTrie(n)
	var text []byte
	var list []insertion
	for i, w := range words {
		list = append(list, insertion{at: uint32(len(text)), end: uint32(len(text) + len(w)), id: int32(i)})
		text = append(text, w...)
	}
	return t, t.insertAll(text, list, 1<<20)
}

// TestTrie compares with a map, while the table grows from nothing.
func TestTrie(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		words := rapid.SliceOfNDistinct(drawWord(6), 0, 200, rapid.ID[string]).Draw(t, "words")
		tr, err := fill(0, words)
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]int32{}
		for i, w := range words {
			want[w] = int32(i)
		}
		text := drawWord(8).Draw(t, "text")
		longest, id := 0, noPiece
		for i := 0; i <= len(text); i++ {
			wantID, ok := want[text[:i]]
			if !ok {
				wantID = noPiece
			} else {
				longest, id = i, wantID
			}
			if got := tr.find(text[:i]); i > 0 && got != wantID {
				t.Fatalf("find %q: got %d, want %d", text[:i], got, wantID)
			}
		}
		if got := tr.longestPrefix(text); got != longest {
			t.Fatalf("longest prefix of %q: got %d, want %d", text, got, longest)
		}
		if n, got := tr.longest([]rune(text)); len(string([]rune(text)[:n])) != longest || longest > 0 && got != id {
			t.Fatalf("longest of %q: got %d runes, piece %d; want %d bytes, piece %d", text, n, got, longest, id)
		}
	})
}

func TestTrieEdges(t *testing.T) {
	tr, err := fill(0, []string{"\x00", "\x00\x00", "\U0010FFFF", "\uFFFD"})
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]int32{"\x00": 0, "\x00\x00": 1, "\U0010FFFF": 2, "\uFFFD": 3, "a": noPiece, "": noPiece} {
		if got := tr.find(text); got != want {
			t.Errorf("find %q: got %d, want %d", text, got, want)
		}
	}
	if n := tr.longestPrefix("\xff"); n != 0 {
		t.Errorf("a malformed byte matches %d bytes", n)
	}
	empty := newTrie(0)
	if child, _ := empty.step(0, 0); child != 0 {
		t.Error("the empty trie has an edge for rune 0")
	}
}

func TestTrieRefuses(t *testing.T) {
	_, err := fill(0, []string{"ab", "b", "ab"})
	if dup := (*duplicateError)(nil); !errors.As(err, &dup) || dup.first != 0 || dup.second != 2 {
		t.Errorf("duplicate: got %v", err)
	}
	tr := newTrie(0)
	text := []byte(strings.Repeat("x", 100))
	if err := tr.insertAll(text, []insertion{{end: 100}}, 50); !errors.Is(err, errTrieFull) {
		t.Errorf("too many nodes: got %v", err)
	}
}
