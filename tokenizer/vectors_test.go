package tokenizer

import (
	"encoding/json"
	"slices"
	"testing"
)

// TestVectors compares with the reference library on every text and every list of ids.
func TestVectors(t *testing.T) {
	v := loadVectors(t)
	if len(v.Texts) < 1500 || len(v.Models) != len(modelNames) {
		t.Fatalf("%d texts and %d models: the vectors are not whole", len(v.Texts), len(v.Models))
	}
	for _, name := range modelNames {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sp, m := load(t, name), v.Models[name]
			if len(m.Encode) != len(v.Texts) || len(m.Decode) == 0 {
				t.Fatalf("%d encodings of %d texts, %d decodings", len(m.Encode), len(v.Texts), len(m.Decode))
			}
			for i, want := range m.Encode {
				checkEncode(t, sp, v.Texts[i], want)
			}
			for _, d := range m.Decode {
				checkDecode(t, sp, d.ids, d.text)
			}
		})
	}
}

// TestCrafted compares with the reference library on models made to reach what trained ones do not.
func TestCrafted(t *testing.T) {
	type encoding struct {
		text []byte
		ids  []int32
	}
	var models []struct {
		Model  []byte
		Encode [][2]json.RawMessage
		Decode []decodeVector
	}
	if err := json.Unmarshal(readGzip(t, "crafted.json.gz"), &models); err != nil {
		t.Fatal(err)
	}
	for _, m := range models {
		sp := mustParse(t, m.Model)
		for _, raw := range m.Encode {
			var e encoding
			if err := json.Unmarshal(raw[0], &e.text); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(raw[1], &e.ids); err != nil {
				t.Fatal(err)
			}
			checkEncode(t, sp, string(e.text), e.ids)
		}
		for _, d := range m.Decode {
			checkDecode(t, sp, d.ids, d.text)
		}
	}
}

// TestSharedVectors does the same with every model of the folder beside the checkout, real ones among them.
func TestSharedVectors(t *testing.T) {
	for _, name := range []string{
		"bpe-identity", "bpe-nmt_nfkc-user", "bpe-nodummy", "bpe-suffix", "gemma-256k-rebuilt", "google-test_ja_model",
		"google-test_model", "llama2", "udhr-model", "unigram-identity", "unigram-nmt_nfkc",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var v struct {
				Encode, Decode []struct {
					Text string
					IDs  []int32
				}
			}
			if err := json.Unmarshal(readShared(t, "spm-vectors/"+name+".json"), &v); err != nil {
				t.Fatal(err)
			}
			model := "spm-vectors/" + name + ".model"
			if name == "udhr-model" {
				model = "udhr-model/tokenizer.model"
			}
			sp := mustParse(t, readShared(t, model))
			for _, e := range v.Encode {
				checkEncode(t, sp, e.Text, e.IDs)
			}
			for _, d := range v.Decode {
				checkDecode(t, sp, d.IDs, d.Text)
			}
			t.Logf("%d encodings, %d decodings", len(v.Encode), len(v.Decode))
		})
	}
}

func checkEncode(t *testing.T, sp *SentencePiece, text string, want []int32) {
	t.Helper()
	if got := sp.Append(nil, text); !slices.Equal(got, want) {
		t.Errorf("%s: encode %q\n got %d\nwant %d", sp.Kind(), text, got, want)
	}
}

func checkDecode(t *testing.T, sp *SentencePiece, ids []int32, want string) {
	t.Helper()
	if got := sp.Decode(ids); got != want {
		t.Errorf("%s: decode %d\n got %q\nwant %q", sp.Kind(), ids, got, want)
	}
}
