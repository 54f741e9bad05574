package member

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	"polynode/cluster"
	"polynode/cluster/trust"
	"polynode/shard"
	"polynode/transport"
)

func compare(a, b shard.NodeID) int { return cmp.Compare(a, b) }

// admit answers a machine that wants to join. Whatever goes wrong, the machine gets an answer that says what.
func (m *Member) admit(ctx context.Context, call *transport.JoinCall) error {
	data, err := io.ReadAll(call)
	if err != nil {
		return err
	}
	answer, err := m.decide(ctx, data, visitor{call.From(), func() ([]byte, error) { return export(call.TLS()) }})
	if err != nil {
		m.config.Logger.Warn("refused a machine that wants to join", "from", call.From(), "cause", err)
		answer = trust.Refuse(err)
	}
	if data, err = answer.Encode(); err != nil {
		return err
	}
	_, err = call.Write(data)
	return err
}

// visitor is a machine that wants to join, as the network shows it.
type visitor struct {
	from     netip.AddrPort
	exporter func() ([]byte, error) // binds what it says to the connection that it says it on
}

// decide checks a request, has the cluster agree on the new node and the use of its token, and then gives it its certificate.
func (m *Member) decide(ctx context.Context, data []byte, who visitor) (trust.JoinAnswer, error) {
	request, err := trust.DecodeJoinRequest(data)
	if err != nil {
		return trust.JoinAnswer{}, err
	}
	if leader, led := m.cluster.Leader(); leader != m.id {
		address, found := m.members.Resolve(string(leader))
		if !led || !found {
			return trust.JoinAnswer{}, fmt.Errorf("%w: the cluster has no coordinator at the moment", trust.ErrUnavailable)
		}
		return trust.Redirect(address.String()), nil
	}
	exporter, err := who.exporter()
	if err != nil {
		return trust.JoinAnswer{}, err
	}
	ca, err := m.authority(m.identity.roots().Fingerprints()[0])
	if errors.Is(err, ErrNoRoot) {
		return trust.JoinAnswer{}, fmt.Errorf("%w: %w", trust.ErrUnavailable, err)
	}
	if err != nil {
		return trust.JoinAnswer{}, err
	}
	state := m.cluster.State()
	record, there := state.Tokens[request.Token]
	if !there {
		return trust.JoinAnswer{}, trust.UnknownToken(request.Token)
	}
	old, again := state.Nodes[request.Node()]
	again = again && old.Token == record.ID
	now := time.Now()
	certificate, err := trust.Admit(ca, record, &request, exporter, again, now)
	if err != nil {
		return trust.JoinAnswer{}, err
	}
	node := cluster.Node{
		ID: request.Node(), Name: request.Name, Role: record.Role, Address: reached(request.Address, who.from), Serial: trust.Serial(certificate),
		Token: record.ID, Phase: cluster.Joining, Facts: request.Facts, Index: old.Index,
	}
	if _, err := m.cluster.Propose(ctx, cluster.UseToken(record, node, now.Unix())); err != nil {
		return trust.JoinAnswer{}, err
	}
	m.config.Logger.Info("let a machine in", "node", node.ID, "name", node.Name, "role", node.Role, "from", who.from)
	return trust.JoinAnswer{Cluster: state.ID, Certificate: certificate.Raw, Keys: &state.Keys.Keys, Peers: m.peersFor(node.ID)}, nil
}

// reached is where a joiner listens: what it says, with the host that it was seen at if it listens on all.
func reached(says string, seen netip.AddrPort) string {
	address, err := netip.ParseAddrPort(says)
	if err != nil || address.Addr().IsUnspecified() {
		return netip.AddrPortFrom(seen.Addr(), address.Port()).String()
	}
	return says
}

// peersFor names nodes to a new one: this one, which is alive for sure, and others that are.
func (m *Member) peersFor(joiner shard.NodeID) []trust.Contact {
	peers := []trust.Contact{{ID: m.id, Address: m.port.Address().String()}}
	for id, address := range m.members.Alive() {
		if id != m.id && id != joiner && len(peers) < trust.PeersMax {
			peers = append(peers, trust.Contact{ID: id, Address: address.String()})
		}
	}
	slices.SortFunc(peers[1:], func(a, b trust.Contact) int { return compare(a.ID, b.ID) })
	return peers
}

// NewToken makes a join token. Only the coordinator can; zero for ttl and uses means the usual.
func (m *Member) NewToken(ctx context.Context, role trust.Role, ttl time.Duration, uses int) (trust.Token, error) {
	roots := m.identity.roots().Fingerprints()
	if len(roots) == 0 {
		return trust.Token{}, errors.New("make token: this node has no root")
	}
	now := time.Now()
	token, record, err := trust.NewToken(roots[0], role, ttl, uses, now)
	if err != nil {
		return trust.Token{}, err
	}
	if _, err := m.cluster.Propose(ctx, cluster.PutToken(record, now.Unix())); err != nil {
		return trust.Token{}, fmt.Errorf("make token: %w", err)
	}
	return token, nil
}
