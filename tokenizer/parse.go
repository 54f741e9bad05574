package tokenizer

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Parse reads the bytes of a tokenizer.model file and keeps none of them. Errors wrap ErrMalformed, ErrInvalid,
// ErrUnsupported, ErrTooLarge or ErrSelfTest and name the field at fault.
func Parse(model []byte) (*SentencePiece, error) {
	s, err := parse(model)
	if err != nil {
		return nil, fmt.Errorf("parse tokenizer model: %w", err)
	}
	return s, nil
}

func parse(model []byte) (*SentencePiece, error) {
	if len(model) > MaxModelBytes {
		return nil, fmt.Errorf("%w: %d bytes, more than %d", ErrTooLarge, len(model), MaxModelBytes)
	}
	m, err := readModel(model)
	if err != nil {
		return nil, err
	}
	s := &SentencePiece{surface: m.trainer.unkSurface}
	if s.vocab, err = newVocab(m); err != nil {
		return nil, err
	}
	if err := s.setModel(m.trainer.modelType); err != nil {
		return nil, err
	}
	if err := s.setNormalizers(m); err != nil {
		return nil, err
	}
	s.surface, _, _ = strings.Cut(s.surface, "\x00") // the library reads it as a C string
	s.bos = s.controlID(m.trainer.bosPiece, "<s>")
	s.eos = s.controlID(m.trainer.eosPiece, "</s>")
	return s, s.selfTest(m.selfTest)
}

func (s *SentencePiece) setModel(modelType uint64) error {
	switch modelType {
	case modelUnigram:
		u, err := newUnigram(s.vocab)
		if err != nil {
			return err
		}
		s.model, s.kind = u, "unigram"
		return nil
	case modelBPE:
		s.model, s.kind = newBPE(s.vocab), "bpe"
		return nil
	case modelWord, modelChar:
		return fmt.Errorf("%w: trainer_spec.model_type: %s, neither UNIGRAM nor BPE", ErrUnsupported,
			[]string{"WORD", "CHAR"}[modelType-modelWord])
	}
	return fmt.Errorf("%w: trainer_spec.model_type: unknown value %d", ErrUnsupported, modelType)
}

func (s *SentencePiece) setNormalizers(m *modelProto) error {
	n, err := newNormalizer(m.normalizer, "normalizer_spec")
	if err != nil {
		return err
	}
	n.suffix = m.trainer.whitespaceSuffix
	n.symbols = s.vocab.symbols
	s.norm = n
	if len(m.denormalizer.charsmap) == 0 {
		return nil
	}
	s.denorm, err = newNormalizer(m.denormalizer, "denormalizer_spec")
	return err
}

// controlID returns the id of a control piece by its text, or by the schema's default text if the model gives none, or -1.
func (s *SentencePiece) controlID(text, otherwise string) int32 {
	if text == "" {
		text = otherwise
	}
	text, _, _ = strings.Cut(text, "\x00")
	if id := s.vocab.lookup(text); id != noPiece && s.vocab.kind[id] == pieceControl {
		return id
	}
	return -1
}

// selfTest encodes the samples that a model may carry and compares the pieces, as the library does before it accepts a model.
func (s *SentencePiece) selfTest(samples []selfTestSample) error {
	done := 0
	for i, sample := range samples {
		if done += len(sample.input); done > MaxSelfTestBytes {
			return nil
		}
		got := s.Append(nil, string(sample.input))
		var want []int32
		if len(sample.expected) > 0 {
			for piece := range strings.SplitSeq(string(sample.expected), " ") {
				id, _ := s.ID(piece)
				want = append(want, id)
			}
		}
		if !s.equivalent(got, want) {
			return fmt.Errorf("%w: self_test_data.samples[%d]: the text that begins %.40q encodes as %d ids, beginning %d, not as %d, beginning %d",
				ErrSelfTest, i, sample.input, len(got), got[:min(4, len(got))], len(want), want[:min(4, len(want))])
		}
	}
	return nil
}

// equivalent reports whether two encodings of a text count as the same: equal ids, or under a unigram model equal likelihood,
// since rounding may break a tie otherwise elsewhere.
func (s *SentencePiece) equivalent(a, b []int32) bool {
	if slices.Equal(a, b) {
		return true
	}
	u, ok := s.model.(*unigram)
	return ok && math.Abs(float64(u.total(a))-float64(u.total(b))) <= 1e-7
}

// total is the score of an encoding in the library's arithmetic.
func (u *unigram) total(ids []int32) float32 {
	sum := float32(0)
	for _, id := range ids {
		if id == u.v.unk {
			sum += u.unkScore
			continue
		}
		sum = float32(float64(sum) + u.score[id])
	}
	return sum
}
