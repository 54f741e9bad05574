package member

import (
	"crypto/tls"
	"errors"
	"sync"
	"time"

	"polynode/cluster"
	"polynode/cluster/trust"
	"polynode/shard"
	"polynode/transport"
)

// identity is who this node is and whom it trusts, for the network. Both follow what the cluster agrees on.
type identity struct {
	mu          sync.Mutex
	credentials *trust.Credentials
	bundle      *trust.Bundle
	retired     *trust.Bundle         // the root that was given up last, nil if none was since this node started
	revoked     map[string]bool       // by node, and by node and serial
	nodes       map[shard.NodeID]bool // that are or were members since this node started
}

var (
	_ transport.Identity  = (*identity)(nil)
	_ transport.Rechecker = (*identity)(nil)
)

// Certificate is what this node presents.
func (i *identity) Certificate() (*tls.Certificate, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	certificate := i.credentials.TLS()
	return &certificate, nil
}

// Verify checks a peer's certificates against the roots and revocations that are agreed on now.
func (i *identity) Verify(chain [][]byte) (node string, err error) {
	i.mu.Lock()
	bundle := i.bundle
	i.mu.Unlock()
	peer, err := i.verify(bundle, chain)
	return string(peer.ID), err
}

func (i *identity) verify(bundle *trust.Bundle, chain [][]byte) (trust.Peer, error) {
	i.mu.Lock()
	revoked := i.revoked
	i.mu.Unlock()
	return bundle.Verify(chain, func(id shard.NodeID, serial string) bool {
		return revoked[string(id)] || revoked[string(id)+"/"+serial]
	}, time.Now())
}

// Recheck lets a session go on that began under the root before: a node is its key, and all nodes had new certificates for theirs when that
// root was given up. Whoever made a key and a certificate with a stolen root is no node of the cluster.
func (i *identity) Recheck(chain [][]byte) (node string, err error) {
	node, err = i.Verify(chain)
	if !errors.Is(err, trust.ErrForeign) {
		return node, err
	}
	i.mu.Lock()
	retired := i.retired
	i.mu.Unlock()
	if retired == nil {
		return "", err
	}
	peer, other := i.verify(retired, chain)
	i.mu.Lock()
	member := i.nodes[peer.ID]
	i.mu.Unlock()
	if other != nil || !member {
		return "", err
	}
	return string(peer.ID), nil
}

// follow takes over what is agreed on. Roots that cannot be read are left alone: the old ones are better than none.
func (i *identity) follow(state *cluster.State) {
	revoked := make(map[string]bool, len(state.Revocations))
	for _, r := range state.Revocations {
		key := string(r.Node)
		if r.Serial != "" {
			key += "/" + r.Serial
		}
		revoked[key] = true
	}
	var bundle *trust.Bundle
	if state.Keys != nil {
		bundle, _ = trust.ParseRoots(state.Keys.Roots)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.revoked = revoked
	if i.nodes == nil {
		i.nodes = map[shard.NodeID]bool{}
	}
	for id := range state.Nodes {
		i.nodes[id] = true // and stays it when it leaves: whoever is shut out is revoked
	}
	if bundle != nil {
		i.retire(bundle)
		i.bundle = bundle
	}
}

// retire remembers a root that is not among the next ones any more.
func (i *identity) retire(next *trust.Bundle) {
	if i.bundle == nil {
		return
	}
	for at, print := range i.bundle.Fingerprints() {
		if next.Contains(print) {
			continue
		}
		if gone, err := trust.ParseRoots(i.bundle.Raw()[at : at+1]); err == nil {
			i.retired = gone
		}
	}
}

// present takes a new certificate into use.
func (i *identity) present(c *trust.Credentials) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.credentials = c
}

// now is what this node shows and what it checks others by.
func (i *identity) now() (*trust.Credentials, *trust.Bundle) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.credentials, i.bundle
}

// admits reports whether a node may be seen by gossip: one that was removed from the cluster may not.
func (i *identity) admits(node shard.NodeID) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return !i.revoked[string(node)]
}

// roots are those that peers' certificates are checked by.
func (i *identity) roots() *trust.Bundle {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.bundle
}
