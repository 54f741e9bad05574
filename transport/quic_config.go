package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/quic-go/quic-go"
)

// ResetKeyBytes is the length of QUICConfig.ResetKey.
const ResetKeyBytes = 32

// Limits of a QUIC network.
const (
	// streamsMax is how many connections one node can have to another in each direction and lane.
	streamsMax = 1024
	// streamWindow is what one connection may have under way. quic-go raises the limit when a quarter of it has been read, so
	// that at least three quarters, which is more than Window, are always free. More than 256 packets of it would be lost in
	// quic-go's own queue.
	streamWindow = 352 << 10
	// laneWindow is what all connections of a lane may have under way together.
	laneWindow = 16 << 20
	// handshakeTimeout is how long a node may take to answer at all.
	handshakeTimeout = 2 * time.Second
	// dialTimeout bounds a dial whose caller has more patience: a handshake, and once more if the peer had just restarted.
	dialTimeout = 5 * time.Second
	// preambleTimeout is how long a peer may take to name the class of a connection that it has opened.
	preambleTimeout = 5 * time.Second
)

// Defaults of QUICConfig.
const (
	IdleTimeoutDefault = 1750 * time.Millisecond
	RecheckDefault     = 10 * time.Second
)

// keepAlives is how many of them fit into the idle time-out: all but one may be lost.
const keepAlives = 4

// Identity is who a node is and whom it trusts. Both may change while the network runs: each handshake asks anew. Methods
// are safe for concurrent use and do not block.
type Identity interface {
	// Certificate is what this node presents.
	Certificate() (*tls.Certificate, error)
	// Verify checks the certificates of a peer, as sent, its own first, and returns the name of its node.
	Verify(chain [][]byte) (node string, err error)
}

// Rechecker is an Identity that judges live sessions by more than their certificates: a root that a cluster gave up ends no session with a node
// that has a new certificate since.
type Rechecker interface {
	// Recheck is Verify for a session that began with these certificates a while ago.
	Recheck(chain [][]byte) (node string, err error)
}

// QUICConfig is what a QUIC network needs. Listen, Identity, Resolve and ResetKey have no default.
type QUICConfig struct {
	Node     string // this node's name, for messages; its certificate says the same
	Listen   string // host:port of the one UDP socket; an empty host is all addresses
	Identity Identity
	// Resolve finds the address of a node. It does not block and is safe for concurrent use.
	Resolve func(node string) (netip.AddrPort, bool)
	// Advertise is what Address returns. Without it that is the socket's address, or one of this machine's if the
	// socket listens on all.
	Advertise func() netip.AddrPort
	// ResetKey is kept on disk, ResetKeyBytes long: with it a node that was killed and started again can tell its peers that
	// their connections are gone, and they come back at once.
	ResetKey []byte
	// Join answers callers without a certificate. Without it they are refused.
	Join JoinHandler
	// IdleTimeout is how long a peer may be silent before its connections fail, or not hear what this node says. Zero is IdleTimeoutDefault.
	IdleTimeout time.Duration
	// RecheckInterval is how often the certificates behind live connections are verified again. Zero is RecheckDefault.
	RecheckInterval time.Duration
	// PacketSize is the length of UDP packets to begin with, in bytes. Zero is 1452 between neighbours on one Ethernet
	// segment and otherwise 1280, from where longer ones are tried.
	PacketSize int
	// NoPolling makes Hurry do nothing, where there are no more cores than computing threads.
	NoPolling bool
	Logger    *slog.Logger // nil logs nothing

	version int // of the protocol; zero is protocolVersion
}

// protocolVersion changes with everything that nodes say to each other. It is part of the ALPN.
const protocolVersion = 1

// What a handshake can be about, by ALPN. Every node of any version knows alpnVersion: callers offer it last, and who
// shares no protocol with them chooses it to say which one it speaks.
const (
	alpnPrefix  = "pn/"
	alpnJoin    = "pn-join/1"
	alpnVersion = "pn-version"
)

// Codes with which sessions and streams end. The numbers are sent.
const (
	codeClosed   = 1 // the node, or the connection, was closed
	codeIdentity = 2 // the certificate is not valid any more
	codeVersion  = 3 // the message is the protocol that this node speaks
	codeClass    = 4 // unknown class of connection
	codeBusy     = 5 // too much at once
	codeProtocol = 6 // the peer broke the protocol
	codeSilent   = 7 // the peer does not answer
)

func (c *QUICConfig) check() error {
	switch {
	case c.Identity == nil || c.Resolve == nil:
		return errors.New("no identity or no address book given")
	case len(c.ResetKey) != ResetKeyBytes:
		return fmt.Errorf("reset key has %d bytes, want %d", len(c.ResetKey), ResetKeyBytes)
	case c.PacketSize != 0 && (c.PacketSize < packetFallback || c.PacketSize > packetEthernet):
		return fmt.Errorf("packet size %d is not between %d and %d", c.PacketSize, packetFallback, packetEthernet)
	}
	if c.IdleTimeout == 0 {
		c.IdleTimeout = IdleTimeoutDefault
	}
	if c.RecheckInterval == 0 {
		c.RecheckInterval = RecheckDefault
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.version == 0 {
		c.version = protocolVersion
	}
	return nil
}

// settings are quic-go's for a session with somebody at an address.
func (c *QUICConfig) settings(peer netip.Addr) *quic.Config {
	s := &quic.Config{
		HandshakeIdleTimeout:           handshakeTimeout,
		MaxIdleTimeout:                 c.IdleTimeout,
		KeepAlivePeriod:                c.IdleTimeout / keepAlives,
		InitialStreamReceiveWindow:     streamWindow,
		MaxStreamReceiveWindow:         streamWindow,
		InitialConnectionReceiveWindow: laneWindow,
		MaxConnectionReceiveWindow:     laneWindow,
		MaxIncomingStreams:             streamsMax + 1, // and the pulse
		MaxIncomingUniStreams:          -1,
	}
	switch {
	case c.PacketSize != 0:
		s.InitialPacketSize, s.DisablePathMTUDiscovery = uint16(c.PacketSize), true
	case onEthernet(peer):
		s.InitialPacketSize, s.DisablePathMTUDiscovery = packetEthernet, true
	}
	return s
}

// memberTLS is for handshakes between nodes. A caller names the node it wants, or none; who is called does not.
func (c *QUICConfig) memberTLS(want string) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		ServerName:             "polynode",
		NextProtos:             []string{c.alpn(), alpnVersion},
		SessionTicketsDisabled: true,
		ClientAuth:             tls.RequireAnyClientCert,
		InsecureSkipVerify:     true, // VerifyPeerCertificate does it: names are those of nodes, not of hosts
		GetCertificate:         func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.Identity.Certificate() },
		GetClientCertificate:   func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c.Identity.Certificate() },
		VerifyConnection: func(state tls.ConnectionState) error {
			if state.NegotiatedProtocol == alpnVersion {
				return nil // no more than a word about versions will be said
			}
			_, err := c.verify(chainOf(&state), want)
			return err
		},
	}
}

// serverTLS chooses what a handshake is about.
func (c *QUICConfig) serverTLS() *tls.Config {
	member := c.memberTLS("")
	member.NextProtos = []string{c.alpn()}
	open := member.Clone()
	open.ClientAuth, open.VerifyConnection = tls.NoClientCert, nil
	join, version := open.Clone(), open.Clone()
	join.NextProtos, version.NextProtos = []string{alpnJoin}, []string{alpnVersion}
	choose := func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		for _, protocol := range hello.SupportedProtos {
			switch {
			case protocol == c.alpn():
				return member, nil
			case protocol == alpnJoin && c.Join != nil:
				return join, nil
			case protocol == alpnVersion:
				return version, nil
			}
		}
		return member, nil // fails: no protocol in common
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, GetConfigForClient: choose, GetCertificate: member.GetCertificate}
}

func (c *QUICConfig) alpn() string { return fmt.Sprint(alpnPrefix, c.version) }

// verify checks a peer's certificates and, if one is wanted, its name.
func (c *QUICConfig) verify(chain [][]byte, want string) (node string, err error) {
	node, err = c.Identity.Verify(chain)
	switch {
	case err != nil:
		return "", fmt.Errorf("%w: %w", ErrIdentity, err)
	case want != "" && node != want:
		return "", fmt.Errorf("%w: %s answers there", ErrIdentity, node)
	}
	return node, nil
}

// recheck is verify for a session that is there already.
func (c *QUICConfig) recheck(chain [][]byte, want string) error {
	r, ok := c.Identity.(Rechecker)
	if !ok {
		_, err := c.verify(chain, want)
		return err
	}
	node, err := r.Recheck(chain)
	if err == nil && node != want {
		err = fmt.Errorf("%s answers there", node)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrIdentity, err)
	}
	return nil
}

func chainOf(state *tls.ConnectionState) [][]byte {
	chain := make([][]byte, len(state.PeerCertificates))
	for i, certificate := range state.PeerCertificates {
		chain[i] = certificate.Raw
	}
	return chain
}

// JoinHandler answers one caller that has no certificate yet. It returns before ctx ends, and then the call is over. An error
// is logged and the caller sees that the call broke off.
type JoinHandler func(ctx context.Context, call *JoinCall) error
