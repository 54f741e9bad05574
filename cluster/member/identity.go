package member

import (
	"crypto/tls"
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
	revoked     map[string]bool // by node, and by node and serial
}

var _ transport.Identity = (*identity)(nil)

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
	bundle, revoked := i.bundle, i.revoked
	i.mu.Unlock()
	peer, err := bundle.Verify(chain, func(id shard.NodeID, serial string) bool {
		return revoked[string(id)] || revoked[string(id)+"/"+serial]
	}, time.Now())
	return string(peer.ID), err
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
	if bundle != nil {
		i.bundle = bundle
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
