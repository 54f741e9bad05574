package store

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// readName reads what a name points to.
func (d *Dir) readName(name string) (Hash, error) {
	if err := CheckName(name); err != nil {
		return Hash{}, err
	}
	text, err := d.root.ReadFile(nameFolder + "/" + name)
	if errors.Is(err, fs.ErrNotExist) {
		return Hash{}, fmt.Errorf("model %s: %w", name, ErrNotFound)
	}
	if err != nil {
		return Hash{}, fmt.Errorf("read name %s: %w", name, err)
	}
	var digest Hash
	hex, ok := strings.CutPrefix(strings.TrimSuffix(string(text), "\n"), blobPrefix)
	if !ok || digest.UnmarshalText([]byte(hex)) != nil {
		return Hash{}, fmt.Errorf("read name %s: %w: file %s holds no digest", name, ErrCorrupt, nameFolder+"/"+name)
	}
	return digest, nil
}

// writeName points a name to a digest, at once or not at all.
func (d *Dir) writeName(name string, digest Hash) error {
	temp := nameFolder + "/" + tempPrefix + rand.Text()
	err := d.root.WriteFile(temp, []byte(blobPrefix+digest.String()+"\n"), 0o644)
	if err == nil {
		err = d.root.Rename(temp, nameFolder+"/"+name)
	}
	if err != nil {
		_ = d.root.Remove(temp)
		return fmt.Errorf("write name %s: %w", name, spaceError(err))
	}
	return nil
}

// sweepNames removes names that a process was just writing when it ended. The folder must be locked.
func (d *Dir) sweepNames() error {
	files, err := fs.ReadDir(d.root.FS(), nameFolder)
	if err != nil {
		return fmt.Errorf("clean store %s: %w", d.path, err)
	}
	for _, file := range files {
		if strings.HasPrefix(file.Name(), tempPrefix) {
			if err := d.root.Remove(nameFolder + "/" + file.Name()); err != nil {
				return fmt.Errorf("clean store %s: %w", d.path, err)
			}
		}
	}
	return nil
}

// target is what a name points to, or why that cannot be read.
type target struct {
	digest Hash
	err    error
}

// names reads all names.
func (d *Dir) names() (map[string]target, error) {
	files, err := fs.ReadDir(d.root.FS(), nameFolder)
	if err != nil {
		return nil, fmt.Errorf("list store %s: %w", d.path, err)
	}
	names := make(map[string]target, len(files))
	for _, file := range files {
		if CheckName(file.Name()) == nil {
			digest, err := d.readName(file.Name())
			names[file.Name()] = target{digest, err}
		}
	}
	return names, nil
}

// blobs lists the digests of all files.
func (d *Dir) blobs() ([]Hash, error) {
	files, err := fs.ReadDir(d.root.FS(), blobFolder)
	if err != nil {
		return nil, fmt.Errorf("list store %s: %w", d.path, err)
	}
	var digests []Hash
	for _, file := range files {
		text, isBlob := strings.CutPrefix(strings.TrimSuffix(file.Name(), blobSuffix), blobPrefix)
		var digest Hash
		if isBlob && digest.UnmarshalText([]byte(text)) == nil && blobName(digest) == blobFolder+"/"+file.Name() {
			digests = append(digests, digest)
		}
	}
	return digests, nil
}
