package store

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"polynode/model"
)

// Partial is a packed model of a store folder of which only some units are here. It is laid out as the whole file will be, with
// holes, so what is here can be opened and used while more arrives. One Partial of a model exists at a time, in all
// processes. All methods are safe for concurrent use, except that Close must come after everything else.
type Partial struct {
	dir      *Dir
	digest   Hash
	file     partialData
	record   recordFile // locked
	manifest *Manifest
	units    *Numbering
	hashes   []byte   // of all units, checked
	held     *UnitSet // written to the file
	present  atomic.Int64

	mu       sync.Mutex // held while the record is written
	recorded *UnitSet
	sequence uint64
	broken   error // a sync that failed: nobody knows what is on the disk
}

// partialData is the file with the holes.
type partialData interface {
	sink
	io.Closer
}

// Digest is the identity of the model.
func (p *Partial) Digest() Hash { return p.digest }

// Config describes the model.
func (p *Partial) Config() model.Config { return p.manifest.Config }

// Units counts the units of the model.
func (p *Partial) Units() *Numbering { return p.units }

// Has says whether a unit is here.
func (p *Partial) Has(number int) bool { return p.held.Has(number) }

// Present is the number of bytes of units that are here, and of all.
func (p *Partial) Present() (here, total int64) { return p.present.Load(), tensorBytes(p.manifest) }

// Missing lists the units that the pieces need and that are not here, in the order in which they are needed.
func (p *Partial) Missing(pieces []model.Piece) ([]int, error) {
	numbers, err := p.units.Of(pieces)
	if err != nil {
		return nil, err
	}
	missing := numbers[:0]
	for _, number := range numbers {
		if !p.Has(number) {
			missing = append(missing, number)
		}
	}
	return missing, nil
}

// CheckSpace compares bytes that are to be put with the room on the disk. The error is a SpaceError.
func (p *Partial) CheckSpace(bytes int64) error {
	// Columns of a matrix lie in short runs, and the system gives whole pages.
	return checkSpace(filepath.Join(p.dir.path, blobFolder), bytes+bytes/8, p.dir.free)
}

// Put writes a unit, its runs one after the other, unless it is here. Bytes that are not the unit's give ErrCorrupt, a full disk
// ErrNoSpace; what is here stays usable.
func (p *Partial) Put(number int, data []byte) error {
	u, err := p.units.Unit(number)
	if err != nil {
		return err
	}
	if p.Has(number) {
		return nil
	}
	if int64(len(data)) != u.Size() || sha256.Sum256(data) != [sha256.Size]byte(p.hashes[number*sha256.Size:]) {
		return fmt.Errorf("put tensor %s, rows %v, columns %v: %w", u.Tensor, u.Rows, u.K, ErrCorrupt)
	}
	for s := range int64(u.Segments) {
		if _, err := p.file.WriteAt(data[s*u.Bytes:(s+1)*u.Bytes], u.Offset+s*u.Stride); err != nil {
			return fmt.Errorf("put tensor %s: %w", u.Tensor, spaceError(err))
		}
	}
	if p.held.Add(number) {
		p.present.Add(u.Size())
	}
	return nil
}

// Flush waits until everything that was put is on the disk and then writes that down. A unit that was put after the last Flush
// is forgotten when the process ends.
func (p *Partial) Flush() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.broken != nil {
		return p.broken
	}
	held := p.held.clone() // before the sync, which so covers all of it
	if held.equal(p.recorded) {
		return nil
	}
	if err := p.file.Sync(); err != nil {
		// The system may take the bytes for written the next time.
		p.broken = fmt.Errorf("flush model %s: %w", p.digest, spaceError(err))
		return p.broken
	}
	if err := writeRecord(p.record, p.digest, p.sequence+1, held); err != nil {
		return err
	}
	p.sequence, p.recorded = p.sequence+1, held
	return nil
}

// Open opens what is here, after a Flush. The model gains units that are put and flushed later, also by another Partial.
func (p *Partial) Open() (*Model, error) {
	if err := p.Flush(); err != nil {
		return nil, err
	}
	return p.dir.openDigest(p.digest)
}

// Close flushes, makes the model a whole one if everything is here, and lets go of it.
func (p *Partial) Close() error {
	err := p.Flush()
	if err == nil && p.recorded.Full() {
		err = p.finish()
	}
	return errors.Join(err, p.abandon())
}

// finish removes the record of a model that is whole: the last record already says so.
func (p *Partial) finish() error {
	return p.dir.locked(func() error {
		name := recordName(p.digest)
		mine, err := p.record.Stat()
		if err != nil {
			return err
		}
		// The model may have been removed, or replaced by an import, meanwhile.
		if now, err := p.dir.root.Stat(name); err != nil || !os.SameFile(mine, now) {
			return nil
		}
		_ = p.dir.root.Remove(name) // a system may refuse while somebody has it open: it says that everything is here
		return nil
	})
}

// abandon lets go of the files without a word, as the end of the process does.
func (p *Partial) abandon() error { return errors.Join(p.file.Close(), p.record.Close()) }

// tensorBytes is the size of all tensors.
func tensorBytes(m *Manifest) int64 {
	n := int64(0)
	for i := range m.Tensors {
		n += m.Tensors[i].Bytes
	}
	return n
}
