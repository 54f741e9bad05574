package member

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"polynode/cluster"
	"polynode/cluster/trust"
	"polynode/transport"
)

// pair is two nodes of one cluster, the first of which coordinates.
func pair(t *testing.T) (first, second *Member) {
	t.Helper()
	first = open(t, configOf(t, "one", t.TempDir()))
	t.Cleanup(func() { closeMember(t, first) })
	config := configOf(t, "two", t.TempDir())
	if err := Join(t.Context(), config, first.Network().Address().String(), token(t, first, 1)); err != nil {
		t.Fatal(err)
	}
	second = open(t, config)
	t.Cleanup(func() { closeMember(t, second) })
	for _, m := range []*Member{first, second} {
		until(t, "two ready nodes", m, ready(2))
	}
	return first, second
}

// A certificate is renewed through the coordinator, and shown without a restart.
func TestRenewal(t *testing.T) {
	first, second := pair(t)
	if left := time.Until(second.RenewAt()); left < trust.Validity/2 || left > trust.Validity {
		t.Errorf("a new certificate is to be renewed in %v", left)
	}
	before, _ := second.identity.now()
	request, err := second.RenewalRequest()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := second.Renew(t.Context(), second.ID(), request); !errors.Is(err, cluster.ErrNotLeader) {
		t.Errorf("a node that does not coordinate renewed: %v", err)
	}
	if _, err := first.Renew(t.Context(), first.ID(), request); !errors.Is(err, trust.ErrName) {
		t.Errorf("renewed for another node: %v", err)
	}
	certificate, err := first.Renew(t.Context(), second.ID(), request)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Present(certificate); err == nil {
		t.Error("a node shows the certificate of another")
	}
	if err := second.Present(certificate); err != nil {
		t.Fatal(err)
	}
	after, _ := second.identity.now()
	saved, err := second.folder.Credentials()
	if err != nil {
		t.Fatal(err)
	}
	serial := first.Cluster().State().Nodes[second.ID()].Serial
	if after.Serial() == before.Serial() || saved.Serial() != after.Serial() || serial != after.Serial() {
		t.Errorf("number before %s, shown %s, saved %s, agreed %s", before.Serial(), after.Serial(), saved.Serial(), serial)
	}
	shown, err := second.identity.Certificate()
	if err != nil || !bytes.Equal(shown.Certificate[0], certificate) {
		t.Errorf("the network shows another certificate; %v", err)
	}
}

// A node that is revoked is cut off, and gets no certificate any more.
func TestRevokedIsCutOff(t *testing.T) {
	first, second := pair(t)
	request, err := second.RenewalRequest()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := second.Network().Dial(t.Context(), string(first.ID()), transport.ClassCall)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := first.Cluster().Propose(t.Context(), cluster.Revoke(second.ID(), "", time.Now().Unix())); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	var frame transport.Frame
	if err := conn.Recv(&frame); err == nil || errors.Is(err, transport.ErrDeadline) {
		t.Errorf("a connection of a revoked node: %v", err)
	}
	if _, err := second.Network().Dial(t.Context(), string(first.ID()), transport.ClassCall); err == nil {
		t.Error("a revoked node could connect again")
	}
	if _, err := first.Renew(t.Context(), second.ID(), request); !errors.Is(err, trust.ErrRevoked) {
		t.Errorf("a revoked node renewed: %v", err)
	}
	if phase := first.Cluster().State().Nodes[second.ID()].Phase; phase != cluster.Gone {
		t.Errorf("phase %s", phase)
	}
}

// Gossip keys and roots change in three steps while both nodes run and follow.
func TestKeysChange(t *testing.T) {
	first, second := pair(t)
	ca, err := trust.NewCA(first.known.Cluster, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	key, err := trust.NewGossipKey()
	if err != nil {
		t.Fatal(err)
	}
	change := func(step func(keys trust.Keys) trust.Keys) {
		t.Helper()
		keys := *first.Cluster().State().Keys
		keys.Keys = step(keys.Keys)
		if _, err := first.Cluster().Propose(t.Context(), cluster.PutKeys(keys)); err != nil {
			t.Fatal(err)
		}
		for _, m := range []*Member{first, second} {
			deadline := time.After(10 * time.Second)
			for {
				ring, err := m.folder.Gossip()
				saved, other := m.folder.Credentials()
				if err == nil && other == nil && sameRing(ring, keys.Gossip) && sameRing(saved.Bundle.Raw(), keys.Roots) {
					break
				}
				select {
				case <-time.After(20 * time.Millisecond):
				case <-deadline:
					t.Fatal("keys are not followed")
				}
			}
		}
	}
	old := first.Cluster().State().Keys.Gossip[0]
	change(func(k trust.Keys) trust.Keys {
		return trust.Keys{Roots: k.Roots.Install(ca.Root.Raw), Gossip: k.Gossip.Install(key)}
	})
	if second.RenewAt().IsZero() {
		t.Error("renewal is due before the new root is used")
	}
	change(func(k trust.Keys) trust.Keys {
		return trust.Keys{Roots: k.Roots.Use(ca.Root.Raw), Gossip: k.Gossip.Use(key)}
	})
	if !second.RenewAt().IsZero() {
		t.Error("no renewal is due though another root is used")
	}
	request, err := second.RenewalRequest()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := first.Renew(t.Context(), second.ID(), request); !errors.Is(err, ErrNoRoot) {
		t.Errorf("renewed with a root that is not used any more: %v", err)
	}
	change(func(k trust.Keys) trust.Keys { return trust.Keys{Roots: k.Roots, Gossip: k.Gossip.Remove(old)} })
	if keys := second.Members().Keys(); len(keys) != 1 || !bytes.Equal(keys[0], key) {
		t.Errorf("gossip has %d keys", len(keys))
	}
	until(t, "gossip goes on", second, func(*cluster.State) bool { return len(second.Members().Alive()) == 2 })
}
