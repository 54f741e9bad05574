package trust

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"polynode/shard"
)

var draft = JoinRequest{Name: "desk 3", Address: "0.0.0.0:7946", Facts: Facts{Version: "v1", Cores: 4, MemoryBytes: 8 << 30, BytesPerSecond: 20e9, OpsPerSecond: 1e12}}

var exporter = bytes.Repeat([]byte{7}, ExporterBytes)

func newRequest(t testing.TB, token Token, identity *Identity) JoinRequest {
	t.Helper()
	r, err := NewJoinRequest(token, identity, exporter, draft)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func newAnswer(t testing.TB, ca *CA, leaf []byte) JoinAnswer {
	t.Helper()
	key, err := NewGossipKey()
	if err != nil {
		t.Fatal(err)
	}
	return JoinAnswer{
		Cluster: "c1", Certificate: leaf, Keys: &Keys{Roots: Ring{ca.Root.Raw}, Gossip: Ring{key}},
		Peers: []Contact{{ID: newIdentity(t).ID(), Address: "[fe80::1%eth0]:7946"}},
	}
}

// The whole handshake over a real TLS connection: the joiner knows only the token, the server only the record.
func TestJoinOverTLS(t *testing.T) {
	ca := newCA(t, "c1")
	server := member(t, ca, newIdentity(t), Worker, now)
	token, record := newToken(t, ca, Witness, 1)
	joiner := newIdentity(t)

	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	deadline := time.Now().Add(10 * time.Second)
	_, _ = near.SetDeadline(deadline), far.SetDeadline(deadline)
	served := make(chan error, 1)
	go func() { served <- serveJoin(far, ca, server, record) }()

	conn := tls.Client(near, &tls.Config{
		MinVersion: tls.VersionTLS13, InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			var chain [][]byte
			for _, c := range state.PeerCertificates {
				chain = append(chain, c.Raw)
			}
			peer, err := token.VerifyServer(chain, joiner.ID(), now)
			if err == nil && peer.ID != server.Identity.ID() {
				err = fmt.Errorf("server %s", peer.ID)
			}
			return err
		},
	})
	if err := conn.Handshake(); err != nil {
		t.Fatal(err)
	}
	state := conn.ConnectionState()
	material, err := state.ExportKeyingMaterial(ExporterLabel, nil, ExporterBytes)
	if err != nil {
		t.Fatal(err)
	}
	request, err := NewJoinRequest(token, joiner, material, draft)
	if err != nil {
		t.Fatal(err)
	}
	data, err := request.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(data); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, JoinAnswerMax)
	n, err := conn.Read(buffer)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := DecodeJoinAnswer(buffer[:n])
	if err != nil {
		t.Fatal(err)
	}
	credentials, err := answer.Credentials(token, joiner, now)
	if err != nil {
		t.Fatal(err)
	}
	if peer, err := server.Bundle.Verify(credentials.TLS().Certificate, nil, now); err != nil || peer.ID != joiner.ID() || peer.Role != Witness {
		t.Errorf("the new member is %+v, %v", peer, err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func serveJoin(far net.Conn, ca *CA, server *Credentials, record TokenRecord) error {
	conn := tls.Server(far, &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{server.TLS()}, ClientAuth: tls.RequestClientCert})
	if err := conn.Handshake(); err != nil {
		return err
	}
	state := conn.ConnectionState()
	material, err := state.ExportKeyingMaterial(ExporterLabel, nil, ExporterBytes)
	if err != nil {
		return err
	}
	buffer := make([]byte, JoinRequestMax)
	n, err := conn.Read(buffer)
	if err != nil {
		return err
	}
	request, err := DecodeJoinRequest(buffer[:n])
	if err != nil {
		return err
	}
	leaf, err := Admit(ca, record, &request, material, false, now)
	if err != nil {
		return err
	}
	key, err := NewGossipKey()
	if err != nil {
		return err
	}
	answer := JoinAnswer{Cluster: "c1", Certificate: leaf.Raw, Keys: &Keys{Roots: Ring{ca.Root.Raw}, Gossip: Ring{key}}}
	data, err := answer.Encode()
	if err != nil {
		return err
	}
	_, err = conn.Write(data)
	return err
}

func TestAdmit(t *testing.T) {
	ca := newCA(t, "c1")
	token, record := newToken(t, ca, Worker, 1)
	forged := token
	forged.secret[0] ^= 1
	identity := newIdentity(t)
	for _, test := range []struct {
		name   string
		token  Token
		change func(*JoinRequest, *TokenRecord)
		joined bool
		at     time.Duration
		want   error
	}{
		{"as it should be", token, func(*JoinRequest, *TokenRecord) {}, false, 0, nil},
		{"with the role of the token", token, func(r *JoinRequest, _ *TokenRecord) { r.Role = Worker }, false, 0, nil},
		{"another role", token, func(r *JoinRequest, _ *TokenRecord) { r.Role = Witness }, false, 0, ErrRole},
		{"no such role", token, func(r *JoinRequest, _ *TokenRecord) { r.Role = "king" }, false, 0, ErrRequest},
		{"another secret", forged, func(*JoinRequest, *TokenRecord) {}, false, 0, ErrTokenSecret},
		{"no proof", token, func(r *JoinRequest, _ *TokenRecord) { r.Proof = nil }, false, 0, ErrTokenSecret},
		{"another token", token, func(r *JoinRequest, _ *TokenRecord) { r.Token = "aaaaaaaa" }, false, 0, ErrTokenUnknown},
		{"another key", token, func(r *JoinRequest, _ *TokenRecord) { r.CSR = newRequest(t, token, newIdentity(t)).CSR }, false, 0, ErrTokenSecret},
		{"expired", token, func(*JoinRequest, *TokenRecord) {}, false, TokenTTL + time.Second, ErrTokenExpired},
		{"used up", token, func(_ *JoinRequest, r *TokenRecord) { r.Used = 1 }, false, 0, ErrTokenUsed},
		{"used up by itself", token, func(_ *JoinRequest, r *TokenRecord) { r.Used = 1 }, true, 0, nil},
		{"revoked", token, func(_ *JoinRequest, r *TokenRecord) { r.Revoked = true }, true, 0, ErrTokenRevoked},
		{"damaged record", token, func(_ *JoinRequest, r *TokenRecord) { r.Key = "" }, true, 0, ErrToken},
		{"revoked, and the secret is wrong", forged, func(_ *JoinRequest, r *TokenRecord) { r.Revoked = true }, false, 0, ErrTokenSecret},
	} {
		request, kept := newRequest(t, test.token, identity), record
		test.change(&request, &kept)
		leaf, err := Admit(ca, kept, &request, exporter, test.joined, now.Add(test.at))
		if !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
		if err != nil && isAny(err, ErrTokenExpired, ErrTokenRevoked, ErrTokenUsed, ErrTokenSecret) && !strings.Contains(err.Error(), "polynode token create") {
			t.Errorf("%s: no next step in %q", test.name, err)
		}
		if err == nil && leaf.Subject.CommonName != string(identity.ID()) {
			t.Errorf("%s: certificate for %s", test.name, leaf.Subject)
		}
	}
	// A proof is worth nothing on another connection: whoever relays it has another one.
	request := newRequest(t, token, identity)
	if _, err := Admit(ca, record, &request, bytes.Repeat([]byte{8}, ExporterBytes), false, now); !errors.Is(err, ErrTokenSecret) {
		t.Errorf("relayed proof: %v", err)
	}
	if _, err := Admit(ca, record, &request, nil, false, now); !errors.Is(err, ErrRequest) {
		t.Errorf("no keying material: %v", err)
	}
	if err := UnknownToken("x"); !errors.Is(err, ErrTokenUnknown) {
		t.Error(err)
	}
}

func TestIssueRefuses(t *testing.T) {
	ca := newCA(t, "c1")
	identity := newIdentity(t)
	good, err := identity.Request()
	if err != nil {
		t.Fatal(err)
	}
	named, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: string(newIdentity(t).ID())}}, identity.key)
	if err != nil {
		t.Fatal(err)
	}
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, curve)
	if err != nil {
		t.Fatal(err)
	}
	damaged := slices.Clone(good)
	damaged[len(damaged)-1] ^= 1
	for name, csr := range map[string][]byte{
		"nothing": nil, "garbage": []byte("garbage"), "too long": make([]byte, CertificateMax+1), "another name": named,
		"another kind of key": other, "without the private key": damaged, "a certificate": ca.Root.Raw,
	} {
		if _, err := Issue(ca, csr, Worker, now); !errors.Is(err, ErrRequest) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Issue(ca, good, "king", now); !errors.Is(err, ErrRole) {
		t.Errorf("no role: %v", err)
	}
	late := ca.Root.NotAfter.Add(-time.Hour)
	if leaf, err := Issue(ca, good, Worker, late); err != nil || !leaf.NotAfter.Equal(ca.Root.NotAfter) {
		t.Errorf("at the end of the root: %v", err)
	}
	if _, err := Issue(ca, good, Worker, ca.Root.NotAfter); !errors.Is(err, ErrExpired) {
		t.Errorf("after the end of the root: %v", err)
	}
}

func TestVerifyServer(t *testing.T) {
	ca, stranger := newCA(t, "c1"), newCA(t, "c1")
	token, _ := newToken(t, ca, Worker, 0)
	good, foreign := member(t, ca, newIdentity(t), Worker, now), member(t, stranger, newIdentity(t), Worker, now)
	for name, test := range map[string]struct {
		chain [][]byte
		self  shard.NodeID
		at    time.Duration
		want  error
	}{
		"as it should be":   {good.TLS().Certificate, "", 0, nil},
		"itself":            {good.TLS().Certificate, good.Identity.ID(), 0, ErrSelf},
		"another cluster":   {foreign.TLS().Certificate, "", 0, ErrForeign},
		"the right root":    {[][]byte{foreign.Leaf.Raw, ca.Root.Raw}, "", 0, ErrForeign},
		"both roots":        {[][]byte{foreign.Leaf.Raw, stranger.Root.Raw, ca.Root.Raw}, "", 0, ErrForeign},
		"behind a root":     {[][]byte{good.Leaf.Raw, stranger.Root.Raw, ca.Root.Raw}, "", 0, nil},
		"no root":           {[][]byte{good.Leaf.Raw}, "", 0, ErrCertificate},
		"clock far ahead":   {good.TLS().Certificate, "", 31 * 24 * time.Hour, ErrExpired},
		"clock far behind":  {good.TLS().Certificate, "", -10 * time.Minute, ErrNotYetValid},
		"clock a bit wrong": {good.TLS().Certificate, "", -Skew, nil},
	} {
		if _, err := token.VerifyServer(test.chain, test.self, now.Add(test.at)); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
}

func TestRequestRefused(t *testing.T) {
	token, _ := newToken(t, newCA(t, "c1"), Worker, 0)
	identity := newIdentity(t)
	good := newRequest(t, token, identity)
	if good.Node() != identity.ID() || (&JoinRequest{}).Node() != "" {
		t.Errorf("request of node %q", good.Node())
	}
	for name, test := range map[string]struct {
		change func(*JoinRequest)
		want   error
	}{
		"protocol":           {func(r *JoinRequest) { r.Protocol = 2 }, ErrVersion},
		"token":              {func(r *JoinRequest) { r.Token = "x" }, ErrRequest},
		"no name":            {func(r *JoinRequest) { r.Name = "" }, ErrRequest},
		"a long name":        {func(r *JoinRequest) { r.Name = strings.Repeat("x", NameMax+1) }, ErrRequest},
		"name with escapes":  {func(r *JoinRequest) { r.Name = "\x1b[31mred" }, ErrRequest},
		"name in two lines":  {func(r *JoinRequest) { r.Name = "a\nb" }, ErrRequest},
		"role":               {func(r *JoinRequest) { r.Role = "king" }, ErrRequest},
		"address":            {func(r *JoinRequest) { r.Address = "example:80" }, ErrRequest},
		"no port":            {func(r *JoinRequest) { r.Address = "10.0.0.1:0" }, ErrRequest},
		"a long address":     {func(r *JoinRequest) { r.Address = "[fe80::1%" + strings.Repeat("x", AddressMax) + "]:1" }, ErrRequest},
		"address, escapes":   {func(r *JoinRequest) { r.Address = "[fe80::1%\x1b]:1" }, ErrRequest},
		"no program version": {func(r *JoinRequest) { r.Facts.Version = "" }, ErrRequest},
		"no cores":           {func(r *JoinRequest) { r.Facts.Cores = 0 }, ErrRequest},
		"too many cores":     {func(r *JoinRequest) { r.Facts.Cores = CoresMax + 1 }, ErrRequest},
		"memory below zero":  {func(r *JoinRequest) { r.Facts.MemoryBytes = -1 }, ErrRequest},
		"too much memory":    {func(r *JoinRequest) { r.Facts.MemoryBytes = MemoryMax + 1 }, ErrRequest},
		"too fast":           {func(r *JoinRequest) { r.Facts.BytesPerSecond = math.MaxInt64 }, ErrRequest},
		"too many at once":   {func(r *JoinRequest) { r.Facts.OpsPerSecond = OpsPerSecondMax + 1 }, ErrRequest},
	} {
		r := good
		test.change(&r)
		data, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := DecodeJoinRequest(data); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	bad := draft
	bad.Name = ""
	if _, err := NewJoinRequest(token, identity, exporter, bad); !errors.Is(err, ErrRequest) {
		t.Errorf("draft without a name: %v", err)
	}
	if _, err := NewJoinRequest(token, identity, nil, draft); !errors.Is(err, ErrRequest) {
		t.Errorf("no keying material: %v", err)
	}
	good.CSR = make([]byte, JoinRequestMax)
	if _, err := good.Encode(); !errors.Is(err, ErrRequest) {
		t.Errorf("a large request: %v", err)
	}
	if _, err := DecodeJoinRequest(make([]byte, JoinRequestMax+1)); !errors.Is(err, ErrRequest) {
		t.Errorf("a large request: %v", err)
	}
}

func TestAnswerRefused(t *testing.T) {
	ca := newCA(t, "c1")
	token, _ := newToken(t, ca, Worker, 0)
	identity := newIdentity(t)
	leaf, other := member(t, ca, identity, Worker, now).Leaf.Raw, newCA(t, "c1")
	peers := slices.Repeat([]Contact{{ID: identity.ID(), Address: "10.0.0.1:1"}}, PeersMax)
	full := newAnswer(t, ca, leaf)
	full.Peers = peers
	data, err := full.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := DecodeJoinAnswer(data); err != nil {
		t.Errorf("as many peers as may be: %v", err)
	}
	for name, change := range map[string]func(*JoinAnswer){
		"no cluster":     func(a *JoinAnswer) { a.Cluster = "" },
		"no keys":        func(a *JoinAnswer) { a.Keys = nil },
		"no gossip key":  func(a *JoinAnswer) { a.Keys.Gossip = nil },
		"no root":        func(a *JoinAnswer) { a.Keys.Roots = nil },
		"too many peers": func(a *JoinAnswer) { a.Peers = append(slices.Clone(peers), peers[0]) },
		"peer's id":      func(a *JoinAnswer) { a.Peers[0].ID = "a" },
		"peer's address": func(a *JoinAnswer) { a.Peers[0].Address = "here" },
		"no words":       func(a *JoinAnswer) { a.Refusal = &Refusal{Code: "full"} },
		"escapes":        func(a *JoinAnswer) { a.Refusal = &Refusal{Code: "full", Message: "\x1b[2J"} },
		"many words":     func(a *JoinAnswer) { a.Refusal = &Refusal{Message: strings.Repeat("x", MessageMax+1)} },
		"elsewhere":      func(a *JoinAnswer) { a.Refusal = &Refusal{Message: "x", Address: "x"} },
	} {
		a := newAnswer(t, ca, leaf)
		change(&a)
		data, err := a.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := DecodeJoinAnswer(data); !isAny(err, ErrAnswer, ErrKeys) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, test := range map[string]struct {
		answer JoinAnswer
		want   error
	}{
		"another key":  {newAnswer(t, ca, member(t, ca, newIdentity(t), Worker, now).Leaf.Raw), ErrAnswer},
		"another root": {newAnswer(t, newCA(t, "c1"), leaf), ErrAnswer},
		"all else":     {newAnswer(t, other, member(t, other, identity, Worker, now).Leaf.Raw), ErrAnswer},
		"garbage":      {newAnswer(t, ca, []byte("garbage")), ErrAnswer},
		"signed else":  {newAnswer(t, ca, member(t, newCA(t, "c1"), identity, Worker, now).Leaf.Raw), ErrAnswer},
		"expired":      {newAnswer(t, ca, member(t, ca, identity, Worker, now.AddDate(0, -2, 0)).Leaf.Raw), ErrExpired},
	} {
		if _, err := test.answer.Credentials(token, identity, now); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := DecodeJoinAnswer(make([]byte, JoinAnswerMax+1)); !errors.Is(err, ErrAnswer) {
		t.Errorf("a large answer: %v", err)
	}
	large := newAnswer(t, ca, make([]byte, JoinAnswerMax))
	if _, err := large.Encode(); !errors.Is(err, ErrAnswer) {
		t.Errorf("a large answer: %v", err)
	}
}

// A refusal is the same error at both ends; what is no business of a stranger stays at home.
func TestRefusals(t *testing.T) {
	send := func(a JoinAnswer) error {
		data, err := a.Encode()
		if err != nil {
			t.Fatal(err)
		}
		_, err = DecodeJoinAnswer(data)
		return err
	}
	for _, c := range codes {
		err := send(Refuse(fmt.Errorf("admit: %w: because", c.err)))
		if !errors.Is(err, c.err) || !strings.Contains(err.Error(), "because") {
			t.Errorf("%s: %v", c.code, err)
		}
	}
	if err := send(Refuse(errors.New("disk secret is full"))); !errors.Is(err, ErrUnavailable) || strings.Contains(err.Error(), "secret") {
		t.Errorf("inner error: %v", err)
	}
	for _, words := range []string{strings.Repeat("ä", MessageMax), "a\x1bb"} {
		if err := send(Refuse(fmt.Errorf("%w: %s", ErrFull, words))); !errors.Is(err, ErrFull) {
			t.Errorf("odd words: %v", err)
		}
	}
	err := send(Redirect("10.0.0.2:7946"))
	var refusal *Refusal
	if !errors.Is(err, ErrElsewhere) || !errors.As(err, &refusal) || refusal.Address != "10.0.0.2:7946" {
		t.Errorf("redirect: %v", err)
	}
}

// What decodes encodes to what decodes to the same; nothing else gets further than the sentinels.
func FuzzJoinRequest(f *testing.F) {
	ca, c, token, record := fixed(f)
	good := newRequest(f, token, c.Identity)
	data, err := good.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"protocol":2,"more":{}}`))
	f.Add([]byte(`{"protocol":1,"token":"aaaaaaaa","name":"x","address":"[::]:1","facts":{"version":"v","cores":1e3}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := DecodeJoinRequest(data)
		if err != nil {
			if !isAny(err, ErrRequest, ErrVersion) {
				t.Fatal(err)
			}
			return
		}
		again, err := r.Encode()
		if err != nil {
			return // longer than what came, by escapes
		}
		back, err := DecodeJoinRequest(again)
		if err != nil {
			t.Fatalf("%s: %v", again, err)
		}
		if twice, err := back.Encode(); err != nil || !bytes.Equal(again, twice) {
			t.Fatalf("%s came back as %s, %v", again, twice, err)
		}
		if _, err := Admit(ca, record, &r, exporter, false, now); err == nil && r.Node() != good.Node() {
			t.Fatalf("%s was admitted", data)
		}
	})
}

func FuzzJoinAnswer(f *testing.F) {
	ca, c, token, _ := fixed(f)
	good, refused := newAnswer(f, ca, c.Leaf.Raw), Refuse(ErrFull)
	good.Keys.Gossip = Ring{make([]byte, GossipKeyBytes)}
	good.Peers[0].ID = c.Identity.ID()
	for _, a := range []JoinAnswer{good, refused} {
		data, err := a.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(`{"refusal":{"code":"no such code","message":"x"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := DecodeJoinAnswer(data)
		if err != nil {
			var refusal *Refusal
			if !errors.As(err, &refusal) && !isAny(err, ErrAnswer, ErrKeys, ErrCertificate) {
				t.Fatal(err)
			}
			return
		}
		if _, err := a.Encode(); err != nil && !errors.Is(err, ErrAnswer) {
			t.Fatal(err)
		}
		if got, err := a.Credentials(token, c.Identity, now); err == nil && !bytes.Equal(got.Leaf.Raw, good.Certificate) {
			t.Fatalf("%s gave a certificate", data)
		}
	})
}
