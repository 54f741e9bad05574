package tokenizer

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	sp := load(t, "udhr-model")
	if sp.Size() != 4096 || sp.Kind() != "bpe" || sp.Unknown() != 0 || sp.BOS() != 1 || sp.EOS() != 2 {
		t.Errorf("size %d, kind %s, unk %d, bos %d, eos %d", sp.Size(), sp.Kind(), sp.Unknown(), sp.BOS(), sp.EOS())
	}
	if load(t, "unigram-identity").Kind() != "unigram" {
		t.Error("not a unigram model")
	}
	for id := range int32(sp.Size()) {
		piece, ok := sp.Piece(id)
		if back, found := sp.ID(piece); !ok || !found || back != id {
			t.Fatalf("piece %d is %q, whose id is %d", id, piece, back)
		}
	}
	if id, ok := sp.ID("no such piece"); ok || id != sp.Unknown() {
		t.Errorf("id %d of a piece that is not there", id)
	}
	if _, ok := sp.Piece(-1); ok {
		t.Error("there is a piece -1")
	}
	if _, ok := sp.Piece(4096); ok {
		t.Error("there is a piece 4096")
	}
	if !sp.IsControl(1) || sp.IsControl(0) || sp.IsControl(-1) || sp.IsControl(4096) {
		t.Error("control pieces are not told apart")
	}
}

// TestParseDefaults: what a model leaves out has the schema's default.
func TestParseDefaults(t *testing.T) {
	unk := testPiece{"<unk>", 0, pieceUnknown}
	b := appendBytes(nil, 1, unk.marshal())
	b = appendBytes(b, 1, testPiece{text: "▁a"}.marshal())
	sp := mustParse(t, b)
	if n := sp.norm; sp.Kind() != "unigram" || !n.dummyPrefix || !n.trim || n.space != '▁' || n.suffix || sp.BOS() != -1 || sp.EOS() != -1 {
		t.Errorf("kind %s, normaliser %+v, bos %d, eos %d", sp.Kind(), n, sp.BOS(), sp.EOS())
	}
	checkEncode(t, sp, " a  a ", []int32{1, 1})
	checkDecode(t, sp, []int32{1, 0, 1}, "a ⁇  a")
}

// TestParseOverride: the last value of a field wins and messages merge, as protobuf says; a wrong wire type is skipped.
func TestParseOverride(t *testing.T) {
	b := testModel{pieces: pieces("a b ab"), kind: modelUnigram, normalizer: plainNormalizer()}.marshal()
	b = retype(b, modelBPE)
	b = appendBytes(b, 3, appendInt(nil, 3, 1))           // add_dummy_prefix again, the rest stays
	b = appendBytes(b, 3, appendBytes(nil, 4, []byte{1})) // remove_extra_whitespaces as bytes
	b = appendBytes(b, 99, []byte("an extension"))        // unknown field
	b = appendInt(b, 1, 5)                                // pieces as a number
	sp := mustParse(t, b)
	if sp.Kind() != "bpe" || !sp.norm.dummyPrefix || sp.norm.trim || sp.Size() != 4 {
		t.Errorf("kind %s, normaliser %+v, size %d", sp.Kind(), sp.norm, sp.Size())
	}
}

func TestParseSpecialNames(t *testing.T) {
	trainer := appendBytes(appendBytes(nil, 46, []byte("[BEGIN]")), 44, []byte("?"))
	m := testModel{kind: modelBPE, trainer: trainer, pieces: append(pieces("a"),
		testPiece{"[BEGIN]", 0, pieceControl}, testPiece{"</s>", -3, pieceNormal})}
	sp := mustParse(t, m.marshal())
	if sp.BOS() != 2 || sp.EOS() != -1 {
		t.Errorf("bos %d, eos %d; want 2 and none, as </s> is an ordinary piece", sp.BOS(), sp.EOS())
	}
	checkDecode(t, sp, []int32{2, 0, 1}, "?a")
}

// TestParseHostile: every bad model is refused with its sentinel and the field at fault.
func TestParseHostile(t *testing.T) {
	good := testModel{kind: modelBPE, pieces: pieces("a b ab")}
	with := func(change func(*testModel)) []byte {
		m := good
		m.pieces = slices.Clone(m.pieces)
		change(&m)
		return m.marshal()
	}
	add := func(p testPiece) []byte { return with(func(m *testModel) { m.pieces = append(m.pieces, p) }) }
	marshalled := good.marshal()
	many := make([]byte, 0, 2*(MaxPieces+1))
	for range MaxPieces + 1 {
		many = append(many, 0x0a, 0)
	}
	for _, c := range []struct {
		name  string
		model []byte
		want  error
		field string
	}{
		{"empty", nil, ErrInvalid, "UNKNOWN"},
		{"text", []byte("this is not a model"), ErrMalformed, ""},
		{"truncated", marshalled[:len(marshalled)-1], ErrMalformed, ""},
		{"absurd length", append([]byte{0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f}, "a"...), ErrMalformed, ""},
		{"truncated piece", appendBytes(nil, 1, []byte{0x0a, 9, 'a'}), ErrMalformed, "pieces[0]"},
		{"truncated trainer", appendBytes(nil, 2, []byte{0x18}), ErrMalformed, "trainer_spec"},
		{"truncated normaliser", appendBytes(nil, 3, []byte{0x12, 9}), ErrMalformed, "normalizer_spec"},
		{"truncated self-test", appendBytes(nil, 4, appendBytes(nil, 1, []byte{0x0a, 9})), ErrMalformed, "self_test_data"},
		{"too long", make([]byte, MaxModelBytes+1), ErrTooLarge, "bytes"},
		{"too many pieces", many, ErrTooLarge, "pieces"},
		{"long piece", add(testPiece{strings.Repeat("x", MaxPieceBytes+1), 0, pieceNormal}), ErrTooLarge, "pieces[4].piece"},
		{"no unknown", with(func(m *testModel) { m.pieces = m.pieces[1:] }), ErrInvalid, "UNKNOWN"},
		{"two unknown", add(testPiece{"<u>", 0, pieceUnknown}), ErrInvalid, "pieces[4].type"},
		{"empty piece", add(testPiece{"", 0, pieceNormal}), ErrInvalid, "pieces[4].piece"},
		{"malformed piece", add(testPiece{"a\xff", 0, pieceNormal}), ErrInvalid, "pieces[4].piece"},
		{"duplicate", add(testPiece{"ab", 0, pieceNormal}), ErrInvalid, `pieces[4].piece: "ab" is already piece 3`},
		{"duplicate user", add(testPiece{"ab", 0, pieceUserDefined}), ErrInvalid, "pieces[4].piece"},
		{"duplicate control", add(testPiece{"<unk>", 0, pieceControl}), ErrInvalid, "pieces[4].piece"},
		{"NaN", add(testPiece{"c", float32(math.NaN()), pieceNormal}), ErrInvalid, "pieces[4].score"},
		{"infinite", add(testPiece{"c", float32(math.Inf(-1)), pieceNormal}), ErrInvalid, "pieces[4].score"},
		{"type 7", add(testPiece{"c", 0, 7}), ErrUnsupported, "pieces[4].type"},
		{"byte without fallback", add(testPiece{"<0x00>", 0, pieceByte}), ErrInvalid, "byte_fallback"},
		{"fallback without bytes", with(func(m *testModel) { m.trainer = appendInt(nil, 35, 1) }), ErrInvalid, "byte_fallback"},
		{"not a byte", with(func(m *testModel) {
			m.trainer = appendInt(nil, 35, 1)
			m.pieces = append(m.pieces, testPiece{"<0xaf>", 0, pieceByte})
		}), ErrInvalid, "pieces[4].piece"},
		{"word model", with(func(m *testModel) { m.kind = modelWord }), ErrUnsupported, "model_type: WORD"},
		{"char model", with(func(m *testModel) { m.kind = modelChar }), ErrUnsupported, "model_type: CHAR"},
		{"model type 9", with(func(m *testModel) { m.kind = 9 }), ErrUnsupported, "model_type"},
		{"unigram without words", with(func(m *testModel) {
			m.kind, m.pieces = modelUnigram, m.pieces[:1]
		}), ErrInvalid, "pieces"},
		{"rules", with(func(m *testModel) { m.normalizer = appendBytes(nil, 2, []byte("junk")) }), ErrInvalid, "normalizer_spec.precompiled_charsmap"},
		{"rules of the denormaliser", with(func(m *testModel) { m.denormalizer = appendBytes(nil, 2, []byte("junk")) }), ErrInvalid, "denormalizer_spec.precompiled_charsmap"},
		{"self-test", with(func(m *testModel) { m.extra = selfTestField("ab", "a b") }), ErrSelfTest, "self_test_data.samples[0]"},
	} {
		sp, err := Parse(c.model)
		if !errors.Is(err, c.want) || sp != nil {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
			continue
		}
		if !strings.Contains(err.Error(), c.field) || !strings.HasPrefix(err.Error(), "parse tokenizer model: ") {
			t.Errorf("%s: %q does not name %q", c.name, err, c.field)
		}
	}
}

func selfTestField(input, expected string) []byte {
	return appendBytes(nil, 4, appendBytes(nil, 1, appendBytes(appendBytes(nil, 1, []byte(input)), 2, []byte(expected))))
}

func TestParseSelfTest(t *testing.T) {
	m := testModel{kind: modelBPE, normalizer: plainNormalizer(), pieces: pieces("a b ab")}
	m.extra = append(selfTestField("abxa", "ab x a"), selfTestField("", "")...)
	mustParse(t, m.marshal())
	// A unigram model may break a tie another way, as long as the likelihood is the same.
	m = testModel{kind: modelUnigram, normalizer: plainNormalizer(), pieces: []testPiece{
		{"<unk>", 0, pieceUnknown}, {"a", -1, 0}, {"aa", -2, 0}, {"b", -5, 0},
	}}
	m.extra = append(selfTestField("aa", "a a"), selfTestField("aa", "aa")...)
	mustParse(t, m.marshal())
	m.extra = selfTestField("aa", "b")
	if _, err := Parse(m.marshal()); !errors.Is(err, ErrSelfTest) {
		t.Errorf("got %v", err)
	}
	// Samples past the limit are not run.
	m.extra = append(selfTestField(strings.Repeat("a", MaxSelfTestBytes+1), "b"), selfTestField("aa", "b")...)
	mustParse(t, m.marshal())
}

// TestParseNodes reaches the limit on distinct prefixes.
func TestParseNodes(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 200 MB")
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	m := testModel{kind: modelBPE, pieces: pieces("a")}
	for range MaxTrieNodes/MaxPieceBytes + 8 {
		b := make([]byte, MaxPieceBytes)
		for i := range b {
			b[i] = 'a' + byte(rnd.IntN(26))
		}
		m.pieces = append(m.pieces, testPiece{string(b), -1, pieceNormal})
	}
	if _, err := Parse(m.marshal()); !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), "prefixes") {
		t.Errorf("got %v", err)
	}
}

// TestParseMutated flips bytes and cuts real models: an error or a working tokenizer, never a panic.
func TestParseMutated(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for _, name := range []string{"bpe-identity", "unigram-nmt_nfkc"} {
		model := readGzip(t, name+".model.gz")
		for range 60 {
			b := slices.Clone(model)
			for range 1 + rnd.IntN(4) {
				b[rnd.IntN(len(b))] = byte(rnd.Uint32())
			}
			useModel(b[:len(b)-rnd.IntN(2)*rnd.IntN(len(b))])
		}
	}
}

// useModel parses a model and, if that works, uses all of it.
func useModel(model []byte) {
	sp, err := Parse(model)
	if err != nil {
		return
	}
	ids := sp.Append(nil, "All human beings\t are ▁ born ﬁ\u00a0日本語😀 \xff\xe2\x96 <s>")
	ids = append(ids, -1, 0, int32(sp.Size()))
	sp.Decode(ids)
	st := sp.NewStreamAfter(ids[:len(ids)/2])
	for _, id := range ids {
		st.Write(id)
		sp.TokenBytes(id)
	}
	st.Flush()
}
