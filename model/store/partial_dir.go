package store

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

const recordSuffix = ".have"

// recordName is where the record of a partial model lies.
func recordName(digest Hash) string {
	return strings.TrimSuffix(blobName(digest), blobSuffix) + recordSuffix
}

// Description is everything of a packed model but its tensors, as one node gives it to another.
type Description struct {
	Manifest  []byte // whose SHA-256 is the model's digest
	Hashes    []byte // of all units, in the order of their numbers
	Tokenizer []byte
}

// Check compares the description with a digest and gives the manifest. Errors wrap ErrCorrupt.
func (d *Description) Check(digest Hash) (*Manifest, error) {
	m, err := CheckManifest(digest, d.Manifest)
	if err != nil {
		return nil, err
	}
	if want := m.HashesBytes(); int64(len(d.Hashes)) != want {
		return nil, fmt.Errorf("check model %s: %w: hashes of %d bytes, want %d", digest, ErrCorrupt, len(d.Hashes), want)
	}
	list := d.Hashes
	for i := range m.Tensors {
		n := m.Tensors[i].Units * sha256.Size
		if err := m.Tensors[i].CheckHashes(list[:n]); err != nil {
			return nil, err
		}
		list = list[n:]
	}
	if blobOf(d.Tokenizer) != m.Tokenizer {
		return nil, fmt.Errorf("check model %s: %w: tokenizer does not match its hash", digest, ErrCorrupt)
	}
	return m, nil
}

// CheckManifest compares the bytes of a manifest with the model's digest and reads them. Errors wrap ErrCorrupt.
func CheckManifest(digest Hash, data []byte) (*Manifest, error) {
	if len(data) > manifestMax || sha256.Sum256(data) != digest {
		return nil, fmt.Errorf("check model %s: %w: manifest does not match its hash", digest, ErrCorrupt)
	}
	m, err := decodeManifest(data)
	if err != nil {
		return nil, fmt.Errorf("check model %s: %w: %w", digest, ErrCorrupt, err)
	}
	return m, nil
}

// HashesBytes is the size of the hashes of all units.
func (m *Manifest) HashesBytes() int64 { return unitCount(m.Tensors) * sha256.Size }

// CreatePartial makes a model without any unit in the folder and opens it, or opens it as it is if it is there.
func (d *Dir) CreatePartial(digest Hash, from Description) (*Partial, error) {
	m, err := from.Check(digest)
	if err != nil {
		return nil, err
	}
	if !d.hasBlob(digest) {
		if err := d.createPartial(digest, m, from); err != nil {
			return nil, fmt.Errorf("create model %s: %w", digest, err)
		}
	}
	return d.OpenPartial(digest)
}

// createPartial writes the file with a hole for data, and gives it its name once its record is there.
func (d *Dir) createPartial(digest Hash, m *Manifest, from Description) error {
	if !mapsShared {
		return fmt.Errorf("%w: no file can grow under its readers on this system", errors.ErrUnsupported)
	}
	partial, err := d.newPartial()
	if err != nil {
		return err
	}
	err = writeAround(partial.file, digest, m, from)
	if err == nil {
		err = d.locked(func() error { return d.publishPartial(partial, digest, int(unitCount(m.Tensors))) })
	}
	return errors.Join(err, partial.discard(d.root))
}

// writeAround writes everything but the tensors.
func writeAround(f *os.File, digest Hash, m *Manifest, from Description) error {
	s := sections(m, int64(len(from.Manifest)))
	h := header{data: s[0], hashes: s[1], tokenizer: s[2], manifest: s[3], fileSize: s[3].end(), digest: digest}
	if err := makeSparse(f); err != nil {
		return err
	}
	for _, part := range []struct {
		at   int64
		data []byte
	}{{0, h.encode()}, {h.hashes.offset, from.Hashes}, {h.tokenizer.offset, from.Tokenizer}, {h.manifest.offset, from.Manifest}} {
		if _, err := f.WriteAt(part.data, part.at); err != nil {
			return spaceError(err)
		}
	}
	return spaceError(f.Sync())
}

// publishPartial gives a model without units its place. The folder is locked. The record comes first: a model without one is whole.
func (d *Dir) publishPartial(partial *partialFile, digest Hash, units int) error {
	if d.hasBlob(digest) {
		return nil // somebody else was faster
	}
	if err := partial.file.Close(); err != nil {
		return err
	}
	if err := d.root.Remove(recordName(digest)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	record, err := d.root.OpenFile(recordName(digest), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return spaceError(err)
	}
	err = writeRecord(record, digest, 1, NewUnitSet(units))
	if err = errors.Join(err, record.Close()); err != nil {
		return err
	}
	if err := syncFolders(d.root, blobFolder); err != nil {
		return err
	}
	if err := d.root.Rename(partial.name, blobName(digest)); err != nil {
		return err
	}
	return syncFolders(d.root, blobFolder)
}

// OpenPartial opens a partial model to put units into it. The error wraps ErrNotFound, ErrWhole if nothing is missing, ErrBusy if
// it is open already, or ErrCorrupt.
func (d *Dir) OpenPartial(digest Hash) (*Partial, error) {
	var file, record *os.File
	err := d.locked(func() (err error) {
		file, record, err = d.openPartial(digest)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open model %s: %w", digest, err)
	}
	p := &Partial{dir: d, digest: digest, file: file, record: record}
	if err := p.load(file); err != nil {
		return nil, errors.Join(fmt.Errorf("open model %s: %w", digest, err), p.abandon())
	}
	return p, nil
}

// openPartial opens the two files of a partial model and locks the record. The folder is locked.
func (d *Dir) openPartial(digest Hash) (file, record *os.File, err error) {
	file, err = d.root.OpenFile(blobName(digest), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, ErrNotFound
	}
	if err != nil {
		return nil, nil, err
	}
	record, err = d.root.OpenFile(recordName(digest), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, errors.Join(ErrWhole, file.Close())
	}
	if err != nil {
		return nil, nil, errors.Join(err, file.Close())
	}
	free, err := lockWhole(record, false)
	if err == nil && !free {
		err = ErrBusy
	}
	if err != nil {
		return nil, nil, errors.Join(err, file.Close(), record.Close())
	}
	return file, record, nil
}

// load reads the description and the record.
func (p *Partial) load(file *os.File) error {
	m, digest, err := manifestOf(file.Name(), file)
	if err != nil {
		return err
	}
	if digest != p.digest {
		return wrongDigest(file.Name(), digest)
	}
	p.manifest, p.units = m, NumberUnits(m)
	p.hashes = make([]byte, m.HashesBytes())
	at := sections(m, 0)[1].offset
	if _, err := file.ReadAt(p.hashes, at); err != nil {
		return err
	}
	list := p.hashes
	for i := range m.Tensors {
		n := m.Tensors[i].Units * sha256.Size
		if m.Tensors[i].CheckHashes(list[:n]) != nil {
			return &CorruptError{File: file.Name(), Tensor: m.Tensors[i].Name, Offset: at, Reason: "list of hashes does not match the manifest"}
		}
		list = list[n:]
	}
	p.sequence, p.recorded = readRecord(p.record, digest, p.units.Count())
	p.held = p.recorded.clone()
	p.present.Store(p.units.Bytes(p.held))
	return nil
}

// openDigest opens the model of a digest, whole or in part.
func (d *Dir) openDigest(digest Hash) (*Model, error) {
	var f, record *os.File
	err := d.locked(func() (err error) { // so that the two belong together
		if f, err = d.openBlob(digest); err != nil {
			return err
		}
		if record, err = d.openRecord(digest); err != nil {
			return errors.Join(fmt.Errorf("open model: %w", err), f.Close())
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	m, err := openFiles(f.Name(), f, record)
	if err != nil {
		return nil, err
	}
	if m.Digest() != digest {
		return nil, errors.Join(wrongDigest(f.Name(), m.Digest()), m.Close())
	}
	return m, nil
}

// openRecord opens the record of a model for reading, or gives nothing if there is none.
func (d *Dir) openRecord(digest Hash) (*os.File, error) {
	f, err := d.root.Open(recordName(digest))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return f, err
}

// measure tells how many bytes of a model's tensors are here, and how many there are.
func (d *Dir) measure(m *Manifest, digest Hash) (here, total int64, err error) {
	total = tensorBytes(m)
	record, err := d.openRecord(digest)
	if err != nil || record == nil {
		return total, total, err
	}
	defer record.Close()
	units := NumberUnits(m)
	_, set := readRecord(record, digest, units.Count())
	return units.Bytes(set), total, nil
}

// removeRecord removes the record of a model, if there is one. The model itself must be whole or gone by then: the folder is synced
// first, so that a power cut cannot leave holes without a record.
func (d *Dir) removeRecord(digest Hash) error {
	if _, err := d.root.Stat(recordName(digest)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := syncFolders(d.root, blobFolder); err != nil {
		return fmt.Errorf("remove record of model %s: %w", digest, err)
	}
	if err := d.root.Remove(recordName(digest)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove record of model %s: %w", digest, err)
	}
	return nil
}

// sweepRecords removes records without a model, which an interrupted Remove or CreatePartial left. The folder is locked.
func (d *Dir) sweepRecords(files []fs.DirEntry) error {
	for _, file := range files {
		text, ok := strings.CutSuffix(strings.TrimPrefix(file.Name(), blobPrefix), recordSuffix)
		var digest Hash
		if !ok || digest.UnmarshalText([]byte(text)) != nil || d.hasBlob(digest) {
			continue
		}
		if err := d.removeRecord(digest); err != nil {
			return err
		}
	}
	return nil
}
