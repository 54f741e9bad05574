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

// Root is the root that the cluster uses, with its private key in PEM, for other nodes that vote: any of them may have to let machines in. It
// is a secret. Only the coordinator sends it, or gets it.
func (m *Member) Root() ([]byte, error) {
	ca, err := m.authority(m.identity.roots().Fingerprints()[0])
	if err != nil {
		return nil, err
	}
	return ca.PEM()
}

// Roots are the fingerprints of the roots that are accepted, the one in use first.
func (m *Member) Roots() []trust.Fingerprint { return m.identity.roots().Fingerprints() }

// RootOf is Root for one of the roots that are accepted, which may be one that is not used yet.
func (m *Member) RootOf(print trust.Fingerprint) ([]byte, error) {
	if !m.identity.roots().Contains(print) {
		return nil, ErrOther
	}
	ca, err := m.authority(print)
	if err != nil {
		return nil, err
	}
	return ca.PEM()
}

// authority is the root with a fingerprint, if this node has its private key.
func (m *Member) authority(print trust.Fingerprint) (*trust.CA, error) {
	for _, read := range []func() (*trust.CA, error){m.folder.CA, m.folder.NextCA} {
		ca, err := read()
		if err == nil && ca.Fingerprint() == print {
			return ca, nil
		}
		if err != nil && !errors.Is(err, trust.ErrNone) {
			return nil, err
		}
	}
	return nil, ErrNoRoot
}

// GiveRoot is RootOf for another node that asks: it has to be the coordinator and to vote.
func (m *Member) GiveRoot(to shard.NodeID, print trust.Fingerprint) ([]byte, error) {
	if leader, _ := m.cluster.Leader(); to != leader {
		return nil, fmt.Errorf("%w: node %s", ErrStranger, to)
	}
	if voters, err := m.cluster.Voters(); err != nil || !slices.Contains(voters, to) {
		return nil, errors.Join(ErrNotVoter, err)
	}
	return m.RootOf(print)
}

// KeepRoot keeps a root that the coordinator sent or, on the coordinator, that another node gave it, if this node votes.
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
	roots := m.identity.roots()
	if !roots.Contains(ca.Fingerprint()) {
		return ErrOther
	}
	if _, err := m.authority(ca.Fingerprint()); err == nil {
		return nil
	}
	if roots.Fingerprints()[0] != ca.Fingerprint() {
		m.config.Logger.Info("this node has the cluster's next root")
		return m.folder.SaveNextCA(ca)
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
	_, err = m.folder.CA()
	if _, next := m.folder.NextCA(); errors.Is(err, trust.ErrNone) && errors.Is(next, trust.ErrNone) {
		return nil
	}
	m.config.Logger.Info("this node has no vote any more: the cluster's root is removed")
	return m.folder.RemoveCA()
}

// ForgetRoot removes this node's copies of the cluster's private keys. A coordinator gets them again from another node that votes.
func (m *Member) ForgetRoot() error {
	m.rooting.Lock()
	defer m.rooting.Unlock()
	return m.folder.RemoveCA()
}
