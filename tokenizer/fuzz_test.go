package tokenizer

import (
	"slices"
	"testing"
	"unicode/utf8"
)

// FuzzParse: no model, however broken, makes Parse or what it returns panic.
func FuzzParse(f *testing.F) {
	rules := buildCharsmap(map[string]string{"a": "b", "\t": " ", "ﬁ": "fi"})
	for _, m := range []testModel{
		{kind: modelBPE, pieces: pieces("a b ab ▁a")},
		{kind: modelUnigram, pieces: pieces("a b ab ▁a"), normalizer: appendBytes(nil, 2, rules)},
		{kind: modelBPE, pieces: append(pieces("A l"), bytePieces()...), trainer: appendInt(nil, 35, 1), denormalizer: appendBytes(nil, 2, rules)},
		{kind: modelBPE, pieces: []testPiece{{"<unk>", 0, pieceUnknown}, {"Al", -1, pieceUnused}, {"A", -2, pieceUserDefined}}},
		{kind: modelBPE, pieces: pieces("a"), extra: selfTestField("a", "a")},
	} {
		f.Add(m.marshal())
	}
	f.Fuzz(func(t *testing.T, model []byte) { useModel(model) })
}

// FuzzEncode: any text is encoded as the plain algorithms do it, and decodes to valid UTF-8, streamed or not.
func FuzzEncode(f *testing.F) {
	for _, s := range []string{"", " ", "Alle Menschen sind frei", "日本語 ▁\t\n", "\xff\xe2\x96\x81\xe2", "<s></s><0x41>", "ﷺ\u0301"} {
		f.Add(s)
	}
	var all []*SentencePiece
	var oracles []*oracle
	for _, name := range modelNames {
		sp := load(f, name)
		all = append(all, sp)
		oracles = append(oracles, newOracle(testModelOf(sp)))
	}
	f.Fuzz(func(t *testing.T, text string) {
		for i, sp := range all {
			ids := sp.Append(nil, text)
			for _, id := range ids {
				if id < 0 || int(id) >= sp.Size() || sp.IsControl(id) {
					t.Fatalf("%s: id %d", modelNames[i], id)
				}
			}
			decoded := sp.Decode(ids)
			if !utf8.ValidString(decoded) || streamText(t, sp.NewStream(), ids) != decoded {
				t.Fatalf("%s: %q decodes to %q", modelNames[i], text, decoded)
			}
			if len(text) > 100 {
				continue
			}
			if want := oracles[i].encode(string(sp.norm.normalize(nil, text))); !slices.Equal(ids, want) {
				t.Fatalf("%s: %q: got %d, want %d", modelNames[i], text, ids, want)
			}
		}
	})
}

// testModelOf lists the pieces of a model for the oracles.
func testModelOf(sp *SentencePiece) testModel {
	m := testModel{kind: modelUnigram}
	if sp.Kind() == "bpe" {
		m.kind = modelBPE
	}
	for id := range int32(sp.Size()) {
		m.pieces = append(m.pieces, testPiece{sp.vocab.piece(id), sp.vocab.score[id], sp.vocab.kind[id]})
	}
	return m
}
