package tokenizer

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestEncodeOracle compares both algorithms with their plain forms on random models and texts, short and long.
func TestEncodeOracle(t *testing.T) {
	for _, kind := range []uint64{modelUnigram, modelBPE} {
		rapid.Check(t, func(t *rapid.T) {
			m := drawModel(t, kind)
			sp, err := Parse(m.marshal())
			if err != nil {
				t.Fatal(err)
			}
			text := drawWord(rapid.SampledFrom([]int{1, 8, 40, 150}).Draw(t, "length")).Draw(t, "text")
			if got, want := sp.Append(nil, text), newOracle(m).encode(text); !slices.Equal(got, want) {
				t.Fatalf("%s of %q: got %d, want %d", sp.Kind(), text, got, want)
			}
		})
	}
}

// TestSegmentCut lowers the length at which a segment is cut and expects the text to be encoded in such parts.
func TestSegmentCut(t *testing.T) {
	m := testModel{kind: modelBPE, normalizer: plainNormalizer(), pieces: pieces("aaaa aa a")}
	sp := mustParse(t, m.marshal())
	if got := sp.Append(nil, "aaaa"); !slices.Equal(got, []int32{1}) {
		t.Fatalf("uncut: got %d", got)
	}
	sp.model.(*bpe).maxSegment = 3
	if got := sp.Append(nil, "aaaa"); !slices.Equal(got, []int32{2, 3, 3}) {
		t.Fatalf("cut after 3 runes: got %d, want aa a | a", got)
	}
}

func TestLearnCuts(t *testing.T) {
	for _, c := range []struct {
		pieces        string
		before, after bool
	}{
		{"a ▁a ▁▁ ▁ab", true, false},
		{"a a▁ ▁▁ ab▁", false, true},
		{"a▁b", false, false},
		{"a ▁ ▁▁", true, true},
	} {
		b := mustParse(t, testModel{kind: modelBPE, pieces: pieces(c.pieces)}.marshal()).model.(*bpe)
		if b.cutBefore != c.before || b.cutAfter != c.after {
			t.Errorf("%q: cut before %v, after %v; want %v, %v", c.pieces, b.cutBefore, b.cutAfter, c.before, c.after)
		}
	}
}

func TestRankOf(t *testing.T) {
	scores := []float32{math.MaxFloat32, 3, 1, math.SmallestNonzeroFloat32, 0, -math.SmallestNonzeroFloat32, -1, -3, -math.MaxFloat32}
	for i := 1; i < len(scores); i++ {
		if rankOf(scores[i-1]) >= rankOf(scores[i]) {
			t.Errorf("rank of %v is not below that of %v", scores[i-1], scores[i])
		}
	}
	if rankOf(float32(math.Copysign(0, -1))) != rankOf(0) {
		t.Error("the two zeros rank apart")
	}
	if rankOf(-math.MaxFloat32) >= noRank {
		t.Error("the lowest score does not rank before none")
	}
}

// TestUnusedResegment: an UNUSED piece takes part in merges but comes out in the parts it was made of.
func TestUnusedResegment(t *testing.T) {
	m := testModel{kind: modelBPE, normalizer: plainNormalizer(), pieces: []testPiece{
		{"<unk>", 0, pieceUnknown}, {"ab", -1, pieceUnused}, {"abc", -2, pieceNormal}, {"a", -9, pieceNormal},
		{"b", -9, pieceNormal}, {"z", -9, pieceUnused},
	}}
	sp := mustParse(t, m.marshal())
	checkEncode(t, sp, "abc", []int32{2})
	checkEncode(t, sp, "abab", []int32{3, 4, 3, 4})
	checkEncode(t, sp, "z", []int32{5}) // nothing to take apart: the library gives the piece itself
	m.kind = modelUnigram
	checkEncode(t, mustParse(t, m.marshal()), "abz", []int32{3, 4, 0})
}

// TestNoControlFromText: text that spells a special piece does not become it.
func TestNoControlFromText(t *testing.T) {
	for _, name := range modelNames {
		sp := load(t, name)
		for _, id := range sp.Append(nil, "<s> </s> <unk> <pad> <0x41>") {
			if sp.IsControl(id) {
				t.Errorf("%s: control piece %d", name, id)
			}
		}
	}
	// Where a control piece is a single rune, BPE meets its text as a symbol. The library gives up on such a text.
	m := testModel{kind: modelBPE, normalizer: plainNormalizer(), pieces: append(pieces("a"), testPiece{"Q", 0, pieceControl})}
	checkEncode(t, mustParse(t, m.marshal()), "aQa", []int32{1, 0, 1})
}

// TestHostileLength encodes a megabyte without a space. The work must not be quadratic: that would take minutes.
func TestHostileLength(t *testing.T) {
	if testing.Short() {
		t.Skip("encodes megabytes")
	}
	for _, name := range []string{"bpe-identity", "unigram-identity"} {
		sp := load(t, name)
		for _, unit := range []string{"a", "ab", "the", "日", "\xff", "▁", "human"} {
			text := strings.Repeat(unit, 1<<20/len(unit))
			start := time.Now()
			ids := sp.Append(nil, text)
			if took := time.Since(start); took > 30*time.Second {
				t.Errorf("%s: %q repeated: %v", name, unit, took)
			}
			if len(ids) == 0 {
				t.Errorf("%s: %q repeated: no ids", name, unit)
			}
		}
	}
}

func TestAppend(t *testing.T) {
	sp := load(t, "udhr-model")
	got := sp.Append([]int32{7, 8}, "Alle Menschen")
	if want := append([]int32{7, 8}, sp.Append(nil, "Alle Menschen")...); !slices.Equal(got, want) || len(got) < 4 {
		t.Errorf("got %d, want %d", got, want)
	}
	ids := make([]int32, 0, 1024)
	text := strings.Repeat("Alle Menschen sind frei 日本語 ", 20)
	if n := testing.AllocsPerRun(50, func() { ids = sp.Append(ids[:0], text) }); n > 8 {
		// One for each token would be hundreds. None is usual, but the race detector empties pools at random.
		t.Errorf("%v allocations an Append", n)
	}
}

// TestConcurrent uses one tokenizer from many goroutines, for the race detector.
func TestConcurrent(t *testing.T) {
	sp := load(t, "bpe-nmt_nfkc-user")
	text := "All human beings are born free 日本語 ﷺ"
	want := sp.Append(nil, text)
	done := make(chan []int32)
	for range 4 {
		go func() {
			var got []int32
			for range 50 {
				got = sp.Append(got[:0], text)
			}
			done <- got
		}()
	}
	for range 4 {
		if got := <-done; !slices.Equal(got, want) {
			t.Errorf("got %d, want %d", got, want)
		}
	}
}
