package trust

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"time"

	"polynode/shard"
)

// Validity is the life of a node's certificate.
const Validity = 30 * 24 * time.Hour

// Skew is how far two clocks may differ before certificates are refused.
const Skew = 5 * time.Minute

// Role says what a node is for.
type Role string

// The roles.
const (
	Worker  Role = "worker"  // computes, and votes if it is asked to
	Witness Role = "witness" // votes and holds no layers: for a small machine beside two large ones
)

// Valid says whether there is such a role.
func (r Role) Valid() bool { return r == Worker || r == Witness }

// Issue signs a certificate for the key of a certificate request, whose node is told from the key alone. It does not ask whether
// the node may have one: see Admit for a joiner, Renew for a member.
func Issue(ca *CA, csr []byte, role Role, now time.Time) (*x509.Certificate, error) {
	if !role.Valid() {
		return nil, fmt.Errorf("issue certificate: %w: no role %q", ErrRole, role)
	}
	request, id, err := parseRequest(csr)
	if err != nil {
		return nil, fmt.Errorf("issue certificate: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, fmt.Errorf("issue certificate: %w", err)
	}
	template := nodeTemplate(id, role)
	template.SerialNumber, template.NotBefore, template.NotAfter = serial, now, now.Add(Validity)
	if template.NotAfter.After(ca.Root.NotAfter) {
		template.NotAfter = ca.Root.NotAfter
	}
	if !template.NotBefore.Before(template.NotAfter) {
		return nil, fmt.Errorf("issue certificate: %w: the root of the cluster ended %s; give it a new one with `polynode cert rotate`",
			ErrExpired, ca.Root.NotAfter.UTC().Format(time.RFC3339))
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, ca.Root, request.PublicKey, ca.key)
	if err != nil {
		return nil, fmt.Errorf("issue certificate: %w", err)
	}
	return parseCertificate(raw)
}

// Renew signs the next certificate of a member, who asks over a connection that proves who it is: peer.
func Renew(ca *CA, csr []byte, peer Peer, now time.Time) (*x509.Certificate, error) {
	_, id, err := parseRequest(csr)
	if err != nil {
		return nil, fmt.Errorf("renew certificate: %w", err)
	}
	if id != peer.ID {
		return nil, fmt.Errorf("renew certificate: %w: node %s asks for the key of node %s", ErrName, peer.ID, id)
	}
	return Issue(ca, csr, peer.Role, now)
}

// nodeTemplate is the form of every node's certificate.
func nodeTemplate(id shard.NodeID, role Role) *x509.Certificate {
	return &x509.Certificate{
		Subject:               pkix.Name{CommonName: string(id), OrganizationalUnit: []string{string(role)}},
		DNSNames:              []string{string(id)},
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
}

// parseRequest reads a certificate request and the id of the key that it is for.
func parseRequest(csr []byte) (*x509.CertificateRequest, shard.NodeID, error) {
	if len(csr) > CertificateMax {
		return nil, "", fmt.Errorf("%w: certificate request of %d bytes, limit %d", ErrRequest, len(csr), CertificateMax)
	}
	request, err := x509.ParseCertificateRequest(csr)
	if err != nil {
		return nil, "", fmt.Errorf("%w: certificate request: %w", ErrRequest, err)
	}
	if _, ok := request.PublicKey.(ed25519.PublicKey); !ok {
		return nil, "", fmt.Errorf("%w: certificate request for a key that is not ed25519", ErrRequest)
	}
	if err := request.CheckSignature(); err != nil {
		return nil, "", fmt.Errorf("%w: certificate request: %w", ErrRequest, err)
	}
	id := idOf(request.RawSubjectPublicKeyInfo)
	if request.Subject.CommonName != string(id) {
		return nil, "", fmt.Errorf("%w: certificate request: %w: it names %.64q, its key is that of node %s", ErrRequest, ErrName, request.Subject.CommonName, id)
	}
	return request, id, nil
}
