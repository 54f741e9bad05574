package trust

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"time"
)

// What a token is made of.
const (
	tokenPrefix   = "pn1"
	tokenIDBytes  = 5
	secretBytes   = 16
	exporterBytes = 32

	// TokenTTL and TokenUses are what a token is made for unless told otherwise.
	TokenTTL  = time.Hour
	TokenUses = 1

	TokenTTLMax  = 30 * 24 * time.Hour
	TokenUsesMax = 1024 // joins
	TokenTextMax = 256  // bytes of a token, with the white space around it
)

// ExporterLabel and ExporterBytes say which keying material of the TLS connection a proof is about (RFC 5705, no context).
const (
	ExporterLabel = "EXPORTER-polynode-join"
	ExporterBytes = exporterBytes
)

// Token lets a machine join a cluster. Its text is pn1.ROOT.ID.SECRET: the fingerprint of the cluster's root, the name of the
// token, and 128 random bits.
type Token struct {
	Root   Fingerprint
	ID     string
	secret [secretBytes]byte
}

// NewToken makes a token for the cluster with this root, and the record of it that the cluster keeps. Zero for ttl or uses means the usual.
func NewToken(root Fingerprint, role Role, ttl time.Duration, uses int, now time.Time) (Token, TokenRecord, error) {
	if ttl == 0 {
		ttl = TokenTTL
	}
	if uses == 0 {
		uses = TokenUses
	}
	if ttl > TokenTTLMax {
		return Token{}, TokenRecord{}, fmt.Errorf("make token: %w: valid for %s, limit %s", ErrToken, ttl, TokenTTLMax)
	}
	id := make([]byte, tokenIDBytes)
	t := Token{Root: root}
	if _, err := rand.Read(id); err != nil {
		return Token{}, TokenRecord{}, fmt.Errorf("make token: %w", err)
	}
	if _, err := rand.Read(t.secret[:]); err != nil {
		return Token{}, TokenRecord{}, fmt.Errorf("make token: %w", err)
	}
	t.ID = encode(id)
	key, err := t.key()
	if err != nil {
		return Token{}, TokenRecord{}, fmt.Errorf("make token: %w", err)
	}
	record := TokenRecord{
		ID: t.ID, Role: role, Uses: uses, Made: now.Unix(), Until: now.Add(ttl).Unix(),
		Key: base64.RawStdEncoding.EncodeToString(key.Public().(ed25519.PublicKey)),
	}
	if err := record.Valid(); err != nil {
		return Token{}, TokenRecord{}, fmt.Errorf("make token: %w", err)
	}
	return t, record, nil
}

// ParseToken reads the text of a token. What is none gives ErrToken; the error does not repeat the text, which may be most of a secret.
func ParseToken(text string) (Token, error) {
	const advice = "copy it whole from what `polynode token create` printed"
	if len(text) > TokenTextMax {
		return Token{}, fmt.Errorf("parse token: %w: %d bytes, limit %d; %s", ErrToken, len(text), TokenTextMax, advice)
	}
	parts := strings.Split(strings.ToLower(strings.TrimSpace(text)), ".")
	if parts[0] != tokenPrefix {
		return Token{}, fmt.Errorf("parse token: %w: it does not begin with %q; %s", ErrToken, tokenPrefix+".", advice)
	}
	if len(parts) != 4 {
		return Token{}, fmt.Errorf("parse token: %w: %d parts between dots, want 4; %s", ErrToken, len(parts), advice)
	}
	var t Token
	root, okRoot := decode(parts[1], len(t.Root))
	_, okID := decode(parts[2], tokenIDBytes)
	secret, okSecret := decode(parts[3], secretBytes)
	if !okRoot || !okID || !okSecret {
		return Token{}, fmt.Errorf("parse token: %w: a part is damaged or incomplete; %s", ErrToken, advice)
	}
	t.ID = parts[2]
	copy(t.Root[:], root)
	copy(t.secret[:], secret)
	return t, nil
}

// Text is the whole token, secret included: for the person who carries it to the new machine, never for a log.
func (t Token) Text() string {
	return strings.Join([]string{tokenPrefix, t.Root.String(), t.ID, encode(t.secret[:])}, ".")
}

// String is the token without its secret, so that a token in a log does no harm.
func (t Token) String() string { return "token " + t.ID }

// GoString keeps the secret from %#v as well.
func (t Token) GoString() string { return t.String() }

// key is the private key that the secret stands for. The cluster keeps the public half: whoever reads it, in the agreed state or in
// a snapshot on some disk, can check a proof and cannot make one. A hash of the secret as the key of an HMAC
// would do for checking too, but would itself be all that one needs to join.
func (t Token) key() (ed25519.PrivateKey, error) {
	seed, err := hkdf.Key(sha256.New, t.secret[:], nil, "polynode join token "+t.ID, ed25519.SeedSize)
	if err != nil {
		return nil, fmt.Errorf("derive key of token: %w", err)
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

// proven is what a proof signs: this TLS connection and no other, and this certificate request.
func proven(id string, exporter, csr []byte) ([]byte, error) {
	if len(exporter) != exporterBytes {
		return nil, fmt.Errorf("%w: %d bytes of keying material, want %d", ErrRequest, len(exporter), exporterBytes)
	}
	hash := sha256.Sum256(csr)
	message := append([]byte("polynode join 1\x00"), id...)
	message = append(message, 0)
	message = append(message, exporter...)
	return append(message, hash[:]...), nil
}

// prove shows that the caller has the secret, for one connection and one certificate request.
func (t Token) prove(exporter, csr []byte) ([]byte, error) {
	message, err := proven(t.ID, exporter, csr)
	if err != nil {
		return nil, err
	}
	key, err := t.key()
	if err != nil {
		return nil, err
	}
	return ed25519.Sign(key, message), nil
}

// TokenRecord is what the cluster agrees on about a token. It holds no secret. Times are seconds since 1970.
type TokenRecord struct {
	ID      string `json:"id"`
	Key     string `json:"key"` // public key of the secret, base64
	Role    Role   `json:"role"`
	Uses    int    `json:"uses"` // joins that it is good for
	Used    int    `json:"used,omitempty"`
	Made    int64  `json:"made"`
	Until   int64  `json:"until"`
	Revoked bool   `json:"revoked,omitempty"`
	Index   uint64 `json:"index,omitempty"` // of its last change
}

// Valid checks that this can be the record of a new token.
func (r TokenRecord) Valid() error {
	if _, ok := decode(r.ID, tokenIDBytes); !ok {
		return fmt.Errorf("%w: id %.64q", ErrToken, r.ID)
	}
	if _, err := r.key(); err != nil {
		return err
	}
	if !r.Role.Valid() {
		return fmt.Errorf("%w: no role %.64q; there are %s and %s", ErrToken, r.Role, Worker, Witness)
	}
	if r.Uses < 1 || r.Uses > TokenUsesMax {
		return fmt.Errorf("%w: for %d joins, want 1 to %d", ErrToken, r.Uses, TokenUsesMax)
	}
	if r.Made < 1 || r.Until <= r.Made || r.Until-r.Made > int64(TokenTTLMax/time.Second) {
		return fmt.Errorf("%w: valid for %d seconds, want 1 to %d", ErrToken, r.Until-r.Made, int64(TokenTTLMax/time.Second))
	}
	if r.Used != 0 || r.Revoked {
		return fmt.Errorf("%w: used or revoked before it exists", ErrToken)
	}
	return nil
}

func (r TokenRecord) key() (ed25519.PublicKey, error) {
	key, err := base64.RawStdEncoding.Strict().DecodeString(r.Key)
	if err != nil || len(key) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("%w: token %s: no public key", ErrToken, r.ID)
	}
	return key, nil
}

// Dead says whether nobody can join with the token any more, at a time in seconds since 1970.
func (r TokenRecord) Dead(at int64) bool { return r.Usable(at) != nil }

// Usable says why nobody can join with the token at a time in seconds since 1970; nil if somebody can.
func (r TokenRecord) Usable(at int64) error {
	if err := r.current(at); err != nil {
		return err
	}
	if r.Used >= r.Uses {
		return fmt.Errorf("%w: token %s let %d of %d nodes in; %s", ErrTokenUsed, r.ID, r.Used, r.Uses, adviceToken)
	}
	return nil
}

// Repeatable is Usable for a node that joined with this token before and lost the answer: its join is counted already.
func (r TokenRecord) Repeatable(at int64) error { return r.current(at) }

func (r TokenRecord) current(at int64) error {
	if r.Revoked {
		return fmt.Errorf("%w: token %s; %s", ErrTokenRevoked, r.ID, adviceToken)
	}
	if at > r.Until {
		return fmt.Errorf("%w: token %s, at %s; %s", ErrTokenExpired, r.ID, stamp(time.Unix(r.Until, 0)), adviceToken)
	}
	return nil
}

const adviceToken = "make another with `polynode token create` on a node of the cluster"

// checkProof makes sure that who asks has the secret of the token and means this connection and this request.
func (r TokenRecord) checkProof(proof, exporter, csr []byte) error {
	key, err := r.key()
	if err != nil {
		return err
	}
	message, err := proven(r.ID, exporter, csr)
	if err != nil {
		return err
	}
	if len(proof) != ed25519.SignatureSize || !ed25519.Verify(key, message, proof) {
		return fmt.Errorf("%w: token %s; copy the whole token again, or %s", ErrTokenSecret, r.ID, adviceToken)
	}
	return nil
}

// checkRole makes sure that the token is for the role that the joiner asks for; it may leave the choice to the token.
func (r TokenRecord) checkRole(asked Role) error {
	if asked == "" || asked == r.Role {
		return nil
	}
	if !asked.Valid() {
		return fmt.Errorf("%w: no role %.64q", ErrRequest, asked)
	}
	return fmt.Errorf("%w: token %s is for a %s, the machine wants to be a %s; make one with `polynode token create --role %s`", ErrRole, r.ID, r.Role, asked, asked)
}
