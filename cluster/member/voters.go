package member

import (
	"errors"
	"fmt"
	"slices"

	"polynode/cluster/trust"
	"polynode/shard"
)

// Errors of handing the cluster's root on.
var (
	ErrNotVoter = errors.New("this node has no vote")                          // so it may not have the root; it may get a vote later
	ErrStranger = errors.New("only the coordinator may hand on the root")      // and this is not it, as far as is known here
	ErrNoRoot   = errors.New("this node does not have the cluster's root")     // it came to coordinate before it was given it
	ErrOther    = errors.New("that is not a root that this cluster agrees on") // or the change has not arrived here yet
)

// Root is the cluster's root with its private key in PEM, for other nodes that vote: any of them may have to let machines in. It is a
// secret. Only the coordinator sends it.
func (m *Member) Root() ([]byte, error) {
	ca, err := m.folder.CA()
	if errors.Is(err, trust.ErrNone) {
		return nil, ErrNoRoot
	}
	if err != nil {
		return nil, err
	}
	return ca.PEM()
}

// KeepRoot keeps the root that the coordinator sent, if this node votes.
func (m *Member) KeepRoot(from shard.NodeID, data []byte) error {
	if leader, _ := m.cluster.Leader(); from != leader {
		return fmt.Errorf("%w: node %s", ErrStranger, from)
	}
	m.rooting.Lock()
	defer m.rooting.Unlock()
	if votes, err := m.votes(); err != nil || !votes {
		return errors.Join(ErrNotVoter, err)
	}
	ca, err := trust.ParseCA(data)
	if err != nil {
		return err
	}
	if !m.identity.roots().Contains(ca.Fingerprint()) {
		return ErrOther
	}
	if old, err := m.folder.CA(); err == nil && old.Fingerprint() == ca.Fingerprint() {
		return nil
	}
	if err := m.folder.SaveCA(ca); err != nil {
		return err
	}
	m.config.Logger.Info("this node can let machines in from now on")
	return nil
}

// votes reports whether this node's vote counts.
func (m *Member) votes() (bool, error) {
	voters, err := m.cluster.Voters()
	return slices.Contains(voters, m.id), err
}

// forgetCA removes the root when this node votes no more: the fewer have it, the better.
func (m *Member) forgetCA() error {
	m.rooting.Lock()
	defer m.rooting.Unlock()
	voters, err := m.cluster.Voters()
	if err != nil || len(voters) == 0 || slices.Contains(voters, m.id) {
		return nil // it does not know any better
	}
	if _, err := m.folder.CA(); errors.Is(err, trust.ErrNone) {
		return nil
	}
	m.config.Logger.Info("this node has no vote any more: the cluster's root is removed")
	return m.folder.RemoveCA()
}
