package store

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Names inside a store folder.
const (
	blobFolder = "blobs" // sha256-<digest>.pn, and import-<random>.partial while one is being written
	nameFolder = "names" // one file a name, which holds the digest
	lockFile   = "lock"  // held while names and blobs change

	blobPrefix    = "sha256-"
	blobSuffix    = ".pn"
	partialPrefix = "import-"
	partialSuffix = ".partial"
	tempPrefix    = ".new-" // of a name that is being written
	digestPrefix  = 6       // digits that are enough to mean a digest
)

// Dir is a folder of packed models: files named after their digests, and names that point to them. Several processes
// may use one folder at once. Nothing outside the folder can be reached through a name. All methods are safe for
// concurrent use.
type Dir struct {
	path string
	root *os.Root
	free func(folder string) (int64, error)
}

// OpenDir opens a store folder, makes it if it does not exist, and removes what interrupted imports left behind.
func OpenDir(path string) (*Dir, error) {
	for _, folder := range []string{blobFolder, nameFolder} {
		if err := os.MkdirAll(filepath.Join(path, folder), 0o755); err != nil {
			return nil, fmt.Errorf("open store: %w", err)
		}
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	d := &Dir{path: path, root: root, free: freeSpace}
	if err := d.locked(d.sweep); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return d, nil
}

// Close gives the folder back. Models that were opened from it stay open.
func (d *Dir) Close() error { return d.root.Close() }

// Path is the folder.
func (d *Dir) Path() string { return d.path }

// CheckName refuses what cannot be the name of a model.
func CheckName(name string) error {
	if !namePattern.MatchString(name) || strings.HasSuffix(name, ".") {
		return fmt.Errorf("model name %q: %w: want 1 to 64 of a-z 0-9 . _ -, a letter or digit first and no dot last", name, ErrName)
	}
	return nil
}

// locked runs f while no other process changes the folder.
func (d *Dir) locked(f func() error) error {
	lock, err := d.root.OpenFile(lockFile, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return fmt.Errorf("lock store %s: %w", d.path, err)
	}
	defer lock.Close() // which unlocks
	if _, err := lockWhole(lock, true); err != nil {
		return fmt.Errorf("lock store %s: %w", d.path, err)
	}
	return f()
}

// sweep removes partial files whose writer is gone: a writer holds a lock on its file for as long as it lives. The
// folder must be locked.
func (d *Dir) sweep() error {
	files, err := fs.ReadDir(d.root.FS(), blobFolder)
	if err != nil {
		return fmt.Errorf("clean store %s: %w", d.path, err)
	}
	if err := d.sweepRecords(files); err != nil {
		return fmt.Errorf("clean store %s: %w", d.path, err)
	}
	for _, file := range files {
		name := blobFolder + "/" + file.Name()
		if !strings.HasPrefix(file.Name(), partialPrefix) || !strings.HasSuffix(file.Name(), partialSuffix) {
			continue
		}
		f, err := d.root.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			continue // its writer just finished, or it is not ours to remove
		}
		free, err := lockWhole(f, false)
		f.Close()
		if err == nil && free {
			if err := d.root.Remove(name); err != nil {
				return fmt.Errorf("clean store %s: %w", d.path, err)
			}
		}
	}
	return d.sweepNames()
}

// blobName is where the model of a digest lies.
func blobName(digest Hash) string {
	return blobFolder + "/" + blobPrefix + digest.String() + blobSuffix
}

func (d *Dir) hasBlob(digest Hash) bool {
	_, err := d.root.Stat(blobName(digest))
	return err == nil
}

// Entry is one model of the folder.
type Entry struct {
	Name     string // empty for a file without a name
	Digest   Hash
	Size     int64
	Present  int64     // bytes of its tensors that are here
	Total    int64     // bytes of its tensors
	Manifest *Manifest // nothing if Err is set
	Err      error     // why the model cannot be used
}

// List gives every name, in order, and behind them the files that have none. A damaged model is listed with its error.
func (d *Dir) List() ([]Entry, error) {
	names, err := d.names()
	if err != nil {
		return nil, err
	}
	digests, err := d.blobs()
	if err != nil {
		return nil, err
	}
	named := make(map[Hash]bool)
	var entries []Entry
	for name, to := range names {
		if to.err != nil {
			entries = append(entries, Entry{Name: name, Err: to.err})
			continue
		}
		named[to.digest] = true
		entries = append(entries, d.entry(name, to.digest))
	}
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	for _, digest := range digests {
		if !named[digest] {
			entries = append(entries, d.entry("", digest))
		}
	}
	return entries, nil
}

// entry describes one model.
func (d *Dir) entry(name string, digest Hash) Entry {
	e := Entry{Name: name, Digest: digest}
	f, err := d.openBlob(digest)
	if err != nil {
		e.Err = err
		return e
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil {
		e.Size = info.Size()
	}
	var found Hash
	e.Manifest, found, e.Err = manifestOf(f.Name(), f)
	if e.Err == nil && found != digest {
		e.Manifest, e.Err = nil, wrongDigest(f.Name(), found)
	}
	if e.Err == nil {
		e.Present, e.Total, e.Err = d.measure(e.Manifest, digest)
	}
	return e
}

func wrongDigest(file string, found Hash) error {
	return &CorruptError{File: file, Offset: 88, Reason: "holds the model " + found.String()}
}

// openBlob opens the file of a digest.
func (d *Dir) openBlob(digest Hash) (*os.File, error) {
	f, err := d.root.Open(blobName(digest))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("model %s: %w", digest, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("open model: %w", err)
	}
	return f, nil
}

// Resolve finds a model by its name, its digest or at least 6 first digits of that. The error wraps ErrNotFound,
// ErrAmbiguous or ErrCorrupt.
func (d *Dir) Resolve(ref string) (Entry, error) {
	name, digest, err := d.find(ref)
	if err != nil {
		return Entry{}, err
	}
	e := d.entry(name, digest)
	return e, e.Err
}

// find is Resolve without a look at the model. The name is empty if ref is a digest.
func (d *Dir) find(ref string) (name string, digest Hash, err error) {
	if CheckName(ref) == nil {
		digest, err := d.readName(ref)
		if !errors.Is(err, ErrNotFound) {
			return ref, digest, err
		}
	}
	digits := strings.TrimPrefix(strings.TrimPrefix(strings.ToLower(ref), blobPrefix), "sha256:")
	if !isDigits(digits) {
		return "", Hash{}, fmt.Errorf("model %q: %w", ref, ErrNotFound)
	}
	digests, err := d.blobs()
	if err != nil {
		return "", Hash{}, err
	}
	digests = slices.DeleteFunc(digests, func(h Hash) bool { return !strings.HasPrefix(h.String(), digits) })
	switch len(digests) {
	case 0:
		return "", Hash{}, fmt.Errorf("model %q: %w", ref, ErrNotFound)
	case 1:
		return "", digests[0], nil
	}
	return "", Hash{}, fmt.Errorf("model %q: %w: fits %d models", ref, ErrAmbiguous, len(digests))
}

// isDigits says whether a text can be the beginning of a digest.
func isDigits(text string) bool {
	if len(text) < digestPrefix || len(text) > hex.EncodedLen(len(Hash{})) {
		return false
	}
	return strings.Trim(text, "0123456789abcdef") == ""
}

// Open opens the model that Resolve finds, whole or in part.
func (d *Dir) Open(ref string) (*Model, error) {
	e, err := d.Resolve(ref)
	if err != nil {
		return nil, err
	}
	return d.openDigest(e.Digest)
}
