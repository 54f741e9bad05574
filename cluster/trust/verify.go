package trust

import (
	"crypto/ed25519"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"polynode/shard"
)

// Limits of what a peer shows.
const (
	ChainMax       = 4       // certificates
	CertificateMax = 4 << 10 // bytes of one, and of a certificate request
	PEMMax         = 32 << 10
)

// Revoked tells whether a certificate was taken back, by node and number; cluster.State has the list.
type Revoked func(id shard.NodeID, serial string) bool

// Peer is a node whose certificates were checked.
type Peer struct {
	ID     shard.NodeID
	Role   Role
	Serial string
	Until  time.Time // end of the certificate
}

// Verify checks the certificates that a peer showed, leaf first: a trusted root signed the leaf, it is valid now, nobody revoked
// it, and its names are those of its key. A nil revoked revokes nothing.
func (b *Bundle) Verify(chain [][]byte, revoked Revoked, now time.Time) (Peer, error) {
	if len(chain) < 1 || len(chain) > ChainMax {
		return Peer{}, fmt.Errorf("verify peer: %w: %d certificates, want 1 to %d; a machine without any joins with a token", ErrCertificate, len(chain), ChainMax)
	}
	leaf, err := parseCertificate(chain[0])
	if err != nil {
		return Peer{}, fmt.Errorf("verify peer: %w", err)
	}
	peer, err := b.verify(leaf, now)
	if err != nil {
		return Peer{}, fmt.Errorf("verify peer: %w", err)
	}
	if revoked != nil && revoked(peer.ID, peer.Serial) {
		return Peer{}, fmt.Errorf("verify peer: %w", revokedError(peer.ID))
	}
	return peer, nil
}

// Check makes sure that the peer is the node that was called.
func (p Peer) Check(called shard.NodeID) error {
	if p.ID != called {
		return fmt.Errorf("%w: called node %s, node %s answered; addresses may have changed hands, and gossip will tell the new one", ErrName, called, p.ID)
	}
	return nil
}

// VerifyServer checks that the node at the other end belongs to the cluster that made the token. It shows its certificate and the root
// behind it; the token says which root that must be. No secret goes to anybody before this holds.
func (t Token) VerifyServer(chain [][]byte, self shard.NodeID, now time.Time) (Peer, error) {
	if len(chain) < 2 || len(chain) > ChainMax {
		return Peer{}, fmt.Errorf("verify cluster: %w: %d certificates, want 2 to %d", ErrCertificate, len(chain), ChainMax)
	}
	for _, raw := range chain[1:] {
		root, err := parseRoot(raw)
		if err != nil || fingerprint(root) != t.Root {
			continue
		}
		bundle := &Bundle{roots: []*x509.Certificate{root}}
		peer, err := bundle.Verify(chain, nil, now)
		if err != nil {
			return Peer{}, err
		}
		if peer.ID == self {
			return Peer{}, fmt.Errorf("verify cluster: %w: node %s answered; give the address of a node on another machine, and a state folder of its own to each node",
				ErrSelf, self)
		}
		return peer, nil
	}
	return Peer{}, fmt.Errorf("verify cluster: %w: the node at this address is not of the cluster that made the token, or that cluster has a new root since; "+
		"check the address, or %s", ErrForeign, adviceToken)
}

func (b *Bundle) verify(leaf *x509.Certificate, now time.Time) (Peer, error) {
	root := b.issuer(leaf)
	if root == nil {
		return Peer{}, foreign(leaf)
	}
	if err := checkTime(root, "the cluster's root", now); err != nil {
		return Peer{}, err
	}
	if err := checkTime(leaf, "node "+quoted(leaf.Subject.CommonName), now); err != nil {
		return Peer{}, err
	}
	// The library has no tolerance, and the times were checked: ask about everything else at a moment when both are valid.
	moment := clamp(clamp(now, root), leaf)
	roots := x509.NewCertPool()
	roots.AddCert(root)
	_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: moment, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil {
		return Peer{}, fmt.Errorf("%w: %w", ErrCertificate, err)
	}
	return readPeer(leaf)
}

// readPeer checks the form of a leaf.
func readPeer(leaf *x509.Certificate) (Peer, error) {
	if _, ok := leaf.PublicKey.(ed25519.PublicKey); !ok || leaf.IsCA || !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageServerAuth) {
		return Peer{}, fmt.Errorf("%w: it is not that of a node", ErrCertificate)
	}
	id := idOf(leaf.RawSubjectPublicKeyInfo)
	if leaf.Subject.CommonName != string(id) || !slices.Equal(leaf.DNSNames, []string{string(id)}) {
		return Peer{}, fmt.Errorf("%w: it names %s, its key is that of node %s", ErrName, quoted(leaf.Subject.CommonName), id)
	}
	units := leaf.Subject.OrganizationalUnit
	if len(units) != 1 || !Role(units[0]).Valid() {
		return Peer{}, fmt.Errorf("%w: node %s has no role", ErrCertificate, id)
	}
	return Peer{ID: id, Role: Role(units[0]), Serial: Serial(leaf), Until: leaf.NotAfter}, nil
}

// issuer is the root that signed the certificate, nil if none did.
func (b *Bundle) issuer(c *x509.Certificate) *x509.Certificate {
	for _, root := range b.roots {
		if c.CheckSignatureFrom(root) == nil {
			return root
		}
	}
	return nil
}

// checkTime allows for clocks that differ by Skew.
func checkTime(c *x509.Certificate, whose string, now time.Time) error {
	const advice = "set the clocks of both machines (NTP)"
	if early := c.NotBefore.Sub(now); early > Skew {
		return fmt.Errorf("%w: that of %s begins %s, the clock here says %s: clock skew of at least %s (%s is tolerated); %s",
			ErrNotYetValid, whose, stamp(c.NotBefore), stamp(now), early.Round(time.Second), Skew, advice)
	}
	if late := now.Sub(c.NotAfter); late > Skew {
		return fmt.Errorf("%w: that of %s ended %s, the clock here says %s: either it was not renewed for %s and the machine has to join again "+
			"with a new token, or that is clock skew (%s is tolerated) and you should %s",
			ErrExpired, whose, stamp(c.NotAfter), stamp(now), late.Round(time.Second), Skew, advice)
	}
	return nil
}

func clamp(now time.Time, c *x509.Certificate) time.Time {
	if now.Before(c.NotBefore) {
		return c.NotBefore
	}
	if now.After(c.NotAfter) {
		return c.NotAfter
	}
	return now
}

func foreign(c *x509.Certificate) error {
	return fmt.Errorf("%w: node %s, issued by cluster %s, which is not trusted here; if the machine should move, join it with a token of this cluster "+
		"and a new state folder", ErrForeign, quoted(c.Subject.CommonName), quoted(clusterOf(c.Issuer)))
}

func revokedError(id shard.NodeID) error {
	return fmt.Errorf("%w: node %s was removed from the cluster; to use the machine again, join it with a new state folder and a new token", ErrRevoked, id)
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// quoted is what a stranger calls itself, safe to print.
func quoted(name string) string { return fmt.Sprintf("%.64q", name) }
