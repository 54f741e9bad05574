package linkbench

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"time"

	"polynode/internal/relay"
	"polynode/transport"
)

// setup is what the peer is told first.
type setup struct {
	Key          []byte // PKCS #8
	Certificates [2][]byte
	NoPoll       bool
}

// doors are where a process listens. QUIC and UDP have one for each path.
type doors struct {
	QUIC netip.AddrPort
	TCP  netip.AddrPort
	UDP  map[string]netip.AddrPort
}

// order is what the peer is told then: to take the connections of a path, or to play a token.
type order struct {
	Accept string
	Token  *token
}

// answer to a setup or an order.
type answer struct {
	Doors doors
	Error string
}

// pair is an identity that trusts exactly one other certificate.
type pair struct {
	own    *tls.Certificate
	other  []byte
	called string // the other's name
}

func (p *pair) Certificate() (*tls.Certificate, error) { return p.own, nil }

func (p *pair) Verify(chain [][]byte) (string, error) {
	if len(chain) == 0 || !bytes.Equal(chain[0], p.other) {
		return "", errors.New("not the other process of this measurement")
	}
	return p.called, nil
}

// newKey makes a key and a certificate for one run.
func newKey(name string) (key ed25519.PrivateKey, der []byte, err error) {
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err = x509.CreateCertificate(rand.Reader, template, template, public, key)
	return key, der, err
}

// listen opens a network that knows one other node.
func listen(ctx context.Context, name, other string, key any, own, others []byte, at netip.AddrPort, noPoll bool) (*transport.QUIC, error) {
	return transport.Listen(ctx, transport.QUICConfig{
		Node: name, Listen: "127.0.0.1:0", NoPolling: noPoll,
		Identity: &pair{own: &tls.Certificate{Certificate: [][]byte{own}, PrivateKey: key}, other: others, called: other},
		Resolve:  func(string) (netip.AddrPort, bool) { return at, at.IsValid() },
		ResetKey: make([]byte, transport.ResetKeyBytes),
	})
}

// bench is a run, on the side that measures.
type bench struct {
	options  Options
	peer     *process
	relay    *process
	carriers map[[2]string]carrier // by path and carrier
	closers  []io.Closer
}

func newBench(ctx context.Context, o Options) (*bench, error) {
	b := &bench{options: o, carriers: map[[2]string]carrier{}}
	key, own, err := newKey("measuring")
	if err != nil {
		return b, err
	}
	peerKey, peers, err := newKey("peer")
	if err != nil {
		return b, err
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(peerKey)
	if err != nil {
		return b, err
	}
	if b.peer, err = start(ctx, o, "peer"); err != nil {
		return b, err
	}
	direct, err := b.peer.ask(setup{Key: encoded, Certificates: [2][]byte{peers, own}, NoPoll: o.NoPoll})
	if err != nil {
		return b, err
	}
	if b.relay, err = start(ctx, o, "relay"); err != nil {
		return b, err
	}
	relayed, err := b.relay.ask(relaySetup{Doors: direct, Link: o.Link})
	if err != nil {
		return b, err
	}
	for i, at := range []doors{direct, relayed} {
		network, err := listen(ctx, "measuring", "peer", key, own, peers, at.QUIC, o.NoPoll)
		if err != nil {
			return b, err
		}
		b.closers = append(b.closers, network)
		if err := b.connect(ctx, Paths[i], at, network); err != nil {
			return b, err
		}
	}
	return b, nil
}

// connect opens one connection of each kind over a path.
func (b *bench) connect(ctx context.Context, path string, at doors, network *transport.QUIC) error {
	tcp, err := new(net.Dialer).DialContext(ctx, "tcp4", at.TCP.String())
	if err != nil {
		return err
	}
	b.closers = append(b.closers, tcp)
	udp, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(at.UDP[path]))
	if err != nil {
		return err
	}
	b.closers = append(b.closers, udp)
	conn, err := network.Dial(ctx, "peer", transport.ClassActivation)
	if err != nil {
		return err
	}
	b.carriers[[2]string{path, "tcp"}] = &tcpCarrier{conn: tcp}
	b.carriers[[2]string{path, "udp"}] = &udpCarrier{conn: udp, dialled: true}
	b.carriers[[2]string{path, "quic"}] = &quicCarrier{network: network, conn: conn}
	b.carriers[[2]string{path, nothing}] = noCarrier{}
	_, err = b.peer.ask(order{Accept: path})
	return err
}

// token plays one token with the peer.
func (b *bench) token(ctx context.Context, t token) (outcome, error) {
	c := b.carriers[[2]string{t.Path, t.Carrier}]
	if _, err := b.peer.ask(order{Token: &t}); err != nil { // it is ready
		return outcome{}, err
	}
	result, err := play(c, t)
	if _, theirs := b.peer.listen(); err == nil {
		err = theirs
	}
	return result, errors.Join(err, ctx.Err())
}

func (b *bench) close() error {
	var errs []error
	for _, p := range []*process{b.peer, b.relay} {
		if p != nil {
			errs = append(errs, p.end())
		}
	}
	for _, c := range b.closers {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// process is another run of this program.
type process struct {
	command *exec.Cmd
	in      io.WriteCloser
	out     *json.Decoder
}

func start(ctx context.Context, o Options, role string) (*process, error) {
	name, arguments, err := o.Command(role)
	if err != nil {
		return nil, err
	}
	command := exec.CommandContext(ctx, name, arguments...)
	command.Stderr = os.Stderr
	in, err := command.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", role, err)
	}
	return &process{command: command, in: in, out: json.NewDecoder(out)}, nil
}

// ask sends something and waits for the answer.
func (p *process) ask(what any) (doors, error) {
	if err := json.NewEncoder(p.in).Encode(what); err != nil {
		return doors{}, fmt.Errorf("talk to the other process: %w", err)
	}
	return p.listen()
}

func (p *process) listen() (doors, error) {
	var a answer
	if err := p.out.Decode(&a); err != nil {
		return doors{}, fmt.Errorf("talk to the other process: %w", err)
	}
	if a.Error != "" {
		return doors{}, errors.New(a.Error)
	}
	return a.Doors, nil
}

// end lets the process go: it stops at the end of its input.
func (p *process) end() error {
	return errors.Join(p.in.Close(), p.command.Wait())
}

// relaySetup is what the relay is told.
type relaySetup struct {
	Doors doors
	Link  relay.Link
}
