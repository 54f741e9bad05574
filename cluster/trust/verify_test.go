package trust

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"polynode/shard"
)

func isAny(err error, targets ...error) bool {
	return slices.ContainsFunc(targets, func(target error) bool { return errors.Is(err, target) })
}

// Every way in which a certificate can be wrong: a good one is changed in one place and signed by the right root.
func TestBadCertificates(t *testing.T) {
	ca, stranger := newCA(t, "c1"), newCA(t, "c2")
	identity, another := newIdentity(t), newIdentity(t)
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(curve.Public())
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		change func(*x509.Certificate)
		public any // instead of the node's
		ca     *CA // instead of the cluster's
		want   error
		words  string
	}{
		{"as it should be", func(*x509.Certificate) {}, nil, nil, nil, ""},
		{"foreign", func(*x509.Certificate) {}, nil, stranger, ErrForeign, `issued by cluster "c2"`},
		{"name of another node", func(c *x509.Certificate) { c.Subject.CommonName = string(another.ID()) }, nil, nil, ErrName, ""},
		{"address of another node", func(c *x509.Certificate) { c.DNSNames = []string{string(another.ID())} }, nil, nil, ErrName, ""},
		{"two addresses", func(c *x509.Certificate) { c.DNSNames = append(c.DNSNames, string(another.ID())) }, nil, nil, ErrName, ""},
		{"no address", func(c *x509.Certificate) { c.DNSNames = nil }, nil, nil, ErrName, ""},
		{"key of another node", func(*x509.Certificate) {}, another.key.Public(), nil, ErrName, ""},
		{"another kind of key", func(c *x509.Certificate) { *c = *timed(nodeTemplate(idOf(spki), Worker)) }, curve.Public(), nil, ErrCertificate, ""},
		{"an authority", func(c *x509.Certificate) { c.IsCA = true }, nil, nil, ErrCertificate, ""},
		{"not for servers", func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[1:] }, nil, nil, ErrCertificate, ""},
		{"not for clients", func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[:1] }, nil, nil, ErrCertificate, ""},
		{"for anything", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }, nil, nil, ErrCertificate, ""},
		{"no role", func(c *x509.Certificate) { c.Subject.OrganizationalUnit = nil }, nil, nil, ErrCertificate, "no role"},
		{"unknown role", func(c *x509.Certificate) { c.Subject.OrganizationalUnit = []string{"king"} }, nil, nil, ErrCertificate, "no role"},
		{"two roles", func(c *x509.Certificate) { c.Subject.OrganizationalUnit = []string{"worker", "witness"} }, nil, nil, ErrCertificate, "no role"},
		{"critical and unknown", func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}
		}, nil, nil, ErrCertificate, ""},
		{"expired within the tolerance", func(c *x509.Certificate) { c.NotAfter = now.Add(-Skew) }, nil, nil, nil, ""},
		{"expired", func(c *x509.Certificate) { c.NotAfter = now.Add(-Skew - time.Second) }, nil, nil, ErrExpired, "not renewed for 5m1s"},
		{"expired, or clock skew", func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Hour) }, nil, nil, ErrExpired, "clock skew"},
		{"early within the tolerance", func(c *x509.Certificate) { c.NotBefore = now.Add(Skew) }, nil, nil, nil, ""},
		{"early", func(c *x509.Certificate) { c.NotBefore = now.Add(time.Hour) }, nil, nil, ErrNotYetValid, "clock skew of at least 1h0m0s"},
		{"longer than the root", func(c *x509.Certificate) { c.NotAfter = ca.Root.NotAfter.AddDate(1, 0, 0) }, nil, nil, nil, ""},
	} {
		template := timed(nodeTemplate(identity.ID(), Worker))
		test.change(template)
		var public any = identity.key.Public()
		if test.public != nil {
			public = test.public
		}
		signer := ca
		if test.ca != nil {
			signer = test.ca
		}
		raw := sign(t, signer, template, public)
		_, err := newBundle(t, ca).Verify([][]byte{raw, signer.Root.Raw}, nil, now)
		if !errors.Is(err, test.want) || err != nil && !strings.Contains(err.Error(), test.words) {
			t.Errorf("%s: %v, want %v with %q", test.name, err, test.want, test.words)
		}
	}
}

func timed(c *x509.Certificate) *x509.Certificate {
	c.NotBefore, c.NotAfter = now.Add(-time.Hour), now.Add(time.Hour*24)
	return c
}

func TestBadChains(t *testing.T) {
	ca := newCA(t, "c1")
	good := member(t, ca, newIdentity(t), Worker, now)
	leaf := good.Leaf.Raw
	damaged := slices.Clone(leaf)
	damaged[len(damaged)-1] ^= 1
	self, err := x509.CreateCertificate(rand.Reader, good.Leaf, good.Leaf, good.Identity.key.Public(), good.Identity.key)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		chain [][]byte
		want  error
	}{
		"nothing":        {nil, ErrCertificate},
		"too many":       {[][]byte{leaf, leaf, leaf, leaf, leaf}, ErrCertificate},
		"garbage":        {[][]byte{[]byte("garbage")}, ErrCertificate},
		"too long":       {[][]byte{make([]byte, CertificateMax+1)}, ErrCertificate},
		"more behind it": {[][]byte{append(slices.Clone(leaf), 0)}, ErrCertificate},
		"signature":      {[][]byte{damaged}, ErrForeign},
		"signed by self": {[][]byte{self}, ErrForeign},
		"signed by leaf": {[][]byte{signedBy(t, good), leaf}, ErrForeign},
		"the root":       {[][]byte{ca.Root.Raw}, ErrCertificate},
		"root first":     {[][]byte{ca.Root.Raw, leaf}, ErrCertificate},
	} {
		if _, err := good.Bundle.Verify(test.chain, nil, now); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
	if _, err := good.Bundle.Verify([][]byte{leaf, []byte("garbage")}, nil, now); err != nil {
		t.Errorf("what follows the leaf does not matter: %v", err)
	}
	if _, err := good.Bundle.Verify([][]byte{leaf}, nil, now.AddDate(CAYears+1, 0, 0)); !errors.Is(err, ErrExpired) || !strings.Contains(err.Error(), "root") {
		t.Errorf("after the root: %v", err)
	}
}

// signedBy is a certificate that a mere node signed.
func signedBy(t *testing.T, c *Credentials) []byte {
	t.Helper()
	return sign(t, &CA{Root: c.Leaf, key: c.Identity.key}, timed(nodeTemplate(newIdentity(t).ID(), Worker)), newIdentity(t).key.Public())
}

func TestRevoked(t *testing.T) {
	ca := newCA(t, "c1")
	c := member(t, ca, newIdentity(t), Worker, now)
	chain := c.TLS().Certificate
	for _, test := range []struct {
		revoked Revoked
		want    error
	}{
		{func(id shard.NodeID, _ string) bool { return id == c.Identity.ID() }, ErrRevoked},
		{func(_ shard.NodeID, serial string) bool { return serial == c.Serial() }, ErrRevoked},
		{func(id shard.NodeID, serial string) bool { return id == "other" || serial == "1" }, nil},
	} {
		if _, err := c.Bundle.Verify(chain, test.revoked, now); !errors.Is(err, test.want) {
			t.Errorf("%v, want %v", err, test.want)
		}
	}
}

func TestCalledNode(t *testing.T) {
	if err := (Peer{ID: "a"}).Check("b"); !errors.Is(err, ErrName) {
		t.Errorf("another node answered: %v", err)
	}
}

// No bytes of a peer make Verify panic, and nothing that fuzzing invents is a member.
func FuzzVerify(f *testing.F) {
	ca, c, token, _ := fixed(f)
	f.Add(c.Leaf.Raw, ca.Root.Raw)
	f.Add(ca.Root.Raw, c.Leaf.Raw)
	f.Add(c.Leaf.Raw[:200], []byte{})
	f.Fuzz(func(t *testing.T, first, second []byte) {
		chain := [][]byte{first, second}
		peer, err := c.Bundle.Verify(chain, nil, now)
		if err == nil && peer.ID != c.Identity.ID() {
			t.Fatalf("%x became member %+v", first, peer)
		}
		if err != nil && !isAny(err, ErrCertificate, ErrForeign, ErrExpired, ErrNotYetValid, ErrName) {
			t.Fatal(err)
		}
		if peer, err := token.VerifyServer(chain, "", now); err == nil && peer.ID != c.Identity.ID() {
			t.Fatalf("%x became server %+v", first, peer)
		}
	})
}
