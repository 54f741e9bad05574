package tokenizer

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

// models of testdata.
var modelNames = []string{
	"bpe-identity", "bpe-nmt_nfkc-user", "bpe-nodummy", "bpe-suffix", "unigram-identity", "unigram-nmt_nfkc", "udhr-model",
}

// readGzip returns the contents of a compressed file of testdata.
func readGzip(tb testing.TB, name string) []byte {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		tb.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		tb.Fatal(err)
	}
	out, err := io.ReadAll(z)
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

// load parses a model of testdata.
func load(tb testing.TB, name string) *SentencePiece {
	tb.Helper()
	return mustParse(tb, readGzip(tb, name+".model.gz"))
}

func mustParse(tb testing.TB, model []byte) *SentencePiece {
	tb.Helper()
	sp, err := Parse(model)
	if err != nil {
		tb.Fatal(err)
	}
	return sp
}

// sharedFile returns the path of a file in the optional folder shared/data beside the checkout, or skips.
func sharedFile(tb testing.TB, name string) string {
	tb.Helper()
	dir, err := os.Getwd()
	if err != nil {
		tb.Fatal(err)
	}
	for {
		p := filepath.Join(dir, "shared", "data", filepath.FromSlash(name))
		if _, err := os.Stat(p); err == nil {
			return p
		}
		up := filepath.Dir(dir)
		if up == dir {
			tb.Skipf("no shared/data/%s beside the checkout: it may not be copied into the repository", name)
		}
		dir = up
	}
}

func readShared(tb testing.TB, name string) []byte {
	tb.Helper()
	b, err := os.ReadFile(sharedFile(tb, name))
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// vectors are the reference library's answers.
type vectors struct {
	Texts  []string
	Models map[string]struct {
		Encode [][]int32
		Decode []decodeVector
	}
}

type decodeVector struct {
	ids  []int32
	text string
}

func (d *decodeVector) UnmarshalJSON(b []byte) error {
	return json.Unmarshal(b, &[]any{&d.ids, &d.text})
}

func loadVectors(tb testing.TB) vectors {
	tb.Helper()
	var v vectors
	if err := json.Unmarshal(readGzip(tb, "vectors.json.gz"), &v); err != nil {
		tb.Fatal(err)
	}
	return v
}

// testPiece and testModel describe a model to build for a test.
type testPiece struct {
	text  string
	score float32
	kind  pieceKind
}

type testModel struct {
	pieces []testPiece
	kind   uint64 // model type
	// Raw fields appended to the messages, made with the functions below.
	trainer, normalizer, denormalizer, extra []byte
}

func (m testModel) marshal() []byte {
	var b []byte
	for _, p := range m.pieces {
		b = appendBytes(b, 1, p.marshal())
	}
	b = appendBytes(b, 2, append(appendInt(nil, 3, m.kind), m.trainer...))
	b = appendBytes(b, 3, m.normalizer)
	if m.denormalizer != nil {
		b = appendBytes(b, 5, m.denormalizer)
	}
	return append(b, m.extra...)
}

func (p testPiece) marshal() []byte {
	b := appendBytes(nil, 1, []byte(p.text))
	b = protowire.AppendTag(b, 2, protowire.Fixed32Type)
	b = protowire.AppendFixed32(b, math.Float32bits(p.score))
	if p.kind == 0 {
		return b
	}
	return appendInt(b, 3, uint64(p.kind))
}

func appendBytes(b []byte, num protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, num, protowire.BytesType), v)
}

func appendInt(b []byte, num protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), v)
}

// plainNormalizer has neither dummy prefix nor trimming.
func plainNormalizer() []byte { return appendInt(appendInt(nil, 3, 0), 4, 0) }

// pieces splits a list such as "a b ab" into NORMAL pieces with falling scores, after the unknown piece.
func pieces(list string) []testPiece {
	out := []testPiece{{"<unk>", 0, pieceUnknown}}
	for i, s := range strings.Fields(list) {
		out = append(out, testPiece{s, -1 - float32(i), pieceNormal})
	}
	return out
}

// bytePieces are the 256 pieces of byte fallback.
func bytePieces() []testPiece {
	const digits = "0123456789ABCDEF"
	var out []testPiece
	for i := range 256 {
		out = append(out, testPiece{"<0x" + string(digits[i>>4]) + string(digits[i&15]) + ">", 0, pieceByte})
	}
	return out
}

// retype returns a copy of a model with another model type, which a later field of the same message overrides.
func retype(model []byte, kind uint64) []byte {
	return appendBytes(bytes.Clone(model), 2, appendInt(nil, 3, kind))
}
