package trust

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"slices"
)

// Ring is keys of which the first is used and all are accepted. A key is changed in three steps, each of them agreed on by all
// before the next: install [old new], use [new old], remove [new]. Gossip keys and the roots of certificates both change so.
type Ring [][]byte

// GossipKeysMax is how many keys a ring for gossip holds.
const GossipKeysMax = 3

// GossipKeyBytes is the length of a gossip key (AES-256).
const GossipKeyBytes = 32

// NewGossipKey makes a key for gossip.
func NewGossipKey() ([]byte, error) {
	key := make([]byte, GossipKeyBytes)
	if _, err := rand.Read(key); err != nil {
		return nil, fmt.Errorf("make gossip key: %w", err)
	}
	return key, nil
}

// Install accepts one more key.
func (r Ring) Install(key []byte) Ring {
	return append(slices.Clone(r), key)
}

// Use begins to use a key that is in the ring.
func (r Ring) Use(key []byte) Ring {
	used := Ring{key}
	for _, k := range r {
		if !bytes.Equal(k, key) {
			used = append(used, k)
		}
	}
	return used
}

// Remove accepts a key no longer.
func (r Ring) Remove(key []byte) Ring {
	return slices.DeleteFunc(slices.Clone(r), func(k []byte) bool { return bytes.Equal(k, key) })
}

// Has says whether a key is accepted.
func (r Ring) Has(key []byte) bool {
	return slices.ContainsFunc(r, func(k []byte) bool { return bytes.Equal(k, key) })
}

// Clone is a copy that shares no memory with the ring.
func (r Ring) Clone() Ring {
	if r == nil {
		return nil
	}
	c := make(Ring, len(r))
	for i, key := range r {
		c[i] = bytes.Clone(key)
	}
	return c
}

// Follows checks one step of a change: those who still have the old ring and those who have the new one must understand each
// other, so the key that is used now is accepted before and after, and so is the one that will be used. Anything may follow an empty ring.
func (r Ring) Follows(old Ring) error {
	for i, key := range r {
		if r[:i].Has(key) {
			return fmt.Errorf("%w: the same key twice", ErrKeys)
		}
	}
	if len(r) == 0 {
		return fmt.Errorf("%w: no key is left", ErrKeys)
	}
	if len(old) == 0 {
		return nil
	}
	if !old.Has(r[0]) {
		return fmt.Errorf("%w: a key is used that was not installed before", ErrKeys)
	}
	if !r.Has(old[0]) {
		return fmt.Errorf("%w: a key is removed that is still in use", ErrKeys)
	}
	return nil
}

// Keys are the keys that all nodes share: the roots of their certificates (DER, no secret) and the keys of their gossip, which every
// node of the cluster knows and nobody else.
type Keys struct {
	Roots  Ring `json:"roots"`
	Gossip Ring `json:"gossip"`
}

// Check makes sure that the keys can be used as they are.
func (k Keys) Check() error {
	if err := k.Bounded(); err != nil {
		return err
	}
	_, err := ParseRoots(k.Roots)
	return err
}

// Bounded checks numbers and lengths only: it decides alike in every build of the program, as agreed state needs it.
func (k Keys) Bounded() error {
	if len(k.Roots) < 1 || len(k.Roots) > RootsMax {
		return fmt.Errorf("%w: %d roots, want 1 to %d", ErrKeys, len(k.Roots), RootsMax)
	}
	for _, root := range k.Roots {
		if len(root) < 1 || len(root) > CertificateMax {
			return fmt.Errorf("%w: root of %d bytes, want 1 to %d", ErrKeys, len(root), CertificateMax)
		}
	}
	return checkGossip(k.Gossip)
}

func checkGossip(ring Ring) error {
	if len(ring) < 1 || len(ring) > GossipKeysMax {
		return fmt.Errorf("%w: %d gossip keys, want 1 to %d", ErrKeys, len(ring), GossipKeysMax)
	}
	for _, key := range ring {
		if len(key) != GossipKeyBytes {
			return fmt.Errorf("%w: gossip key of %d bytes, want %d", ErrKeys, len(key), GossipKeyBytes)
		}
	}
	return nil
}

// Follows checks one step of a change, see Ring.Follows.
func (k Keys) Follows(old Keys) error {
	if err := k.Roots.Follows(old.Roots); err != nil {
		return fmt.Errorf("roots: %w", err)
	}
	if err := k.Gossip.Follows(old.Gossip); err != nil {
		return fmt.Errorf("gossip keys: %w", err)
	}
	return nil
}

// Clone is a copy that shares no memory with the keys.
func (k Keys) Clone() Keys { return Keys{Roots: k.Roots.Clone(), Gossip: k.Gossip.Clone()} }
