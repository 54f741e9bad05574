package linkbench

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"

	"polynode/internal/relay"
	"polynode/transport"
)

// Peer is the other process: it answers on out what it is told on in, until in ends.
func Peer(ctx context.Context, in io.Reader, out io.Writer) (err error) {
	shareOfCores()
	orders, answers := json.NewDecoder(in), json.NewEncoder(out)
	var s setup
	if err := orders.Decode(&s); err != nil {
		return fmt.Errorf("read setup: %w", err)
	}
	p, err := newPeer(ctx, s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	if err := answers.Encode(answer{Doors: p.doors}); err != nil {
		return err
	}
	for {
		var o order
		if err := orders.Decode(&o); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return fmt.Errorf("read order: %w", err)
		}
		var failed error
		if o.Token == nil {
			failed = p.accept(ctx, o.Accept)
		} else {
			if err := answers.Encode(answer{}); err != nil { // ready
				return err
			}
			_, failed = play(p.carriers[[2]string{o.Token.Path, o.Token.Carrier}], *o.Token)
		}
		var a answer
		if failed != nil {
			a.Error = failed.Error()
		}
		if err := answers.Encode(a); err != nil {
			return err
		}
	}
}

// peer is the process that is called.
type peer struct {
	doors    doors
	network  *transport.QUIC
	tcp      net.Listener
	udp      map[string]*net.UDPConn
	carriers map[[2]string]carrier
	closers  []io.Closer
}

func newPeer(ctx context.Context, s setup) (*peer, error) {
	key, err := x509.ParsePKCS8PrivateKey(s.Key)
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	p := &peer{udp: map[string]*net.UDPConn{}, carriers: map[[2]string]carrier{}}
	p.doors.UDP = map[string]netip.AddrPort{}
	if p.network, err = listen(ctx, "peer", "measuring", key, s.Certificates[0], s.Certificates[1], netip.AddrPort{}, s.NoPoll); err != nil {
		return nil, err
	}
	p.closers = append(p.closers, p.network)
	p.doors.QUIC = p.network.Address()
	if p.tcp, err = net.Listen("tcp4", "127.0.0.1:0"); err != nil {
		return nil, errors.Join(err, p.close())
	}
	p.closers = append(p.closers, p.tcp)
	p.doors.TCP = p.tcp.Addr().(*net.TCPAddr).AddrPort()
	for _, path := range Paths {
		conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			return nil, errors.Join(err, p.close())
		}
		p.closers = append(p.closers, conn)
		p.udp[path], p.doors.UDP[path] = conn, conn.LocalAddr().(*net.UDPAddr).AddrPort()
	}
	return p, nil
}

// accept takes the connections of one path, which have been opened.
func (p *peer) accept(ctx context.Context, path string) error {
	tcp, err := p.tcp.Accept()
	if err != nil {
		return err
	}
	p.closers = append(p.closers, tcp)
	conn, err := p.network.Accept(ctx, transport.ClassActivation)
	if err != nil {
		return err
	}
	p.carriers[[2]string{path, "tcp"}] = &tcpCarrier{conn: tcp}
	p.carriers[[2]string{path, "udp"}] = &udpCarrier{conn: p.udp[path]}
	p.carriers[[2]string{path, "quic"}] = &quicCarrier{network: p.network, conn: conn}
	p.carriers[[2]string{path, nothing}] = noCarrier{}
	return nil
}

func (p *peer) close() error {
	var errs []error
	for _, c := range p.closers {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// Relay is the process between the two others, until in ends.
func Relay(ctx context.Context, in io.Reader, out io.Writer) (err error) {
	input := json.NewDecoder(in)
	var s relaySetup
	if err := input.Decode(&s); err != nil {
		return fmt.Errorf("read setup: %w", err)
	}
	var open []io.Closer
	defer func() {
		for _, c := range open {
			err = errors.Join(err, c.Close())
		}
	}()
	d := doors{UDP: map[string]netip.AddrPort{}}
	tcp, err := relay.NewTCP(ctx, s.Doors.TCP, s.Link, s.Link)
	if err != nil {
		return err
	}
	open, d.TCP = append(open, tcp), tcp.Address()
	for _, way := range []struct {
		from netip.AddrPort
		to   func(netip.AddrPort)
	}{
		{s.Doors.QUIC, func(at netip.AddrPort) { d.QUIC = at }},
		{s.Doors.UDP["relay"], func(at netip.AddrPort) { d.UDP["relay"] = at }},
	} {
		udp, err := relay.NewUDP(ctx, way.from, s.Link, s.Link)
		if err != nil {
			return err
		}
		open = append(open, udp)
		way.to(udp.Address())
	}
	if err := json.NewEncoder(out).Encode(answer{Doors: d}); err != nil {
		return err
	}
	for {
		var rest any
		if err := input.Decode(&rest); err != nil {
			return nil
		}
	}
}
