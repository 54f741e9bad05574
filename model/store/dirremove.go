package store

import (
	"errors"
	"fmt"
	"io/fs"
)

// Remove takes a name away, and the model's file too once no name is left for it. A digest, or the beginning of one,
// takes the file and all its names. It gives the digest of the file that was removed, or zero if there was none to
// remove. Models that are open stay usable.
func (d *Dir) Remove(ref string) (Hash, error) {
	var removed Hash
	err := d.locked(func() error {
		digest, names, err := d.refers(ref)
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := d.root.Remove(nameFolder + "/" + name); err != nil {
				return fmt.Errorf("remove model %s: %w", ref, err)
			}
		}
		if digest != nil {
			removed, err = d.removeUnnamed(*digest)
		}
		return err
	})
	return removed, err
}

// refers finds what Remove has to take away: a name, which may be damaged and so without a digest, or all names of a
// digest.
func (d *Dir) refers(ref string) (*Hash, []string, error) {
	name, digest, err := d.find(ref)
	if name != "" && errors.Is(err, ErrCorrupt) {
		return nil, []string{name}, nil
	}
	if err != nil {
		return nil, nil, err
	}
	if name != "" {
		return &digest, []string{name}, nil
	}
	all, err := d.names()
	if err != nil {
		return nil, nil, err
	}
	var names []string
	for name, to := range all {
		if to.err == nil && to.digest == digest {
			names = append(names, name)
		}
	}
	return &digest, names, nil
}

// removeUnnamed removes the file of a digest if no name points to it any more. The folder is locked.
func (d *Dir) removeUnnamed(digest Hash) (Hash, error) {
	names, err := d.names()
	if err != nil {
		return Hash{}, err
	}
	for _, other := range names {
		if other.err == nil && other.digest == digest {
			return Hash{}, nil
		}
	}
	err = d.root.Remove(blobName(digest))
	if errors.Is(err, fs.ErrNotExist) {
		return Hash{}, nil
	}
	if err != nil {
		return Hash{}, fmt.Errorf("remove model %s: %w", digest, err)
	}
	return digest, d.removeRecord(digest)
}
