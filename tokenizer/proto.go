package tokenizer

import (
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// modelProto is what a tokenizer.model says, with the defaults of the schema filled in. Byte slices alias the input.
type modelProto struct {
	pieces       []protoPiece
	trainer      trainerSpec
	normalizer   normalizerSpec
	denormalizer normalizerSpec
	selfTest     []selfTestSample
}

type protoPiece struct {
	text  []byte
	score float32
	kind  pieceKind
}

type trainerSpec struct {
	modelType        uint64
	byteFallback     bool
	whitespaceSuffix bool
	unkSurface       string
	unkPiece         string
	bosPiece         string
	eosPiece         string
}

type normalizerSpec struct {
	charsmap         []byte
	addDummyPrefix   bool
	removeExtraSpace bool
	escapeSpace      bool
}

type selfTestSample struct {
	input    []byte
	expected []byte
}

// Model types of the schema's TrainerSpec.ModelType.
const (
	modelUnigram = 1
	modelBPE     = 2
	modelWord    = 3
	modelChar    = 4
)

// defaultUnkSurface is how an unknown token reads when the model does not say: U+2047 between spaces.
const defaultUnkSurface = " \u2047 "

// readModel reads a ModelProto. As in every protobuf reader the last value of a scalar field wins, repeated embedded
// messages merge, and a field of an unexpected wire type counts as unknown and is skipped.
func readModel(b []byte) (*modelProto, error) {
	spec := normalizerSpec{addDummyPrefix: true, removeExtraSpace: true, escapeSpace: true}
	m := &modelProto{
		trainer:      trainerSpec{modelType: modelUnigram, unkSurface: defaultUnkSurface},
		normalizer:   spec,
		denormalizer: spec,
		// A piece takes 14 bytes or more in any real file; a smaller guess only costs a growth step.
		pieces: make([]protoPiece, 0, min(len(b)/16+1, MaxPieces)),
	}
	err := eachField(b, "", func(f field) error {
		switch f.id {
		case fieldBytes(1):
			if len(m.pieces) == MaxPieces {
				return fmt.Errorf("%w: pieces: more than %d", ErrTooLarge, MaxPieces)
			}
			p, err := readPiece(f.bytes, len(m.pieces))
			m.pieces = append(m.pieces, p)
			return err
		case fieldBytes(2):
			return readTrainer(f.bytes, &m.trainer)
		case fieldBytes(3):
			return readNormalizer(f.bytes, "normalizer_spec", &m.normalizer)
		case fieldBytes(4):
			return readSelfTest(f.bytes, m)
		case fieldBytes(5):
			return readNormalizer(f.bytes, "denormalizer_spec", &m.denormalizer)
		}
		return nil
	})
	return m, err
}

// readPiece reads a ModelProto.SentencePiece. It is written out, without closure or field names built in advance, because a
// process start pays for it 256,000 times.
func readPiece(b []byte, index int) (protoPiece, error) {
	p := protoPiece{kind: pieceNormal}
	for len(b) > 0 {
		f, n := nextField(b)
		if n < 0 {
			return p, fmt.Errorf("%w: pieces[%d]: %v", ErrMalformed, index, protowire.ParseError(n))
		}
		b = b[n:]
		switch f.id {
		case fieldBytes(1):
			p.text = f.bytes
		case fieldFixed32(2):
			p.score = math.Float32frombits(uint32(f.bits))
		case fieldVarint(3):
			if f.bits < uint64(pieceNormal) || f.bits > uint64(pieceByte) {
				return p, fmt.Errorf("%w: pieces[%d].type: unknown value %d", ErrUnsupported, index, f.bits)
			}
			p.kind = pieceKind(f.bits)
		}
	}
	return p, nil
}

func readTrainer(b []byte, t *trainerSpec) error {
	return eachField(b, "trainer_spec", func(f field) error {
		switch f.id {
		case fieldVarint(3):
			t.modelType = f.bits
		case fieldVarint(24):
			t.whitespaceSuffix = f.bits != 0
		case fieldVarint(35):
			t.byteFallback = f.bits != 0
		case fieldBytes(44):
			t.unkSurface = string(f.bytes)
		case fieldBytes(45):
			t.unkPiece = string(f.bytes)
		case fieldBytes(46):
			t.bosPiece = string(f.bytes)
		case fieldBytes(47):
			t.eosPiece = string(f.bytes)
		}
		return nil
	})
}

func readNormalizer(b []byte, name string, s *normalizerSpec) error {
	return eachField(b, name, func(f field) error {
		switch f.id {
		case fieldBytes(2):
			s.charsmap = f.bytes
		case fieldVarint(3):
			s.addDummyPrefix = f.bits != 0
		case fieldVarint(4):
			s.removeExtraSpace = f.bits != 0
		case fieldVarint(5):
			s.escapeSpace = f.bits != 0
		}
		return nil
	})
}

func readSelfTest(b []byte, m *modelProto) error {
	return eachField(b, "self_test_data", func(f field) error {
		if f.id != fieldBytes(1) {
			return nil
		}
		var s selfTestSample
		err := eachField(f.bytes, "self_test_data.samples", func(f field) error {
			switch f.id {
			case fieldBytes(1):
				s.input = f.bytes
			case fieldBytes(2):
				s.expected = f.bytes
			}
			return nil
		})
		m.selfTest = append(m.selfTest, s)
		return err
	})
}

// field is one field of a message: the value is in bytes for length-delimited fields and in bits for the numeric ones.
type field struct {
	id    uint64 // number<<3 | wire type, as on the wire
	bytes []byte
	bits  uint64
}

func fieldBytes(n uint64) uint64   { return n<<3 | uint64(protowire.BytesType) }
func fieldVarint(n uint64) uint64  { return n<<3 | uint64(protowire.VarintType) }
func fieldFixed32(n uint64) uint64 { return n<<3 | uint64(protowire.Fixed32Type) }

// nextField reads the field at the start of b and returns the bytes it takes, or a negative code for protowire.ParseError.
func nextField(b []byte) (field, int) {
	num, typ, n := protowire.ConsumeTag(b)
	if n < 0 {
		return field{}, n
	}
	f := field{id: uint64(num)<<3 | uint64(typ)}
	var m int
	switch typ {
	case protowire.BytesType:
		f.bytes, m = protowire.ConsumeBytes(b[n:])
	case protowire.VarintType:
		f.bits, m = protowire.ConsumeVarint(b[n:])
	case protowire.Fixed32Type:
		var v uint32
		v, m = protowire.ConsumeFixed32(b[n:])
		f.bits = uint64(v)
	default:
		m = protowire.ConsumeFieldValue(num, typ, b[n:])
	}
	if m < 0 {
		return field{}, m
	}
	return f, n + m
}

// eachField calls visit for each field of the message b; name is the message's field name, for errors.
func eachField(b []byte, name string, visit func(field) error) error {
	for len(b) > 0 {
		f, n := nextField(b)
		if n < 0 {
			if name == "" {
				return fmt.Errorf("%w: %v", ErrMalformed, protowire.ParseError(n))
			}
			return fmt.Errorf("%w: %s: %v", ErrMalformed, name, protowire.ParseError(n))
		}
		if err := visit(f); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}
