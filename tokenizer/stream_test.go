package tokenizer

import (
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// drawIDs draws ids with many byte pieces among them: random ones, and those of characters that may be cut short.
func drawIDs(sp *SentencePiece) *rapid.Generator[[]int32] {
	return rapid.Custom(func(t *rapid.T) []int32 {
		var ids []int32
		for range rapid.IntRange(0, 12).Draw(t, "parts") {
			switch part := rapid.IntRange(0, 3).Draw(t, "part"); {
			case part == 0 || !sp.vocab.fallback:
				ids = append(ids, int32(rapid.IntRange(0, sp.Size()-1).Draw(t, "id")))
			case part == 1:
				ids = append(ids, sp.vocab.bytes[rapid.Byte().Draw(t, "byte")])
			default:
				s := rapid.SampledFrom([]string{"é", "日", "😀", "\U00010000", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xc0\x80"}).Draw(t, "char")
				for _, b := range []byte(s[:rapid.IntRange(1, len(s)).Draw(t, "cut")]) {
					ids = append(ids, sp.vocab.bytes[b])
				}
			}
		}
		return ids
	})
}

// TestStreamIsDecode: a stream gives the text of Decode, in parts that are each valid UTF-8.
func TestStreamIsDecode(t *testing.T) {
	for _, name := range modelNames {
		sp := load(t, name)
		rapid.Check(t, func(t *rapid.T) {
			ids := drawIDs(sp).Draw(t, "ids")
			want := oracleDecode(sp, ids)
			if got := sp.Decode(ids); got != want {
				t.Fatalf("%s: Decode(%d) is %q, want %q", name, ids, got, want)
			}
			if got := streamText(t, sp.NewStream(), ids); got != want {
				t.Fatalf("%s: stream of %d is %q, want %q", name, ids, got, want)
			}
		})
	}
}

type fataler interface{ Fatalf(string, ...any) }

// streamText returns all that the stream gives for ids.
func streamText(t fataler, st *Stream, ids []int32) string {
	var b strings.Builder
	for _, id := range ids {
		part := st.Write(id)
		if !utf8.ValidString(part) {
			t.Fatalf("Write(%d) gives %q, which is not valid UTF-8", id, part)
		}
		b.WriteString(part)
	}
	last := st.Flush()
	if !utf8.ValidString(last) {
		t.Fatalf("Flush gives %q, which is not valid UTF-8", last)
	}
	b.WriteString(last)
	return b.String()
}

// TestStreamAfter: the prompt's text and the stream's together are the text of all, unless the prompt ended in part of a
// character that was then completed: then the stream gives the whole character.
func TestStreamAfter(t *testing.T) {
	for _, name := range modelNames {
		sp := load(t, name)
		rapid.Check(t, func(t *rapid.T) {
			ids := drawIDs(sp).Draw(t, "ids")
			cut := rapid.IntRange(0, len(ids)).Draw(t, "prompt")
			prompt, all := sp.Decode(ids[:cut]), sp.Decode(ids)
			got := streamText(t, sp.NewStreamAfter(ids[:cut]), ids[cut:])
			if rest, ok := strings.CutPrefix(all, prompt); ok {
				if got != rest {
					t.Fatalf("%s: after %d, %d give %q, want %q", name, ids[:cut], ids[cut:], got, rest)
				}
				return
			}
			whole := strings.TrimRight(prompt, "\uFFFD")
			for !strings.HasSuffix(all, got) || len(all)-len(got) != len(whole) {
				// Some of the replacement characters at the end of the prompt may be there to stay.
				if whole += "\uFFFD"; len(whole) > len(prompt) {
					t.Fatalf("%s: after %d, %d give %q; all is %q", name, ids[:cut], ids[cut:], got, all)
				}
			}
			if all != whole+got {
				t.Fatalf("%s: after %d, %d give %q; all is %q", name, ids[:cut], ids[cut:], got, all)
			}
		})
	}
}

func TestStreamAfterPrompt(t *testing.T) {
	sp := load(t, "udhr-model")
	b := func(s string) (ids []int32) {
		for _, c := range []byte(s) {
			ids = append(ids, sp.vocab.bytes[c])
		}
		return ids
	}
	space, _ := sp.ID("▁und")
	for _, c := range []struct {
		name        string
		prompt, ids []int32
		want        string
	}{
		{"no prompt", nil, []int32{space}, "und"},
		{"only a control piece", []int32{sp.BOS()}, []int32{space}, "und"},
		{"a word", []int32{space}, []int32{space}, " und"},
		{"half a character, completed", b("\xe6\x97"), b("\xa5"), "日"},
		{"half a character, dropped", b("\xe6\x97"), []int32{space}, " und"},
		{"half a character, more junk", b("\xe6\x97"), b("\xe6A"), "\uFFFDA"},
		{"nothing follows", b("\xe6\x97"), nil, ""},
	} {
		if got := streamText(t, sp.NewStreamAfter(c.prompt), c.ids); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

// TestStreamHolds: incomplete characters wait, complete ones do not.
func TestStreamHolds(t *testing.T) {
	sp := load(t, "udhr-model")
	st := sp.NewStream()
	for _, c := range []struct {
		b    byte
		want string
	}{{0xf0, ""}, {0x9f, ""}, {0x98, ""}, {0x80, "😀"}, {'A', "A"}, {0xff, "\uFFFD"}, {0xc3, ""}, {0xc3, "\uFFFD"}, {0xa9, "é"}, {0xe2, ""}} {
		if got := st.Write(sp.vocab.bytes[c.b]); got != c.want {
			t.Errorf("byte %#x: got %q, want %q", c.b, got, c.want)
		}
	}
	if got := st.Flush(); got != "\uFFFD" {
		t.Errorf("flush: got %q", got)
	}
}

// TestRoundTrip: where the normaliser changes nothing but spaces, decoding gives back the text.
func TestRoundTrip(t *testing.T) {
	for _, name := range []string{"bpe-identity", "bpe-nodummy", "unigram-identity", "udhr-model"} {
		sp := load(t, name)
		rapid.Check(t, func(t *rapid.T) {
			text := strings.ReplaceAll(rapid.String().Draw(t, "text"), "▁", "_")
			if got := sp.Decode(sp.Append(nil, text)); got != text {
				t.Fatalf("%s: %q came back as %q", name, text, got)
			}
		})
	}
}

func TestTokenBytes(t *testing.T) {
	sp := load(t, "udhr-model")
	for piece, want := range map[string]string{"<0x0A>": "\n", "<0xE2>": "\xe2", "▁und": " und", "</s>": "", "<unk>": " ⁇ "} {
		id, ok := sp.ID(piece)
		if got := string(sp.TokenBytes(id)); !ok || got != want {
			t.Errorf("%s: %q, want %q", piece, got, want)
		}
	}
	if sp.TokenBytes(-1) != nil || sp.TokenBytes(int32(sp.Size())) != nil {
		t.Error("ids out of range have bytes")
	}
	// Joined, they are the text after its first space.
	text, joined := "Alle 日本語 \U0001F600", ""
	for _, id := range sp.Append(nil, text) {
		joined += string(sp.TokenBytes(id))
	}
	if joined != " "+text {
		t.Errorf("got %q, want %q", joined, " "+text)
	}
}

func TestDecodeOutOfRange(t *testing.T) {
	sp := load(t, "udhr-model")
	id, _ := sp.ID("▁und")
	if got := sp.Decode([]int32{-1, id, int32(sp.Size()), id, 1 << 30}); got != "und und" {
		t.Errorf("got %q", got)
	}
}

// TestStreamDenormal: with a denormaliser, too, a stream gives the text of Decode, holding what may change.
func TestStreamDenormal(t *testing.T) {
	rules := buildCharsmap(map[string]string{"ab": "X", "abc": "Y", "b": "", "日": "  ", "abcabcd": "ZZ"})
	for flags := range uint64(8) {
		spec := appendBytes(nil, 2, rules)
		for bit := range uint64(3) {
			spec = appendInt(spec, 3+protoNumber(bit), flags>>bit&1)
		}
		m := testModel{
			kind: modelBPE, normalizer: plainNormalizer(), denormalizer: spec,
			pieces: append(pieces("a b c d ab ▁ ▁▁ 日 e bc"), bytePieces()...), trainer: appendInt(nil, 35, 1),
		}
		sp := mustParse(t, m.marshal())
		rapid.Check(t, func(t *rapid.T) {
			ids := drawIDs(sp).Draw(t, "ids")
			want := string(sp.denorm.normalize(nil, oracleDecode(sp, ids)))
			if got := sp.Decode(ids); got != want {
				t.Fatalf("Decode(%d) is %q, want %q", ids, got, want)
			}
			if got := streamText(t, sp.NewStream(), ids); got != want {
				t.Fatalf("stream of %d is %q, want %q", ids, got, want)
			}
			cut := rapid.IntRange(0, len(ids)).Draw(t, "prompt")
			rest, ok := strings.CutPrefix(want, sp.Decode(ids[:cut]))
			if got := streamText(t, sp.NewStreamAfter(ids[:cut]), ids[cut:]); ok && got != rest {
				t.Fatalf("after %d, %d give %q, want %q", ids[:cut], ids[cut:], got, rest)
			}
		})
	}
}
