package member

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"polynode/cluster"
	"polynode/cluster/trust"
)

// Papers is what a node shows and has, as others have to know it while the cluster changes its root.
type Papers struct {
	Serial string    `json:"serial"` // of its certificate
	Until  time.Time `json:"until"`
	Root   string    `json:"root"`  // fingerprint of the root that signed it
	Roots  []string  `json:"roots"` // fingerprints of those that it accepts, the one in use first
	Keys   []string  `json:"keys"`  // fingerprints of those whose private key it has
}

// Papers are this node's.
func (m *Member) Papers() Papers {
	credentials, roots := m.identity.now()
	p := Papers{Serial: credentials.Serial(), Until: credentials.Leaf.NotAfter.UTC(), Root: trust.FingerprintOf(credentials.Issuer).String()}
	for _, print := range roots.Fingerprints() {
		p.Roots = append(p.Roots, print.String())
		if _, err := m.authority(print); err == nil {
			p.Keys = append(p.Keys, print.String())
		}
	}
	return p
}

// Rotation is a change of the cluster's root that is under way. A root is changed in three agreed steps: both are accepted, the new one is
// used, only the new one is left. Which one is the new one, the roots themselves say, so that any coordinator can go on with it.
type Rotation struct {
	From, To trust.Fingerprint
	Used     bool // new certificates come from To
}

// Rotating is the change of root that is under way, as far as this node knows.
func (m *Member) Rotating() (Rotation, bool) {
	keys := m.cluster.State().Keys
	if keys == nil || len(keys.Roots) < 2 {
		return Rotation{}, false
	}
	roots, err := trust.ParseRoots(keys.Roots)
	if err != nil {
		return Rotation{}, false
	}
	prints, r := roots.Fingerprints(), Rotation{To: trust.FingerprintOf(roots.Newest())}
	r.Used, r.From = prints[0] == r.To, prints[0]
	if r.Used {
		r.From = prints[1]
	}
	return r, true
}

// BeginRotation makes the cluster's next root and the next key of its gossip, and has both accepted. Only the coordinator can. Where a
// change is under way already it does nothing.
func (m *Member) BeginRotation(ctx context.Context, now time.Time) error {
	m.rooting.Lock()
	defer m.rooting.Unlock()
	keys := m.cluster.State().Keys
	if keys == nil {
		return fmt.Errorf("change root: %w", cluster.ErrNotLeader)
	}
	if len(keys.Roots) > 1 {
		return nil
	}
	roots, err := trust.ParseRoots(keys.Roots)
	if err != nil {
		return fmt.Errorf("change root: %w", err)
	}
	ca, err := trust.NextCA(roots.Newest(), now)
	if err != nil {
		return fmt.Errorf("change root: %w", err)
	}
	secret, err := trust.NewGossipKey()
	if err != nil {
		return fmt.Errorf("change root: %w", err)
	}
	if err := m.folder.SaveNextCA(ca); err != nil {
		return fmt.Errorf("change root: %w", err)
	}
	next := *keys
	next.Keys = trust.Keys{Roots: keys.Roots.Install(ca.Root.Raw), Gossip: keys.Gossip[:1].Install(secret)}
	if _, err := m.cluster.Propose(ctx, cluster.PutKeys(next)); err != nil {
		return fmt.Errorf("change root: %w", err)
	}
	return nil
}

// Rotate takes the change of root that is under way one step further. Whoever calls it has made sure that every node is ready for that.
func (m *Member) Rotate(ctx context.Context) error {
	r, ok := m.Rotating()
	if !ok {
		return nil
	}
	return m.turn(ctx, r, func(keys trust.Keys, from, to []byte) trust.Keys {
		if r.Used {
			return trust.Keys{Roots: keys.Roots.Remove(from), Gossip: keys.Gossip[:1].Clone()}
		}
		return trust.Keys{Roots: keys.Roots.Use(to), Gossip: keys.Gossip.Use(keys.Gossip[len(keys.Gossip)-1])}
	})
}

// AbandonRotation takes the change of root back whose new root is lost before anybody used it.
func (m *Member) AbandonRotation(ctx context.Context) error {
	r, ok := m.Rotating()
	if !ok || r.Used {
		return nil
	}
	return m.turn(ctx, r, func(keys trust.Keys, _, to []byte) trust.Keys {
		return trust.Keys{Roots: keys.Roots.Remove(to), Gossip: keys.Gossip[:1].Clone()}
	})
}

// turn has the cluster agree on the next keys.
func (m *Member) turn(ctx context.Context, r Rotation, next func(keys trust.Keys, from, to []byte) trust.Keys) error {
	keys := m.cluster.State().Keys
	if keys == nil {
		return nil
	}
	var from, to []byte
	for _, raw := range keys.Roots {
		root, err := trust.ParseRoots([][]byte{raw})
		switch {
		case err != nil:
			return fmt.Errorf("change root: %w", err)
		case root.Contains(r.To):
			to = raw
		case root.Contains(r.From):
			from = raw
		}
	}
	if from == nil || to == nil {
		return fmt.Errorf("change root: %w", cluster.ErrConflict)
	}
	change := *keys
	change.Keys = next(keys.Keys.Clone(), bytes.Clone(from), bytes.Clone(to))
	if _, err := m.cluster.Propose(ctx, cluster.PutKeys(change)); err != nil {
		return fmt.Errorf("change root: %w", err)
	}
	return nil
}

// followRoot puts the next root in the place of the one before when the cluster uses it. One that the cluster gave up stays until the next change:
// nobody trusts it, and what this node has heard may be older than the file.
func (m *Member) followRoot() error {
	m.rooting.Lock()
	defer m.rooting.Unlock()
	next, err := m.folder.NextCA()
	if errors.Is(err, trust.ErrNone) {
		return nil
	}
	if err != nil || m.identity.roots().Fingerprints()[0] != next.Fingerprint() {
		return err
	}
	return errors.Join(m.folder.SaveCA(next), m.folder.RemoveNextCA())
}
