package trust

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"time"
)

// CAYears is how long a cluster's root is valid.
const CAYears = 10

// Fingerprint is the SHA-256 of a root's public key (SubjectPublicKeyInfo). A join token carries it.
type Fingerprint [sha256.Size]byte

// String is the fingerprint as 52 lower-case letters and digits.
func (f Fingerprint) String() string { return encode(f[:]) }

// ParseFingerprint is the inverse of Fingerprint.String.
func ParseFingerprint(text string) (Fingerprint, error) {
	var f Fingerprint
	data, ok := decode(text, len(f))
	if !ok {
		return f, fmt.Errorf("%w: fingerprint %.64q", ErrCertificate, text)
	}
	copy(f[:], data)
	return f, nil
}

// CA signs the certificates of a cluster's nodes. Only nodes that may vote hold one.
type CA struct {
	Root *x509.Certificate
	key  ed25519.PrivateKey
}

// NewCA makes the root of a cluster that is being founded, or the next one of a cluster that changes its root.
func NewCA(cluster string, now time.Time) (*CA, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make CA: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, fmt.Errorf("make CA: %w", err)
	}
	return makeCA(cluster, key, serial, now)
}

// NextCA makes the root that takes the place of another. It counts as the newer one even if the clock went back since that was made.
func NextCA(old *x509.Certificate, now time.Time) (*CA, error) {
	if least := old.NotBefore.Add(time.Second); now.Before(least) {
		now = least
	}
	return NewCA(clusterOf(old.Subject), now)
}

func makeCA(cluster string, key ed25519.PrivateKey, serial *big.Int, now time.Time) (*CA, error) {
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "polynode CA", Organization: []string{cluster}},
		NotBefore:             now,
		NotAfter:              now.AddDate(CAYears, 0, 0),
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make CA: %w", err)
	}
	root, err := parseRoot(raw)
	if err != nil {
		return nil, fmt.Errorf("make CA: %w", err)
	}
	return &CA{Root: root, key: key}, nil
}

// Fingerprint is that of the root.
func (ca *CA) Fingerprint() Fingerprint { return fingerprint(ca.Root) }

// Cluster is the id that the root was made for.
func (ca *CA) Cluster() string { return clusterOf(ca.Root.Subject) }

// PEM is the root and its private key, to be kept in a file of mode 0600 or sent to a node that becomes a voter.
func (ca *CA) PEM() ([]byte, error) {
	key, err := keyPEM(ca.key)
	if err != nil {
		return nil, err
	}
	return append(certificatePEM(ca.Root.Raw), key...), nil
}

// ParseCA is the inverse of CA.PEM. A key that is not the root's gives ErrCertificate.
func ParseCA(data []byte) (*CA, error) {
	if len(data) > PEMMax {
		return nil, fmt.Errorf("parse CA: %w: %d bytes, limit %d", ErrCertificate, len(data), PEMMax)
	}
	block, rest := pem.Decode(data)
	if block == nil || block.Type != pemCertificate {
		return nil, fmt.Errorf("parse CA: %w: no certificate", ErrCertificate)
	}
	root, err := parseRoot(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("parse CA: %w", err)
	}
	key, err := parseKey(rest)
	if err != nil {
		return nil, fmt.Errorf("parse CA: %w", err)
	}
	if !key.Public().(ed25519.PublicKey).Equal(root.PublicKey) {
		return nil, fmt.Errorf("parse CA: %w: the key is not that of the root", ErrCertificate)
	}
	return &CA{Root: root, key: key}, nil
}

// RootsMax is how many roots a cluster trusts at once: the one it has and, while it changes it, the next.
const RootsMax = 2

// Bundle is the roots that are trusted. The first is the one that new certificates come from.
type Bundle struct {
	roots []*x509.Certificate
}

// NewBundle trusts one or two roots.
func NewBundle(roots ...*x509.Certificate) (*Bundle, error) {
	raw := make([][]byte, len(roots))
	for i, root := range roots {
		raw[i] = root.Raw
	}
	return ParseRoots(raw)
}

// ParseRoots reads the roots of a bundle from their DER.
func ParseRoots(raw [][]byte) (*Bundle, error) {
	if len(raw) < 1 || len(raw) > RootsMax {
		return nil, fmt.Errorf("parse roots: %w: %d roots, want 1 to %d", ErrCertificate, len(raw), RootsMax)
	}
	b := &Bundle{}
	for _, data := range raw {
		root, err := parseRoot(data)
		if err != nil {
			return nil, fmt.Errorf("parse roots: %w", err)
		}
		if b.Contains(fingerprint(root)) {
			return nil, fmt.Errorf("parse roots: %w: the same root twice", ErrCertificate)
		}
		b.roots = append(b.roots, root)
	}
	return b, nil
}

// ParseBundle is the inverse of Bundle.PEM.
func ParseBundle(data []byte) (*Bundle, error) {
	raw, err := parseChain(data)
	if err != nil {
		return nil, fmt.Errorf("parse bundle: %w", err)
	}
	return ParseRoots(raw)
}

// PEM is the bundle as it is kept in a file. It holds no secret.
func (b *Bundle) PEM() []byte { return certificatePEM(b.Raw()...) }

// Newest is the root that was made last: where there are two, the one that the cluster changes to.
func (b *Bundle) Newest() *x509.Certificate {
	newest := b.roots[0]
	for _, root := range b.roots[1:] {
		if root.NotBefore.After(newest.NotBefore) {
			newest = root
		}
	}
	return newest
}

// FingerprintOf is the fingerprint of a root.
func FingerprintOf(root *x509.Certificate) Fingerprint { return fingerprint(root) }

// Raw is the DER of the roots, in their order.
func (b *Bundle) Raw() [][]byte {
	raw := make([][]byte, len(b.roots))
	for i, root := range b.roots {
		raw[i] = root.Raw
	}
	return raw
}

// Fingerprints are those of the roots, in their order.
func (b *Bundle) Fingerprints() []Fingerprint {
	prints := make([]Fingerprint, len(b.roots))
	for i, root := range b.roots {
		prints[i] = fingerprint(root)
	}
	return prints
}

// Contains says whether a root with this key is trusted.
func (b *Bundle) Contains(print Fingerprint) bool {
	for _, root := range b.roots {
		if fingerprint(root) == print {
			return true
		}
	}
	return false
}

func fingerprint(c *x509.Certificate) Fingerprint { return sha256.Sum256(c.RawSubjectPublicKeyInfo) }

// clusterOf is the id of the cluster in a root's or an issuer's name; it is a hint for messages and proves nothing.
func clusterOf(name pkix.Name) string {
	cluster := strings.Join(name.Organization, " ")
	if CheckText(cluster, NameMax) != nil {
		return "unknown"
	}
	return cluster
}

func parseRoot(raw []byte) (*x509.Certificate, error) {
	root, err := parseCertificate(raw)
	if err != nil {
		return nil, err
	}
	if _, ok := root.PublicKey.(ed25519.PublicKey); !ok {
		return nil, fmt.Errorf("%w: the key of the root is not ed25519", ErrCertificate)
	}
	if err := root.CheckSignatureFrom(root); err != nil { // it must be an authority for that
		return nil, fmt.Errorf("%w: it is not the root of a cluster: %w", ErrCertificate, err)
	}
	return root, nil
}

func parseCertificate(raw []byte) (*x509.Certificate, error) {
	if len(raw) > CertificateMax {
		return nil, fmt.Errorf("%w: %d bytes, limit %d", ErrCertificate, len(raw), CertificateMax)
	}
	c, err := x509.ParseCertificate(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCertificate, err)
	}
	return c, nil
}

// Kinds of PEM blocks.
const (
	pemCertificate = "CERTIFICATE"
	pemKey         = "PRIVATE KEY"
	pemGossip      = "POLYNODE GOSSIP KEY"
)

func certificatePEM(raw ...[]byte) []byte {
	var out bytes.Buffer
	for _, data := range raw {
		_ = pem.Encode(&out, &pem.Block{Type: pemCertificate, Bytes: data}) // a buffer takes everything
	}
	return out.Bytes()
}

// parseChain reads one to ChainMax certificates and nothing else.
func parseChain(data []byte) ([][]byte, error) {
	if len(data) > PEMMax {
		return nil, fmt.Errorf("%w: %d bytes, limit %d", ErrCertificate, len(data), PEMMax)
	}
	var raw [][]byte
	for len(bytes.TrimSpace(data)) > 0 {
		var block *pem.Block
		block, data = pem.Decode(data)
		if block == nil || block.Type != pemCertificate || len(raw) == ChainMax {
			return nil, fmt.Errorf("%w: want one to %d certificates in PEM", ErrCertificate, ChainMax)
		}
		raw = append(raw, block.Bytes)
	}
	if len(raw) == 0 {
		return nil, fmt.Errorf("%w: no certificate", ErrCertificate)
	}
	return raw, nil
}

func keyPEM(key ed25519.PrivateKey) ([]byte, error) {
	data, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemKey, Bytes: data}), nil
}

func parseKey(data []byte) (ed25519.PrivateKey, error) {
	block, rest := pem.Decode(data)
	if block == nil || block.Type != pemKey || len(bytes.TrimSpace(rest)) > 0 {
		return nil, fmt.Errorf("%w: want one private key in PEM", ErrCertificate)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: private key cannot be read", ErrCertificate) // the parser's words could be about a secret
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%w: private key is not ed25519", ErrCertificate)
	}
	return key, nil
}

// newSerial is a random number of 127 bits, above zero.
func newSerial() (*big.Int, error) {
	limit := new(big.Int).Lsh(big.NewInt(1), 127)
	n, err := rand.Int(rand.Reader, limit.Sub(limit, big.NewInt(1)))
	if err != nil {
		return nil, fmt.Errorf("draw serial number: %w", err)
	}
	return n.Add(n, big.NewInt(1)), nil
}
