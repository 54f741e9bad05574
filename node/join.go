package node

import (
	"context"
	"log/slog"
	"time"

	"polynode/cluster/member"
	"polynode/cluster/trust"
	"polynode/configs"
)

// Join asks the cluster that made a token to let this machine in, through the node at address (HOST:PORT). Start makes it take part then. A
// machine that is in that cluster already is left as it is.
func Join(ctx context.Context, config configs.Config, address, token string, log *slog.Logger) error {
	n := &Node{config: config, log: log}
	if err := n.startPool(ctx); err != nil {
		return err
	}
	defer n.Stop(ctx)
	if err := n.measure(); err != nil {
		return err
	}
	return member.Join(ctx, member.Config{Dir: n.stateDir(), Name: config.Name, Listen: config.Listen, Facts: n.facts.now(), Logger: log}, address, token)
}

// Token is a join token for people.
type Token struct {
	Text    string    `json:"token"` // a secret
	ID      string    `json:"id"`
	Role    string    `json:"role"`
	Address string    `json:"address"` // of this node, for whoever joins
	Until   time.Time `json:"until"`
}

// NewToken makes a join token, if this node coordinates. Zero for ttl and uses means the usual.
func (n *Node) NewToken(ctx context.Context, witness bool, ttl time.Duration, uses int) (Token, error) {
	role := trust.Worker
	if witness {
		role = trust.Witness
	}
	if n.member == nil {
		return Token{}, errLone
	}
	token, err := n.member.NewToken(ctx, role, ttl, uses)
	if err != nil {
		return Token{}, err
	}
	record := n.cluster.State().Tokens[token.ID]
	return Token{
		Text: token.Text(), ID: token.ID, Role: string(record.Role), Address: n.member.Network().Address().String(), Until: time.Unix(record.Until, 0),
	}, nil
}
