package member

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"polynode/cluster/trust"
	"polynode/transport"
)

// A cluster that has no coordinator at the moment mostly has one soon.
const (
	joinPatience = 10 * time.Second
	joinPause    = 500 * time.Millisecond
)

// joinHops is how many nodes a joiner asks that send it on to the coordinator.
const joinHops = 4

// Join asks the cluster of a token to let this machine in, through the node at address, and keeps what it is given in the folder. Open
// makes the machine a member then. A machine that is a member already is left as it is.
func Join(ctx context.Context, config Config, address, tokenText string) error {
	joiner, err := newJoiner(config, tokenText)
	if joiner == nil || err != nil {
		return err
	}
	for range joinHops {
		var answer trust.JoinAnswer
		answer, err = joiner.askPatiently(ctx, address)
		var refusal *trust.Refusal
		if errors.As(err, &refusal) && refusal.Address != "" {
			address = refusal.Address
			continue
		}
		if err != nil {
			return fmt.Errorf("join through %s: %w", address, err)
		}
		return joiner.accept(answer)
	}
	return fmt.Errorf("join through %s: %w", address, err)
}

// JoinBeside is Join where the coordinator runs in the same process, in simulations: everything is as with Join but the connection.
func JoinBeside(ctx context.Context, config Config, coordinator *Member, from netip.AddrPort, tokenText string) error {
	joiner, err := newJoiner(config, tokenText)
	if joiner == nil || err != nil {
		return err
	}
	exporter := make([]byte, trust.ExporterBytes)
	data, err := joiner.request(exporter)
	if err != nil {
		return err
	}
	answer, err := coordinator.decide(ctx, data, visitor{from, func() ([]byte, error) { return exporter, nil }})
	if err != nil {
		return err
	}
	return joiner.accept(answer)
}

// joiner is a machine that wants to join.
type joiner struct {
	config Config
	token  trust.Token
	folder *trust.Folder
	self   *trust.Identity
}

// newJoiner reads who this machine is. It is nil for one that is in the token's cluster already.
func newJoiner(config Config, tokenText string) (*joiner, error) {
	token, err := trust.ParseToken(tokenText)
	if err != nil {
		return nil, err
	}
	folder, err := trust.OpenFolder(config.Dir)
	if err != nil {
		return nil, err
	}
	self, err := folder.Identity()
	if err != nil {
		return nil, err
	}
	if credentials, err := folder.Credentials(); err == nil {
		if credentials.Bundle.Contains(token.Root) {
			return nil, nil
		}
		return nil, fmt.Errorf("join: this machine belongs to another cluster; run `polynode leave` first, or give another folder with --data")
	} else if !errors.Is(err, trust.ErrNone) {
		return nil, err
	}
	return &joiner{config: config, token: token, folder: folder, self: self}, nil
}

// request is what it says, bound to a connection.
func (j *joiner) request(exporter []byte) ([]byte, error) {
	request, err := trust.NewJoinRequest(j.token, j.self, exporter, trust.JoinRequest{
		Name: j.config.Name, Address: listening(j.config.Listen), Facts: j.config.Facts,
	})
	if err != nil {
		return nil, err
	}
	return request.Encode()
}

// askPatiently asks one node until it can say yes or no.
func (j *joiner) askPatiently(ctx context.Context, address string) (trust.JoinAnswer, error) {
	for begun := time.Now(); ; {
		answer, err := j.ask(ctx, address)
		if refusal, refused := errors.AsType[*trust.Refusal](err); !refused || !errors.Is(refusal, trust.ErrUnavailable) || time.Since(begun) > joinPatience {
			return answer, err
		}
		select {
		case <-time.After(joinPause):
		case <-ctx.Done():
			return answer, err
		}
	}
}

// ask has one conversation with one node.
func (j *joiner) ask(ctx context.Context, address string) (trust.JoinAnswer, error) {
	to, err := resolve(ctx, address)
	if err != nil {
		return trust.JoinAnswer{}, err
	}
	call, err := transport.DialJoin(ctx, to, func(chain [][]byte) error {
		_, err := j.token.VerifyServer(chain, j.self.ID(), time.Now())
		return err
	})
	if err != nil {
		return trust.JoinAnswer{}, err
	}
	defer call.Close()
	exporter, err := export(call.TLS())
	if err != nil {
		return trust.JoinAnswer{}, err
	}
	data, err := j.request(exporter)
	if err != nil {
		return trust.JoinAnswer{}, err
	}
	if _, err := call.Write(data); err != nil {
		return trust.JoinAnswer{}, err
	}
	if err := call.CloseWrite(); err != nil {
		return trust.JoinAnswer{}, err
	}
	if data, err = io.ReadAll(call); err != nil {
		return trust.JoinAnswer{}, err
	}
	return trust.DecodeJoinAnswer(data)
}

// accept keeps what the cluster gave. The certificate comes last: with it the machine is a member.
func (j *joiner) accept(answer trust.JoinAnswer) error {
	credentials, err := answer.Credentials(j.token, j.self, time.Now())
	if err != nil {
		return err
	}
	k := known{Cluster: answer.Cluster, Peers: answer.Peers}
	if err := errors.Join(k.write(j.config.Dir), j.folder.SaveGossip(answer.Keys.Gossip)); err != nil {
		return err
	}
	return j.folder.SaveCredentials(credentials)
}

// export is the keying material of a connection that both sides know and nobody else.
func export(state tls.ConnectionState) ([]byte, error) {
	return state.ExportKeyingMaterial(trust.ExporterLabel, nil, trust.ExporterBytes)
}

// resolve finds the address behind host:port.
func resolve(ctx context.Context, address string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%q is not HOST:PORT", address)
	}
	number, err := net.DefaultResolver.LookupPort(ctx, "udp", port)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%q has no valid port: %w", address, err)
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("find %s: %w; give its IP address instead", host, err)
	}
	return netip.AddrPortFrom(ips[0].Unmap(), uint16(number)), nil
}

// listening is the address that a setting means, for the cluster to complete: the host may be unspecified.
func listening(setting string) string {
	host, port, err := net.SplitHostPort(setting)
	if err != nil {
		return setting
	}
	switch host {
	case "":
		host = "0.0.0.0"
	case "localhost":
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}
