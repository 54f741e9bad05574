package store

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"polynode/model"
)

// Rotten reads the units of some pieces again, whatever is known of them, and gives the numbers of those that do not match their hashes or
// cannot be read.
func (m *Model) Rotten(pieces []model.Piece) ([]int, error) {
	numbers, err := m.units.Of(pieces)
	if err != nil {
		return nil, err
	}
	var rotten []int
	h := sha256.New()
	for _, number := range numbers {
		u := m.units.unit(number)
		t := m.tensors[u.Tensor]
		err := m.guard(func() error {
			if err := m.checkList(t); err != nil {
				return err
			}
			return m.checkUnit(t, &u, h)
		})
		switch {
		case errors.Is(err, ErrCorrupt):
			rotten = append(rotten, number)
		case err != nil && !errors.Is(err, ErrMissing):
			return nil, err
		}
	}
	return rotten, nil
}

// Lose writes down that units of a model are not on the disk any more, because they rotted there: they can be fetched again then. Models that
// are open do not notice. The error wraps ErrNotFound, or ErrBusy while the model is being fetched.
func (d *Dir) Lose(digest Hash, numbers []int) error {
	err := d.locked(func() error { return d.lose(digest, numbers) })
	if err != nil {
		return fmt.Errorf("lose parts of model %s: %w", digest, err)
	}
	return nil
}

// lose changes the record of a model, or makes one for a model that was whole. The folder is locked.
func (d *Dir) lose(digest Hash, numbers []int) (err error) {
	f, err := d.openBlob(digest)
	if err != nil {
		return err
	}
	manifest, found, err := manifestOf(f.Name(), f)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if found != digest {
		return wrongDigest(f.Name(), found)
	}
	count := NumberUnits(manifest).Count()
	record, err := d.root.OpenFile(recordName(digest), os.O_RDWR, 0)
	sequence, set := uint64(0), fullUnitSet(count)
	switch {
	case err == nil:
		sequence, set = readRecord(record, digest, count)
	case errors.Is(err, fs.ErrNotExist) && mapsShared:
		record, err = d.root.OpenFile(recordName(digest), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	}
	if err != nil {
		return spaceError(err)
	}
	defer func() { err = errors.Join(err, record.Close()) }()
	if free, err := lockWhole(record, false); err != nil || !free {
		return errors.Join(err, ErrBusy)
	}
	left := NewUnitSet(count)
	for number := range count {
		if set.Has(number) && !slices.Contains(numbers, number) {
			left.Add(number)
		}
	}
	if err := writeRecord(record, digest, sequence+1, left); err != nil {
		return err
	}
	return syncFolders(d.root, blobFolder)
}
