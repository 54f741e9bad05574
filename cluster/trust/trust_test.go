package trust

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"math/big"
	"strings"
	"testing"
	"time"

	"polynode/shard"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func newCA(t testing.TB, cluster string) *CA {
	t.Helper()
	ca, err := NewCA(cluster, now.Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func newIdentity(t testing.TB) *Identity {
	t.Helper()
	identity, err := NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	return identity
}

func newBundle(t testing.TB, cas ...*CA) *Bundle {
	t.Helper()
	var roots []*x509.Certificate
	for _, ca := range cas {
		roots = append(roots, ca.Root)
	}
	bundle, err := NewBundle(roots...)
	if err != nil {
		t.Fatal(err)
	}
	return bundle
}

// member is a node with a certificate of the CA, issued at a time.
func member(t testing.TB, ca *CA, identity *Identity, role Role, at time.Time) *Credentials {
	t.Helper()
	csr, err := identity.Request()
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := Issue(ca, csr, role, at)
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewCredentials(identity, leaf.Raw, newBundle(t, ca))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestIdentity(t *testing.T) {
	a, b := newIdentity(t), newIdentity(t)
	if a.ID() == b.ID() || len(a.ID()) != 26 || !ValidID(a.ID()) {
		t.Errorf("ids %q and %q", a.ID(), b.ID())
	}
	for _, id := range []shard.NodeID{"", "a", a.ID() + "a", shard.NodeID(strings.ToUpper(string(a.ID()))), a.ID()[:25] + "!"} {
		if ValidID(id) {
			t.Errorf("id %q is taken", id)
		}
	}
	one, err := a.Derive("one", 32)
	if err != nil || len(one) != 32 {
		t.Fatal(len(one), err)
	}
	again, _ := a.Derive("one", 32)
	other, _ := a.Derive("other", 32)
	if !bytes.Equal(one, again) || bytes.Equal(one, other) {
		t.Error("derived keys do not follow from node and purpose")
	}
}

func TestMemberIsVerified(t *testing.T) {
	ca := newCA(t, "c1")
	c := member(t, ca, newIdentity(t), Witness, now)
	peer, err := c.Bundle.Verify(c.TLS().Certificate, nil, now)
	if err != nil {
		t.Fatal(err)
	}
	if peer.ID != c.Identity.ID() || peer.Role != Witness || peer.Serial != c.Serial() || !peer.Until.Equal(now.Add(Validity)) {
		t.Errorf("peer %+v", peer)
	}
	if err := peer.Check(c.Identity.ID()); err != nil {
		t.Error(err)
	}
	if !c.RenewAt().Equal(now.Add(20 * 24 * time.Hour)) {
		t.Errorf("renewal at %v", c.RenewAt())
	}
	if years := ca.Root.NotAfter.Year() - ca.Root.NotBefore.Year(); years != CAYears {
		t.Errorf("a root for %d years", years)
	}
}

func TestRenew(t *testing.T) {
	ca := newCA(t, "c1")
	c := member(t, ca, newIdentity(t), Witness, now)
	peer, err := c.Bundle.Verify(c.TLS().Certificate, nil, now)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := c.Identity.Request()
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := Renew(ca, csr, peer, c.RenewAt())
	if err != nil {
		t.Fatal(err)
	}
	next, err := newBundle(t, ca).Verify([][]byte{leaf.Raw}, nil, c.RenewAt())
	if err != nil || next.Serial == peer.Serial || next.Role != Witness || !next.Until.After(peer.Until) {
		t.Errorf("renewed %+v, %v", next, err)
	}
	foreign, err := newIdentity(t).Request()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Renew(ca, foreign, peer, now); err == nil || !strings.Contains(err.Error(), "asks for the key of node") {
		t.Errorf("the key of another node: %v", err)
	}
}

// A root is changed in three steps; nodes that are one step apart trust each other's certificates.
func TestRotateRoot(t *testing.T) {
	before, after := newCA(t, "c1"), newCA(t, "c1")
	steps := []*Bundle{newBundle(t, before), newBundle(t, before, after), newBundle(t, after, before), newBundle(t, after)}
	issuer := []*CA{before, before, after, after}
	identity := newIdentity(t)
	for i := range steps {
		if i > 0 {
			if err := Ring(steps[i].Raw()).Follows(steps[i-1].Raw()); err != nil {
				t.Errorf("step %d: %v", i, err)
			}
		}
		leaf := member(t, issuer[i], identity, Worker, now).Leaf.Raw
		for j := max(i-1, 0); j <= min(i+1, len(steps)-1); j++ {
			if _, err := steps[j].Verify([][]byte{leaf}, nil, now); err != nil {
				t.Errorf("certificate of step %d at step %d: %v", i, j, err)
			}
		}
	}
	if err := Ring(steps[3].Raw()).Follows(steps[0].Raw()); err == nil {
		t.Error("a root was replaced at once")
	}
}

func TestPEM(t *testing.T) {
	ca, other := newCA(t, "c1"), newCA(t, "c2")
	data, err := ca.PEM()
	if err != nil {
		t.Fatal(err)
	}
	back, err := ParseCA(data)
	if err != nil || !back.key.Equal(ca.key) || back.Fingerprint() != ca.Fingerprint() || back.Cluster() != "c1" {
		t.Errorf("CA came back as %+v, %v", back, err)
	}
	bundle := newBundle(t, ca, other)
	again, err := ParseBundle(bundle.PEM())
	if err != nil || !Ring(again.Raw()).Has(other.Root.Raw) || again.Fingerprints()[0] != ca.Fingerprint() || !again.Contains(other.Fingerprint()) {
		t.Errorf("bundle came back as %+v, %v", again, err)
	}

	otherKey, err := keyPEM(other.key)
	if err != nil {
		t.Fatal(err)
	}
	leaf := member(t, ca, newIdentity(t), Worker, now).Leaf
	for name, data := range map[string][]byte{
		"nothing":       nil,
		"no key":        certificatePEM(ca.Root.Raw),
		"another key":   append(certificatePEM(ca.Root.Raw), otherKey...),
		"no root":       append(certificatePEM(leaf.Raw), otherKey...),
		"key first":     append(bytes.Clone(otherKey), certificatePEM(other.Root.Raw)...),
		"more behind":   append(bytes.Clone(data), 'x'),
		"half a key":    data[:len(data)-40],
		"another block": bytes.ReplaceAll(data, []byte("PRIVATE KEY"), []byte("SECRET")),
		"too long":      append(bytes.Clone(data), make([]byte, PEMMax)...),
	} {
		if _, err := ParseCA(data); !isAny(err, ErrCertificate) {
			t.Errorf("CA with %s: %v", name, err)
		}
	}
	delegate := timed(nodeTemplate("x", Worker)) // an authority that another one made
	delegate.IsCA, delegate.KeyUsage = true, x509.KeyUsageCertSign
	for name, data := range map[string][]byte{
		"nothing":     nil,
		"a leaf":      certificatePEM(leaf.Raw),
		"three roots": certificatePEM(ca.Root.Raw, other.Root.Raw, newCA(t, "c3").Root.Raw),
		"one twice":   certificatePEM(ca.Root.Raw, ca.Root.Raw),
		"a key":       otherKey,
		"a delegate":  certificatePEM(sign(t, ca, delegate, other.Root.PublicKey)),
		"no ca":       certificatePEM(selfSigned(t, newIdentity(t))),
		"too many":    bytes.Repeat(certificatePEM(ca.Root.Raw), ChainMax+1),
		"too long":    make([]byte, PEMMax+1),
	} {
		if _, err := ParseBundle(data); !isAny(err, ErrCertificate) {
			t.Errorf("bundle with %s: %v", name, err)
		}
	}
}

func TestRing(t *testing.T) {
	a, b, c := []byte("a"), []byte("b"), []byte("c")
	old := Ring{a}
	installed := old.Install(b)
	used := installed.Use(b)
	removed := used.Remove(a)
	for i, step := range [][2]Ring{{nil, old}, {old, old}, {old, installed}, {installed, used}, {used, removed}, {old, {a, b, c}}} {
		if err := step[1].Follows(step[0]); err != nil {
			t.Errorf("step %d, %s to %s: %v", i, step[0], step[1], err)
		}
	}
	for i, step := range [][2]Ring{{old, {b}}, {old, {b, a}}, {installed, {b}}, {old, nil}, {nil, {a, a}}, {installed, {c, a, b}}} {
		if err := step[1].Follows(step[0]); !isAny(err, ErrKeys) {
			t.Errorf("wrong step %d, %s to %s: %v", i, step[0], step[1], err)
		}
	}
	clone := Ring{bytes.Clone(a)}.Clone()
	clone[0][0] = 'z'
	if a[0] != 'a' || !old.Has(a) || removed.Has(a) || Ring(nil).Clone() != nil {
		t.Error("rings share memory")
	}
}

func TestKeys(t *testing.T) {
	ca := newCA(t, "c1")
	gossip := func() []byte {
		key, err := NewGossipKey()
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	good := Keys{Roots: Ring{ca.Root.Raw}, Gossip: Ring{gossip()}}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	full := Keys{Roots: Ring{ca.Root.Raw}, Gossip: Ring{gossip(), gossip(), gossip()}}
	if err := full.Check(); err != nil {
		t.Error(err)
	}
	for name, keys := range map[string]Keys{
		"no root":              {Gossip: good.Gossip},
		"a damaged root":       {Roots: Ring{ca.Root.Raw[1:]}, Gossip: good.Gossip},
		"no gossip key":        {Roots: good.Roots},
		"a short gossip key":   {Roots: good.Roots, Gossip: Ring{make([]byte, 16)}},
		"too many gossip keys": {Roots: good.Roots, Gossip: full.Gossip.Install(gossip())},
	} {
		if err := keys.Check(); !isAny(err, ErrKeys, ErrCertificate) {
			t.Errorf("keys with %s: %v", name, err)
		}
	}
	if err := (Keys{Roots: Ring{newCA(t, "c1").Root.Raw}, Gossip: good.Gossip}).Follows(good); !isAny(err, ErrKeys) {
		t.Errorf("root replaced at once: %v", err)
	}
	if err := (Keys{Roots: good.Roots, Gossip: Ring{gossip()}}).Follows(good); !isAny(err, ErrKeys) {
		t.Errorf("gossip key replaced at once: %v", err)
	}
	if err := good.Clone().Follows(good); err != nil {
		t.Error(err)
	}
}

func selfSigned(t testing.TB, identity *Identity) []byte {
	t.Helper()
	self := &CA{Root: timed(nodeTemplate(identity.ID(), Worker)), key: identity.key}
	return sign(t, self, self.Root, identity.key.Public())
}

// sign makes a certificate of any form, signed by the CA.
func sign(t testing.TB, ca *CA, template *x509.Certificate, public any) []byte {
	t.Helper()
	serial, err := newSerial()
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = serial
	raw, err := x509.CreateCertificate(rand.Reader, template, ca.Root, public, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// fixed is a cluster of one node that is the same in every process, as fuzzing needs it.
func fixed(t testing.TB) (*CA, *Credentials, Token, TokenRecord) {
	t.Helper()
	ca, err := makeCA("c1", ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize)), big.NewInt(1), now.Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	identity, err := identityOf(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{2}, ed25519.SeedSize)))
	if err != nil {
		t.Fatal(err)
	}
	template := timed(nodeTemplate(identity.ID(), Worker))
	template.SerialNumber = big.NewInt(2)
	leaf, err := x509.CreateCertificate(rand.Reader, template, ca.Root, identity.key.Public(), ca.key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewCredentials(identity, leaf, newBundle(t, ca))
	if err != nil {
		t.Fatal(err)
	}
	token := Token{Root: ca.Fingerprint(), ID: "aaaaaaaa", secret: [secretBytes]byte{3}}
	key, err := token.key()
	if err != nil {
		t.Fatal(err)
	}
	record := TokenRecord{
		ID: token.ID, Role: Worker, Uses: 1, Made: now.Unix(), Until: now.Add(TokenTTL).Unix(),
		Key: base64.RawStdEncoding.EncodeToString(key.Public().(ed25519.PublicKey)),
	}
	return ca, c, token, record
}
