package trust

import (
	"errors"
	"fmt"
	"time"
)

// Found makes all that the first node of a cluster needs and keeps it in the folder: its key, a root, a certificate, and the keys that the
// cluster then agrees on. After a crash in the middle it goes on with what is there; a folder of another cluster gives ErrForeign.
func Found(folder *Folder, cluster string, now time.Time) (*Credentials, Keys, error) {
	identity, err := folder.Identity()
	if err != nil {
		return nil, Keys{}, fmt.Errorf("found cluster: %w", err)
	}
	ca, err := foundCA(folder, cluster, now)
	if err != nil {
		return nil, Keys{}, fmt.Errorf("found cluster: %w", err)
	}
	ring, err := foundGossip(folder)
	if err != nil {
		return nil, Keys{}, fmt.Errorf("found cluster: %w", err)
	}
	credentials, err := firstCredentials(identity, ca, now)
	if err != nil {
		return nil, Keys{}, fmt.Errorf("found cluster: %w", err)
	}
	if err := folder.SaveCredentials(credentials); err != nil {
		return nil, Keys{}, fmt.Errorf("found cluster: %w", err)
	}
	return credentials, Keys{Roots: credentials.Bundle.Raw(), Gossip: ring}, nil
}

func foundCA(folder *Folder, cluster string, now time.Time) (*CA, error) {
	ca, err := folder.CA()
	if err == nil && ca.Cluster() != cluster {
		return nil, fmt.Errorf("%w: the state folder is that of cluster %s", ErrForeign, quoted(ca.Cluster()))
	}
	if !errors.Is(err, ErrNone) {
		return ca, err
	}
	if c, err := folder.Credentials(); err == nil {
		return nil, fmt.Errorf("%w: the node of this state folder joined cluster %s; start it as it is, or name another folder with --state",
			ErrForeign, quoted(clusterOf(c.Issuer.Subject)))
	} else if !errors.Is(err, ErrNone) {
		return nil, err
	}
	if ca, err = NewCA(cluster, now); err != nil {
		return nil, err
	}
	return ca, folder.SaveCA(ca)
}

func foundGossip(folder *Folder) (Ring, error) {
	ring, err := folder.Gossip()
	if !errors.Is(err, ErrNone) {
		return ring, err
	}
	key, err := NewGossipKey()
	if err != nil {
		return nil, err
	}
	return Ring{key}, folder.SaveGossip(Ring{key})
}

// firstCredentials are those that the founder gives itself.
func firstCredentials(identity *Identity, ca *CA, now time.Time) (*Credentials, error) {
	csr, err := identity.Request()
	if err != nil {
		return nil, err
	}
	leaf, err := Issue(ca, csr, Worker, now)
	if err != nil {
		return nil, err
	}
	bundle, err := NewBundle(ca.Root)
	if err != nil {
		return nil, err
	}
	return NewCredentials(identity, leaf.Raw, bundle)
}
