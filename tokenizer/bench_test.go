package tokenizer

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// benchModels are the free models and, where the folder beside the checkout has it, a real vocabulary of 256,000 pieces, both
// as it is and read as a unigram model.
func benchModels(b *testing.B) map[string][]byte {
	m := map[string][]byte{}
	for _, n := range []string{"bpe-identity", "bpe-nmt_nfkc-user", "unigram-identity", "unigram-nmt_nfkc", "udhr-model"} {
		m[n] = readGzip(b, n+".model.gz")
	}
	return m
}

func sharedModel(b *testing.B) []byte {
	return readShared(b, "spm-vectors/gemma-256k-rebuilt.model")
}

// benchTexts are the texts of the vectors, or the prompts and articles of the folder beside the checkout.
func benchTexts(b *testing.B, name string) []string {
	var out []string
	switch name {
	case "vectors":
		return loadVectors(b).Texts
	case "prompts":
		for line := range strings.Lines(string(readShared(b, "prompts/prompts.jsonl"))) {
			var p struct{ Text string }
			if err := json.Unmarshal([]byte(line), &p); err != nil {
				b.Fatal(err)
			}
			out = append(out, p.Text)
		}
	case "udhr":
		files, err := filepath.Glob(filepath.Join(sharedFile(b, "udhr"), "*.txt"))
		if err != nil {
			b.Fatal(err)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				b.Fatal(err)
			}
			out = append(out, strings.Split(string(text), "\n")...)
		}
	case "whole":
		return []string{strings.Join(append(benchTexts(b, "prompts"), benchTexts(b, "udhr")...), "\n")}
	}
	return out
}

func benchEncode(b *testing.B, model []byte, texts []string) {
	sp := mustParse(b, model)
	n := 0
	for _, t := range texts {
		n += len(t)
	}
	b.SetBytes(int64(n))
	b.ReportAllocs()
	var ids []int32
	for b.Loop() {
		for _, t := range texts {
			ids = sp.Append(ids[:0], t)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	for name, model := range benchModels(b) {
		b.Run("model="+name+"/text=vectors", func(b *testing.B) { benchEncode(b, model, benchTexts(b, "vectors")) })
	}
	for _, text := range []string{"prompts", "udhr", "whole"} {
		b.Run("model=256k-bpe/text="+text, func(b *testing.B) { benchEncode(b, sharedModel(b), benchTexts(b, text)) })
		b.Run("model=256k-unigram/text="+text, func(b *testing.B) {
			benchEncode(b, retype(sharedModel(b), modelUnigram), benchTexts(b, text))
		})
	}
}

func BenchmarkParse(b *testing.B) {
	models := benchModels(b)
	b.Run("model=udhr-model", func(b *testing.B) { benchParse(b, models["udhr-model"]) })
	b.Run("model=unigram-nmt_nfkc", func(b *testing.B) { benchParse(b, models["unigram-nmt_nfkc"]) })
	b.Run("model=256k-bpe", func(b *testing.B) { benchParse(b, sharedModel(b)) })
	b.Run("model=256k-unigram", func(b *testing.B) { benchParse(b, retype(sharedModel(b), modelUnigram)) })
}

func benchParse(b *testing.B, model []byte) {
	b.ReportAllocs()
	for b.Loop() {
		mustParse(b, model)
	}
}
