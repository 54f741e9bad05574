package member

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"polynode/cluster"
	"polynode/cluster/trust"
	"polynode/shard"
)

// RenewAt is when this node should ask for its next certificate: after two thirds of the life of the one it has, or at once when the cluster
// has another root for new certificates.
func (m *Member) RenewAt() time.Time {
	credentials, roots := m.identity.now()
	prints := roots.Fingerprints()
	if issuer, err := trust.NewBundle(credentials.Issuer); err == nil && !issuer.Contains(prints[0]) {
		return time.Time{}
	}
	return credentials.RenewAt()
}

// RenewalRequest is what this node asks the coordinator with.
func (m *Member) RenewalRequest() ([]byte, error) {
	credentials, _ := m.identity.now()
	return credentials.Identity.Request()
}

// Renew signs the next certificate of a node of this cluster, which asked over a connection that proves who it is, and has its number agreed
// on. Only the coordinator can.
func (m *Member) Renew(ctx context.Context, from shard.NodeID, request []byte) ([]byte, error) {
	state := m.cluster.State()
	node, there := state.Nodes[from]
	if !there || node.Phase == cluster.Gone || state.Revoked(from, "") {
		return nil, fmt.Errorf("renew certificate: %w: node %s", trust.ErrRevoked, from)
	}
	if leader, _ := m.cluster.Leader(); leader != m.id {
		return nil, fmt.Errorf("renew certificate: %w", cluster.ErrNotLeader)
	}
	ca, err := m.authority(m.identity.roots().Fingerprints()[0])
	if err != nil {
		return nil, fmt.Errorf("renew certificate: %w", err)
	}
	role := node.Role
	if role == "" {
		role = trust.Worker
	}
	certificate, err := trust.Renew(ca, request, trust.Peer{ID: from, Role: role}, time.Now())
	if err != nil {
		return nil, err
	}
	node.Serial = trust.Serial(certificate)
	if _, err := m.cluster.Propose(ctx, cluster.PutNode(node)); err != nil {
		return nil, fmt.Errorf("renew certificate: %w", err)
	}
	return certificate.Raw, nil
}

// Present keeps this node's next certificate and shows it from now on. Connections that are open go on with the one before. A clock that
// is far off is said, with what to do.
func (m *Member) Present(certificate []byte) error {
	m.presenting.Lock()
	defer m.presenting.Unlock()
	old, roots := m.identity.now()
	next, err := trust.NewCredentials(old.Identity, certificate, roots)
	if err != nil {
		return fmt.Errorf("take the new certificate into use: %w", err)
	}
	if _, err := roots.Verify([][]byte{certificate}, nil, time.Now()); err != nil {
		return fmt.Errorf("take the new certificate into use: %w", err)
	}
	if err := m.folder.SaveCredentials(next); err != nil {
		return err
	}
	m.identity.present(next)
	m.config.Logger.Info("this node has a new certificate", "until", next.Leaf.NotAfter)
	return nil
}

// followKeys takes over the keys that are agreed on: gossip uses them, and the folder has them for the next start.
func (m *Member) followKeys(state *cluster.State) error {
	if state.Keys == nil {
		return nil
	}
	if ring := state.Keys.Gossip; !sameRing(ring, m.ring) {
		if err := m.members.SetKeys(ring); err != nil {
			return err
		}
		if err := m.folder.SaveGossip(ring); err != nil {
			return err
		}
		m.ring = ring.Clone()
		m.config.Logger.Info("gossip follows its new keys", "keys", len(ring))
	}
	m.presenting.Lock()
	defer m.presenting.Unlock()
	credentials, roots := m.identity.now()
	if sameRing(roots.Raw(), credentials.Bundle.Raw()) {
		return nil
	}
	next, err := trust.NewCredentials(credentials.Identity, credentials.Leaf.Raw, roots)
	if err != nil {
		return fmt.Errorf("follow the cluster's roots: %w", err)
	}
	m.identity.present(next)
	m.config.Logger.Info("this node follows the cluster's new roots", "roots", len(roots.Raw()))
	return m.folder.SaveCredentials(next)
}

func sameRing(a, b [][]byte) bool { return slices.EqualFunc(a, b, bytes.Equal) }
