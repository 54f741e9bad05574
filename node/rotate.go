package node

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"polynode/cluster"
	"polynode/cluster/member"
	"polynode/cluster/trust"
	"polynode/shard"
)

// rootOfPath is where a coordinator asks another node that votes for a root that it lacks.
const rootOfPath = "/node/v1/rootof"

// serveRootOf gives the coordinator a root.
func (n *Node) serveRootOf(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, askMax))
	var print trust.Fingerprint
	if err == nil {
		print, err = trust.ParseFingerprint(string(text))
	}
	var root []byte
	if err == nil {
		root, err = n.member.GiveRoot(caller(r), print)
	}
	switch {
	case err == nil:
		_, _ = w.Write(root)
	case errors.Is(err, member.ErrStranger), errors.Is(err, member.ErrNotVoter):
		http.Error(w, err.Error(), http.StatusForbidden)
	default:
		http.Error(w, err.Error(), http.StatusConflict)
	}
}

// fetchRoot gets a root that this node lacks from another that votes, and keeps it.
func (n *Node) fetchRoot(ctx context.Context, voters []shard.NodeID, print trust.Fingerprint) ([]byte, error) {
	err := error(member.ErrNoRoot)
	for _, id := range voters {
		if id == n.self || !n.alive(id) {
			continue
		}
		asking, cancel := context.WithTimeout(ctx, askWait)
		root, failed := n.ask(asking, id, rootOfPath, []byte(print.String()))
		cancel()
		if failed == nil {
			failed = n.member.KeepRoot(n.self, root)
		}
		if failed == nil {
			return n.member.RootOf(print)
		}
		err = errors.Join(err, failed)
	}
	return nil, err
}

// papersPath is where a coordinator asks a node for its papers, and for newer ones.
const papersPath = "/node/v1/papers"

// papersWish is what a coordinator asks.
type papersWish struct {
	Renew bool `json:"renew"` // get a new certificate first
}

func (n *Node) servePapers(w http.ResponseWriter, r *http.Request) {
	var wish papersWish
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, askMax)).Decode(&wish); err != nil {
		http.Error(w, "the question cannot be read: "+err.Error(), http.StatusBadRequest)
		return
	}
	papers, err := n.papersHere(r.Context(), wish, caller(r))
	if err == nil {
		err = json.NewEncoder(w).Encode(papers)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
	}
}

func (n *Node) papersHere(ctx context.Context, wish papersWish, leader shard.NodeID) (member.Papers, error) {
	if wish.Renew {
		if err := n.renewNow(ctx, leader); err != nil {
			return member.Papers{}, err
		}
	}
	return n.member.Papers(), nil
}

// renewTries is how often a certificate is asked for again because something else about the node changed meanwhile.
const renewTries = 3

// papersOf asks any node.
func (n *Node) papersOf(ctx context.Context, id shard.NodeID, wish papersWish) (papers member.Papers, err error) {
	ctx, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	body, err := json.Marshal(wish)
	if err != nil {
		return papers, err
	}
	for range renewTries {
		if id == n.self {
			papers, err = n.papersHere(ctx, wish, n.self)
		} else {
			var text []byte
			if text, err = n.ask(ctx, id, papersPath, body); err == nil {
				err = json.Unmarshal(text, &papers)
			}
		}
		if err == nil || !wish.Renew {
			break
		}
	}
	return papers, err
}

// changeRoot takes a change of the cluster's root further that is under way, if every node is ready for the next step. It looks at everything as it
// is: whoever coordinates goes on where another one stopped.
func (t *tender) changeRoot(ctx context.Context) {
	n := t.node
	r, ok := n.member.Rotating()
	if !ok {
		n.setWaiting(nil)
		return
	}
	err := t.readyFor(ctx, r)
	switch {
	case errors.Is(err, errRootLost):
		n.log.Warn("the cluster's next root is lost before it was used: the change is taken back")
		err = n.member.AbandonRotation(ctx)
	case err == nil:
		if err = n.member.Rotate(ctx); err == nil {
			n.log.Info("the cluster's root changes", "from", r.From, "to", r.To, "finished", r.Used)
		}
		if err == nil && !r.Used {
			err = n.endTokens(ctx)
		}
	}
	n.setWaiting(err)
}

// errRootLost reports a next root that no node has.
var errRootLost = errors.New("nobody has the private key of the next root")

// readyFor reports why a change of root cannot go on yet: all nodes have to accept the next root, and those that vote have to have its key,
// before it is used; and all have to have a certificate of it before the one before is given up.
func (t *tender) readyFor(ctx context.Context, r member.Rotation) error {
	n := t.node
	voters, err := n.cluster.Voters()
	if err != nil {
		return err
	}
	to, holders, away := r.To.String(), 0, []string{}
	var lacking, silent error
	for id, node := range n.cluster.State().Nodes {
		if node.Phase == cluster.Gone {
			continue
		}
		if !n.alive(id) {
			away = append(away, title(node))
			continue
		}
		papers, err := n.papersOf(ctx, id, papersWish{})
		if err == nil && r.Used && papers.Root != to {
			papers, err = n.papersOf(ctx, id, papersWish{Renew: true})
		}
		switch {
		case err != nil:
			silent = err
			continue
		case slices.Contains(papers.Keys, to):
			holders++
		case !r.Used && slices.Contains(voters, id):
			lacking = fmt.Errorf("node %s does not have the next root yet", title(node))
		}
		switch {
		case !slices.Contains(papers.Roots, to): // this may be the one that has its key
			silent = fmt.Errorf("node %s has not heard of the next root yet", title(node))
		case r.Used && papers.Root != to:
			lacking = fmt.Errorf("node %s has no certificate of the new root yet", title(node))
		}
	}
	slices.Sort(away)
	switch {
	case len(away) > 0:
		return fmt.Errorf("%s %s not here, and would be shut out: start it, or take it out of the cluster with `polynode remove`", joinNames(away), isOrAre(len(away)))
	case silent != nil:
		return silent
	case holders == 0 && lacking != nil && !r.Used:
		return fmt.Errorf("%w: %w", errRootLost, lacking)
	}
	return lacking
}

func joinNames(names []string) string {
	text := ""
	for i, name := range names {
		if i > 0 {
			text += ", "
		}
		text += name
	}
	return text
}

func isOrAre(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}

// endTokens takes back the join tokens that name the root before: nobody can join with them.
func (n *Node) endTokens(ctx context.Context) error {
	var errs []error
	for id, record := range n.cluster.State().Tokens {
		if record.Dead(time.Now().Unix()) {
			continue
		}
		errs = append(errs, n.propose(ctx, func(state *cluster.State) (*cluster.Command, error) {
			record, there := state.Tokens[id]
			if !there || record.Revoked {
				return nil, nil
			}
			command := cluster.RevokeToken(record)
			return &command, nil
		}))
	}
	return errors.Join(errs...)
}

// setWaiting remembers why a change of root does not go on; nil if it does, or if none is under way.
func (n *Node) setWaiting(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.waiting = ""
	if err != nil {
		n.waiting = err.Error()
	}
}

// Certificates are those of a cluster.
type Certificates struct {
	Root    string            `json:"root"`           // fingerprint of the root in use
	Next    string            `json:"next,omitempty"` // of the one that it changes to
	Waiting string            `json:"waiting,omitempty"`
	Nodes   []NodeCertificate `json:"nodes"`
}

// NodeCertificate is what one node shows.
type NodeCertificate struct {
	ID    string    `json:"id"`
	Name  string    `json:"name"`
	Until time.Time `json:"until"`
	Root  string    `json:"root"` // fingerprint of the one that signed it
	Error string    `json:"error,omitempty"`
}

func (n *Node) controlCertificates(r *http.Request) (any, error) {
	return n.certificates(r.Context(), papersWish{})
}

// certificates asks all nodes at once.
func (n *Node) certificates(ctx context.Context, wish papersWish) (any, error) {
	if n.member == nil {
		return nil, errLone
	}
	roots := n.member.Roots()
	list := Certificates{Root: roots[0].String(), Nodes: []NodeCertificate{}}
	if rotation, ok := n.member.Rotating(); ok {
		list.Root, list.Next = rotation.From.String(), rotation.To.String()
		n.mu.Lock()
		list.Waiting = n.waiting
		n.mu.Unlock()
	}
	state := n.cluster.State()
	answers := make(chan NodeCertificate)
	for id, node := range state.Nodes {
		go func() {
			c := NodeCertificate{ID: string(id), Name: node.Name}
			papers, err := member.Papers{}, errors.New("it is not here; it renews its certificate when it is back")
			if n.alive(id) {
				papers, err = n.papersOf(ctx, id, wish)
			}
			if err != nil {
				c.Error = err.Error()
			}
			c.Until, c.Root = papers.Until, papers.Root
			answers <- c
		}()
	}
	for range state.Nodes {
		list.Nodes = append(list.Nodes, <-answers)
	}
	slices.SortFunc(list.Nodes, func(a, b NodeCertificate) int { return cmp.Compare(a.Name+a.ID, b.Name+b.ID) })
	return list, nil
}

// RotateWish is what is to be new.
type RotateWish struct {
	Root bool `json:"root"` // the cluster's root and the key of its gossip, and with them all certificates
}

// controlRotate gives all nodes that are here new certificates, or begins to change the root.
func (n *Node) controlRotate(r *http.Request) (any, error) {
	var wish RotateWish
	if err := readControl(r, &wish); err != nil {
		return nil, err
	}
	if n.member == nil {
		return nil, errLone
	}
	if !wish.Root {
		return n.certificates(r.Context(), papersWish{Renew: true})
	}
	for id, node := range n.cluster.State().Nodes {
		if node.Phase != cluster.Gone && !n.alive(id) {
			return nil, refusal(http.StatusConflict, "not_here", "Node %s is not here: a change of the root would shut it out. Start it, or take it out of the "+
				"cluster with `polynode remove`, and try again.", title(node))
		}
	}
	if err := n.member.BeginRotation(r.Context(), time.Now()); err != nil {
		return nil, err
	}
	return n.certificates(r.Context(), papersWish{})
}
