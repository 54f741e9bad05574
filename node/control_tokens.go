package node

import (
	"cmp"
	"math"
	"net/http"
	"slices"
	"time"

	"polynode/cluster"
	"polynode/cluster/trust"
)

// TokenWish is what a join token should be good for.
type TokenWish struct {
	Witness bool    `json:"witness"`
	TTL     float64 `json:"ttl_seconds"` // 0 is the usual
	Uses    int     `json:"uses"`        // 0 is the usual
}

// TokenState is what the cluster knows of a token; the secret it does not.
type TokenState struct {
	ID    string    `json:"id"`
	Role  string    `json:"role"`
	Uses  int       `json:"uses"`
	Used  int       `json:"used"`
	Made  time.Time `json:"made"`
	Until time.Time `json:"until"`
	State string    `json:"state"` // usable, used, expired or revoked
	Nodes []string  `json:"nodes"` // that joined with it and are still here
}

// TokenList is all tokens, the newest first.
type TokenList struct {
	Tokens []TokenState `json:"tokens"`
}

func (n *Node) controlNewToken(r *http.Request) (any, error) {
	var wish TokenWish
	if err := readControl(r, &wish); err != nil {
		return nil, err
	}
	if !(wish.TTL >= 0) || wish.TTL > trust.TokenTTLMax.Seconds() || wish.TTL > 0 && wish.TTL < 1 {
		return nil, refusal(http.StatusBadRequest, "invalid_value", "Invalid 'ttl_seconds': want 1 to %.0f.", trust.TokenTTLMax.Seconds())
	}
	if wish.Uses < 0 || wish.Uses > trust.TokenUsesMax {
		return nil, refusal(http.StatusBadRequest, "invalid_value", "Invalid 'uses': want 1 to %d.", trust.TokenUsesMax)
	}
	return n.NewToken(r.Context(), wish.Witness, time.Duration(math.Round(wish.TTL))*time.Second, wish.Uses)
}

func (n *Node) controlTokens(*http.Request) (any, error) {
	state := n.cluster.State()
	list := TokenList{Tokens: []TokenState{}}
	now := time.Now().Unix()
	for _, record := range state.Tokens {
		token := tokenState(record, now)
		for id, node := range state.Nodes {
			if node.Token == record.ID {
				token.Nodes = append(token.Nodes, string(id))
			}
		}
		slices.Sort(token.Nodes)
		list.Tokens = append(list.Tokens, token)
	}
	slices.SortFunc(list.Tokens, func(a, b TokenState) int { return cmp.Or(b.Made.Compare(a.Made), cmp.Compare(a.ID, b.ID)) })
	return list, nil
}

func tokenState(record trust.TokenRecord, now int64) TokenState {
	state := "usable"
	switch {
	case record.Revoked:
		state = "revoked"
	case now > record.Until:
		state = "expired"
	case record.Used >= record.Uses:
		state = "used"
	}
	return TokenState{
		ID: record.ID, Role: string(record.Role), Uses: record.Uses, Used: record.Used,
		Made: time.Unix(record.Made, 0).UTC(), Until: time.Unix(record.Until, 0).UTC(), State: state, Nodes: []string{},
	}
}

func (n *Node) controlRevokeToken(r *http.Request) (any, error) {
	id := r.PathValue("id")
	err := n.propose(r.Context(), func(state *cluster.State) (*cluster.Command, error) {
		record, there := state.Tokens[id]
		if !there {
			return nil, refusal(http.StatusNotFound, "not_found", "No token %.80q. `polynode token ls` shows those that there are.", id)
		}
		if record.Revoked {
			return nil, nil
		}
		command := cluster.RevokeToken(record)
		return &command, nil
	})
	if err != nil {
		return nil, err
	}
	return tokenState(n.cluster.State().Tokens[id], time.Now().Unix()), nil
}
