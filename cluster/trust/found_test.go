package trust

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestFound(t *testing.T) {
	f, dir := openFolder(t)
	c, keys, err := Found(f, "c1", now)
	if err != nil {
		t.Fatal(err)
	}
	if err := keys.Check(); err != nil {
		t.Error(err)
	}
	if peer, err := c.Bundle.Verify(c.TLS().Certificate, nil, now); err != nil || peer.ID != c.Identity.ID() || peer.Role != Worker {
		t.Errorf("founder %+v, %v", peer, err)
	}
	kept, err := f.Credentials()
	if err != nil || kept.Serial() != c.Serial() {
		t.Errorf("kept %+v, %v", kept, err)
	}
	// The crash came before the last file: the same node, root and gossip key.
	if err := os.Remove(filepath.Join(dir, fileChain)); err != nil {
		t.Fatal(err)
	}
	again, sameKeys, err := Found(f, "c1", now)
	if err != nil || again.Identity.ID() != c.Identity.ID() || !reflect.DeepEqual(keys, sameKeys) {
		t.Errorf("founded again: %v", err)
	}
	if _, _, err := Found(f, "c2", now); !errors.Is(err, ErrForeign) {
		t.Errorf("another cluster in the same folder: %v", err)
	}
	if err := f.RemoveCA(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Found(f, "c3", now); !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), "joined cluster") {
		t.Errorf("in the folder of a member: %v", err)
	}
	for _, name := range []string{fileKey, fileCA, fileGossip} {
		damaged, dir := openFolder(t)
		if _, _, err := Found(damaged, "c1", now); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte("garbage"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := Found(damaged, "c1", now); !errors.Is(err, ErrKeyFile) || !strings.Contains(err.Error(), name) {
			t.Errorf("with a damaged %s: %v", name, err)
		}
	}
}

func TestFolderKeepsGossip(t *testing.T) {
	f, _ := openFolder(t)
	if _, err := f.Gossip(); !errors.Is(err, ErrNone) {
		t.Errorf("keys of a new node: %v", err)
	}
	a, b := make([]byte, GossipKeyBytes), append(make([]byte, GossipKeyBytes-1), 1)
	for _, ring := range []Ring{{a}, {b, a}} {
		if err := f.SaveGossip(ring); err != nil {
			t.Fatal(err)
		}
		if back, err := f.Gossip(); err != nil || !reflect.DeepEqual(back, ring) {
			t.Errorf("%x came back as %x, %v", ring, back, err)
		}
	}
	for _, ring := range []Ring{nil, {a[1:]}, {a, b, a, b}} {
		if err := f.SaveGossip(ring); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Gossip(); !errors.Is(err, ErrKeyFile) {
			t.Errorf("%d keys: %v", len(ring), err)
		}
	}
}
