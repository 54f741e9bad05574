package trust

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base32"
	"fmt"
	"time"

	"polynode/shard"
)

// idBytes is how much of the hash of its key a node is called by: enough that nobody can make a second key of the same id.
const idBytes = 16

// Identity is a node's key pair. Whoever holds it is the node, wherever it is.
type Identity struct {
	id  shard.NodeID
	key ed25519.PrivateKey
}

// NewIdentity makes the key pair of a new node.
func NewIdentity() (*Identity, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make identity: %w", err)
	}
	return identityOf(key)
}

func identityOf(key ed25519.PrivateKey) (*Identity, error) {
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, fmt.Errorf("make identity: %w", err)
	}
	return &Identity{id: idOf(spki), key: key}, nil
}

// idOf is the id of the node with a public key: 26 lower-case letters and digits, so it is a host name as well.
func idOf(spki []byte) shard.NodeID {
	hash := sha256.Sum256(spki)
	return shard.NodeID(encode(hash[:idBytes]))
}

// ValidID says whether a text has the form of a node's id.
func ValidID(id shard.NodeID) bool {
	_, ok := decode(string(id), idBytes)
	return ok
}

// ID is the name of the node for its whole life.
func (i *Identity) ID() shard.NodeID { return i.id }

// Request asks for a certificate for this key (a PKCS #10 request in DER); it proves that the asker has the private key.
func (i *Identity) Request() ([]byte, error) {
	template := &x509.CertificateRequest{Subject: pkix.Name{CommonName: string(i.id)}, DNSNames: []string{string(i.id)}}
	csr, err := x509.CreateCertificateRequest(rand.Reader, template, i.key)
	if err != nil {
		return nil, fmt.Errorf("request certificate: %w", err)
	}
	return csr, nil
}

// Derive makes a key for another purpose of this node, the same at every start: for example that of QUIC's stateless resets.
// Purposes are told apart by their names.
func (i *Identity) Derive(purpose string, size int) ([]byte, error) {
	key, err := hkdf.Key(sha256.New, i.key.Seed(), nil, "polynode node key: "+purpose, size)
	if err != nil {
		return nil, fmt.Errorf("derive key: %w", err)
	}
	return key, nil
}

// Credentials are what a member of a cluster shows to others and checks them by.
type Credentials struct {
	Identity *Identity
	Leaf     *x509.Certificate
	Issuer   *x509.Certificate // the root that signed Leaf; it is shown to joiners, whose token names it
	Bundle   *Bundle
}

// NewCredentials puts together what belongs together: the certificate is this node's and a root of the bundle signed it.
func NewCredentials(identity *Identity, leaf []byte, bundle *Bundle) (*Credentials, error) {
	c, err := parseCertificate(leaf)
	if err != nil {
		return nil, err
	}
	if !identity.key.Public().(ed25519.PublicKey).Equal(c.PublicKey) {
		return nil, fmt.Errorf("%w: it is for another key than that of node %s", ErrName, identity.id)
	}
	issuer := bundle.issuer(c)
	if issuer == nil {
		return nil, foreign(c)
	}
	return &Credentials{Identity: identity, Leaf: c, Issuer: issuer, Bundle: bundle}, nil
}

// TLS is the certificate for a TLS stack: the leaf, and the root behind it.
func (c *Credentials) TLS() tls.Certificate {
	return tls.Certificate{
		Certificate: [][]byte{c.Leaf.Raw, c.Issuer.Raw},
		PrivateKey:  c.Identity.key,
		Leaf:        c.Leaf,
	}
}

// RenewAt is when a node asks for its next certificate: after two thirds of the life of this one.
func (c *Credentials) RenewAt() time.Time {
	life := c.Leaf.NotAfter.Sub(c.Leaf.NotBefore)
	return c.Leaf.NotBefore.Add(life / 3 * 2)
}

// Serial is the number of the certificate as it stands in the agreed state.
func (c *Credentials) Serial() string { return Serial(c.Leaf) }

// Serial is the number of a certificate, in hexadecimal digits.
func Serial(c *x509.Certificate) string { return c.SerialNumber.Text(16) }

var base32Lower = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

func encode(data []byte) string { return base32Lower.EncodeToString(data) }

// decode is the inverse of encode; of texts that mean the same bytes it takes only the one that encode writes.
func decode(text string, size int) ([]byte, bool) {
	data, err := base32Lower.DecodeString(text)
	return data, err == nil && len(data) == size && encode(data) == text
}
