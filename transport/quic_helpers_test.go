package transport

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

// authority issues certificates as a cluster's own would.
type authority struct {
	key         ed25519.PrivateKey
	certificate *x509.Certificate
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "cluster"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{key: key, certificate: certificate}
}

// issue makes a certificate for a node that is valid until then.
func (a *authority) issue(t testing.TB, node string, until time.Time) *tls.Certificate {
	t.Helper()
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: node},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: until, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, public, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// member is the identity of a node in tests.
type member struct {
	trusts *authority

	mu          sync.Mutex
	certificate *tls.Certificate
	revoked     map[string]bool
}

func newMember(t testing.TB, trusts, issuer *authority, node string) *member {
	return &member{trusts: trusts, certificate: issuer.issue(t, node, time.Now().Add(time.Hour)), revoked: map[string]bool{}}
}

func (m *member) Certificate() (*tls.Certificate, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.certificate, nil
}

func (m *member) Verify(chain [][]byte) (string, error) {
	if len(chain) == 0 {
		return "", errors.New("no certificate")
	}
	certificate, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return "", err
	}
	roots := x509.NewCertPool()
	roots.AddCert(m.trusts.certificate)
	if _, err := certificate.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
		return "", err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.revoked[certificate.Subject.CommonName] {
		return "", errors.New("certificate revoked")
	}
	return certificate.Subject.CommonName, nil
}

func (m *member) revoke(node string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.revoked[node] = true
}

// book is where nodes of a test find each other.
type book struct {
	mu        sync.Mutex
	addresses map[string]netip.AddrPort
}

func newBook() *book { return &book{addresses: map[string]netip.AddrPort{}} }

func (b *book) resolve(node string) (netip.AddrPort, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	address, ok := b.addresses[node]
	return address, ok
}

func (b *book) put(node string, address netip.AddrPort) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.addresses[node] = address
}

// logBook collects what is logged.
type logBook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logBook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// count is how many lines hold a text.
func (l *logBook) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for line := range strings.Lines(l.text.String()) {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

func (l *logBook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// testCluster is an authority, a book and a log that nodes share.
type testCluster struct {
	*authority
	*book
	log logBook
}

func newTestCluster(t testing.TB) *testCluster {
	return &testCluster{authority: newAuthority(t), book: newBook()}
}

// start starts a node on loopback. Changes are made to its configuration before.
func (c *testCluster) start(t testing.TB, name string, changes ...func(*QUICConfig)) *QUIC {
	t.Helper()
	config := QUICConfig{
		Node: name, Listen: "127.0.0.1:0", Identity: newMember(t, c.authority, c.authority, name), Resolve: c.resolve,
		ResetKey: bytes.Repeat([]byte(fmt.Sprintf("%-8.8s", name)), ResetKeyBytes/8),
		Logger:   slog.New(slog.NewTextHandler(&c.log, nil)),
	}
	for _, change := range changes {
		change(&config)
	}
	q, err := Listen(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { q.Close() })
	c.put(name, q.Address())
	return q
}
