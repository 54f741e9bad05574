package tokenizer

import "errors"

// Limits on what Parse accepts. The largest published models (256,000 pieces, 4 MB) use about a twentieth of each.
const (
	// MaxModelBytes is the largest tokenizer.model.
	MaxModelBytes = 64 << 20
	// MaxPieces is the largest vocabulary.
	MaxPieces = 1 << 21
	// MaxPieceBytes is the longest piece, in bytes of UTF-8.
	MaxPieceBytes = 4096
	// MaxTrieNodes bounds the memory of the piece trie: one node for each distinct prefix of a piece, 16 to 48 bytes each.
	MaxTrieNodes = 1 << 22
	// MaxReplacementBytes is the longest text that a normalisation rule may write for one match, so that normalised text is
	// at most this many times longer than its source. The longest rule of NFKC writes 33 bytes.
	MaxReplacementBytes = 512
	// MaxRuleBytes is the longest text that a normalisation rule may match.
	MaxRuleBytes = 1024
	// MaxSelfTestBytes is how much of the model's self-test texts Parse encodes.
	MaxSelfTestBytes = 1 << 20
)

// Errors of Parse. Each is wrapped with the name of the field at fault.
var (
	// ErrMalformed says that the bytes are not a protobuf ModelProto.
	ErrMalformed = errors.New("not a SentencePiece ModelProto")
	// ErrInvalid says that the model contradicts itself or holds values that no encoder can use.
	ErrInvalid = errors.New("invalid SentencePiece model")
	// ErrUnsupported says that the model is of a kind that this package does not implement.
	ErrUnsupported = errors.New("unsupported SentencePiece model")
	// ErrTooLarge says that the model is over one of the limits above.
	ErrTooLarge = errors.New("SentencePiece model exceeds a limit")
	// ErrSelfTest says that the model's own test samples do not encode as the model says they should.
	ErrSelfTest = errors.New("SentencePiece self-test failed")
)
