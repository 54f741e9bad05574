package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Options says how an import is to be filed.
type Options struct {
	Name     string         // in the folder
	Replace  bool           // let the name leave another model
	Progress func(Progress) // may be nil; told of one thing at a time
}

// Import packs a model into the folder under a name. Until it returns, no name and no blob of the folder has changed,
// and an error or an end of the process leaves nothing that counts as a model. Errors wrap ErrName, ErrExists,
// ErrNoSpace, ErrOptions, ErrWeight or what the weights' source gave.
func (d *Dir) Import(ctx context.Context, weights Weights, spec Spec, opts Options) (Report, error) {
	if err := d.vacant(opts, Hash{}); err != nil {
		return Report{}, err
	}
	manifest, err := spec.plan()
	if err != nil {
		return Report{}, err
	}
	if err := checkSpace(filepath.Join(d.path, blobFolder), manifest.room(), d.free); err != nil {
		return Report{}, err
	}
	partial, err := d.newPartial()
	if err != nil {
		return Report{}, err
	}
	report, err := writeModel(ctx, partial.file, manifest, weights, spec.Tokenizer, opts.Progress)
	if err == nil {
		err = d.locked(func() error { return d.publish(partial, report.Digest, opts) })
	}
	if err != nil {
		return Report{}, errors.Join(fmt.Errorf("import model %s: %w", opts.Name, err), partial.discard(d.root))
	}
	return report, nil
}

// vacant checks that the name may be given to the model of this digest.
func (d *Dir) vacant(opts Options, digest Hash) error {
	if err := CheckName(opts.Name); err != nil {
		return err
	}
	old, err := d.readName(opts.Name)
	if errors.Is(err, ErrNotFound) || opts.Replace || (err == nil && old == digest) {
		return nil
	}
	if err != nil {
		return err
	}
	if digest == (Hash{}) && !d.hasBlob(old) {
		return nil // the name points nowhere
	}
	return fmt.Errorf("model name %s: %w by %s", opts.Name, ErrExists, old.String()[:12])
}

// partialFile is a model that is being written. It is locked.
type partialFile struct {
	name string
	file *os.File
}

// newPartial makes an empty partial file under a name of its own.
func (d *Dir) newPartial() (*partialFile, error) {
	p := &partialFile{name: blobFolder + "/" + partialPrefix + rand.Text() + partialSuffix}
	err := d.locked(func() error { // so that no sweep sees it before it is locked
		f, err := d.root.OpenFile(p.name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
		if err != nil {
			return fmt.Errorf("write model to %s: %w", d.path, spaceError(err))
		}
		p.file = f
		if _, err := lockWhole(f, true); err != nil {
			return errors.Join(fmt.Errorf("lock %s: %w", p.name, err), p.discard(d.root))
		}
		return nil
	})
	return p, err
}

// discard removes the file, if it is still there.
func (p *partialFile) discard(root *os.Root) error {
	p.file.Close()
	if err := root.Remove(p.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// publish gives a finished file its place and its name. The folder is locked. A blob of the same digest is replaced:
// it may have been damaged since.
func (d *Dir) publish(p *partialFile, digest Hash, opts Options) error {
	if err := d.vacant(opts, digest); err != nil {
		return err
	}
	old, oldErr := d.readName(opts.Name)
	if err := p.file.Close(); err != nil {
		return err
	}
	if err := d.root.Rename(p.name, blobName(digest)); err != nil {
		return err
	}
	if err := d.writeName(opts.Name, digest); err != nil {
		return err
	}
	if err := syncFolders(d.root, blobFolder, nameFolder); err != nil {
		return err
	}
	if err := d.removeRecord(digest); err != nil { // of an unfinished fetch, whose place the file took
		return err
	}
	if oldErr == nil && old != digest {
		_, err := d.removeUnnamed(old)
		return err
	}
	return nil
}
