package trust

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// The files of a folder. Those that hold a secret are open to their owner only; each is written whole or not at all.
const (
	fileKey    = "node.key"    // the node's private key: who it is
	fileChain  = "node.crt"    // its certificate and the root that signed it
	fileBundle = "roots.crt"   // the roots that it trusts
	fileGossip = "gossip.key"  // the gossip keys, for a start before the agreed state is there
	fileCA     = "ca.pem"      // root and private key of the cluster; on nodes that may vote
	fileNextCA = "ca-next.pem" // the ones that take their place, while the cluster changes its root
)

// Folder is where a node keeps its keys and certificates.
type Folder struct {
	dir string
}

// OpenFolder opens the folder and makes it if it is not there.
func OpenFolder(dir string) (*Folder, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open folder of keys: %w: %w; name another with --state", ErrKeyFile, err)
	}
	return &Folder{dir: dir}, nil
}

// Identity is the node's key pair; at the first call it is made.
func (f *Folder) Identity() (*Identity, error) {
	data, err := f.read(fileKey)
	if errors.Is(err, ErrNone) {
		return f.newIdentity()
	}
	if err != nil {
		return nil, err
	}
	key, err := parseKey(data)
	if err != nil {
		return nil, f.damaged(fileKey, err)
	}
	return identityOf(key)
}

// newIdentity refuses where a certificate is left of another key: a node must not turn into another one unnoticed.
func (f *Folder) newIdentity() (*Identity, error) {
	if _, err := f.read(fileChain); !errors.Is(err, ErrNone) {
		return nil, f.damaged(fileKey, errors.Join(errors.New("the key is missing, its certificate is there"), err))
	}
	identity, err := NewIdentity()
	if err != nil {
		return nil, err
	}
	data, err := keyPEM(identity.key)
	if err != nil {
		return nil, err
	}
	if err := f.write(fileKey, data); err != nil {
		return nil, err
	}
	return identity, nil
}

// SaveCredentials keeps certificate and roots for the next start. The private key is in its own file since Identity.
func (f *Folder) SaveCredentials(c *Credentials) error {
	if err := f.write(fileBundle, c.Bundle.PEM()); err != nil {
		return err
	}
	return f.write(fileChain, certificatePEM(c.Leaf.Raw, c.Issuer.Raw))
}

// Credentials are those that were saved last; ErrNone if the node never joined. Whether they are still good is for Verify to say.
func (f *Folder) Credentials() (*Credentials, error) {
	chain, err := f.read(fileChain)
	if err != nil {
		return nil, err
	}
	roots, err := f.read(fileBundle)
	if err != nil {
		return nil, err
	}
	identity, err := f.Identity()
	if err != nil {
		return nil, err
	}
	raw, err := parseChain(chain)
	if err != nil {
		return nil, f.damaged(fileChain, err)
	}
	bundle, err := ParseBundle(roots)
	if err != nil {
		return nil, f.damaged(fileBundle, err)
	}
	c, err := NewCredentials(identity, raw[0], bundle)
	if err != nil {
		return nil, f.damaged(fileChain, err)
	}
	return c, nil
}

// SaveGossip keeps the gossip keys, the used one first, so that a node can call the others before it has the agreed state again.
func (f *Folder) SaveGossip(ring Ring) error {
	var out bytes.Buffer
	for _, key := range ring {
		if err := pem.Encode(&out, &pem.Block{Type: pemGossip, Bytes: key}); err != nil {
			return fmt.Errorf("encode gossip keys: %w", err)
		}
	}
	return f.write(fileGossip, out.Bytes())
}

// Gossip is the ring that was saved last; ErrNone if there is none.
func (f *Folder) Gossip() (Ring, error) {
	data, err := f.read(fileGossip)
	if err != nil {
		return nil, err
	}
	var ring Ring
	for len(bytes.TrimSpace(data)) > 0 {
		var block *pem.Block
		block, data = pem.Decode(data)
		if block == nil || block.Type != pemGossip {
			return nil, f.damaged(fileGossip, errors.New("want gossip keys in PEM"))
		}
		ring = append(ring, block.Bytes)
	}
	if err := checkGossip(ring); err != nil {
		return nil, f.damaged(fileGossip, err)
	}
	return ring, nil
}

// SaveCA keeps the cluster's root with its private key.
func (f *Folder) SaveCA(ca *CA) error { return f.saveCA(fileCA, ca) }

// SaveNextCA keeps the root that the cluster is about to use, beside the one that it has.
func (f *Folder) SaveNextCA(ca *CA) error { return f.saveCA(fileNextCA, ca) }

func (f *Folder) saveCA(name string, ca *CA) error {
	data, err := ca.PEM()
	if err != nil {
		return err
	}
	return f.write(name, data)
}

// CA is the one that was saved last; ErrNone on a node that has none.
func (f *Folder) CA() (*CA, error) { return f.readCA(fileCA) }

// NextCA is the one that SaveNextCA saved last; ErrNone where no change of root is under way.
func (f *Folder) NextCA() (*CA, error) { return f.readCA(fileNextCA) }

func (f *Folder) readCA(name string) (*CA, error) {
	data, err := f.read(name)
	if err != nil {
		return nil, err
	}
	ca, err := ParseCA(data)
	if err != nil {
		return nil, f.damaged(name, err)
	}
	return ca, nil
}

// RemoveCA forgets the cluster's private keys, on a node that may not vote any more.
func (f *Folder) RemoveCA() error { return errors.Join(f.removeCA(fileCA), f.RemoveNextCA()) }

// RemoveNextCA forgets the root that SaveNextCA saved.
func (f *Folder) RemoveNextCA() error { return f.removeCA(fileNextCA) }

func (f *Folder) removeCA(name string) error {
	if err := os.Remove(filepath.Join(f.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove CA: %w", err)
	}
	return nil
}

// read takes a file that nobody else can have written or, if it holds a secret, read.
func (f *Folder) read(name string) ([]byte, error) {
	path := filepath.Join(f.dir, name)
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read %s: %w", path, ErrNone)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w: %w", path, ErrKeyFile, err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w: %w", path, ErrKeyFile, err)
	}
	if open := info.Mode().Perm() & 0o077; open != 0 && runtime.GOOS != "windows" { // there modes say nothing
		return nil, fmt.Errorf("read %s: %w: mode %04o lets other users at it; if none of them is a stranger, run `chmod 600 %s`", path, ErrKeyFile, info.Mode().Perm(), path)
	}
	data, err := io.ReadAll(io.LimitReader(file, PEMMax+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w: %w", path, ErrKeyFile, err)
	}
	if len(data) > PEMMax {
		return nil, fmt.Errorf("read %s: %w: more than %d bytes", path, ErrKeyFile, PEMMax)
	}
	return data, nil
}

// write replaces a file at once: after a crash there is the old one or the new one.
func (f *Folder) write(name string, data []byte) (err error) {
	path := filepath.Join(f.dir, name)
	defer func() {
		if err != nil {
			err = fmt.Errorf("write %s: %w: %w", path, ErrKeyFile, err)
		}
	}()
	file, err := os.CreateTemp(f.dir, name+".*.tmp") // of mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = file.Close()
			_ = os.Remove(file.Name())
		}
	}()
	if _, err = file.Write(data); err != nil {
		return err
	}
	if err = file.Sync(); err != nil {
		return err
	}
	if err = file.Close(); err != nil {
		return err
	}
	if err = os.Rename(file.Name(), path); err != nil {
		return err
	}
	return f.syncDir()
}

// syncDir makes a renaming last. Windows cannot and need not.
func (f *Folder) syncDir() error {
	if runtime.GOOS == "windows" {
		return nil
	}
	dir, err := os.Open(f.dir)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func (f *Folder) damaged(name string, err error) error {
	path := filepath.Join(f.dir, name)
	return fmt.Errorf("read %s: %w: %w; restore it from a copy, or move the folder away and join again as a new node", path, ErrKeyFile, err)
}
