package checkpoint

import (
	"bytes"
	"fmt"
	"io"
	"strings"
)

// readTorch lists the tensors of a torch zip archive: the pickle NAME/data.pkl describes
// them and the entries NAME/data/KEY hold their storages. Notes tell of what was left out.
func readTorch(file *weightFile) (tensors []*stored, notes []string, err error) {
	tensors, notes, err = parseTorch(file.file, file.size)
	for _, tensor := range tensors {
		tensor.file = file
	}
	return tensors, notes, inFile(file.name, err)
}

// parseTorch does the work of readTorch on any bytes.
func parseTorch(file io.ReaderAt, size int64) (tensors []*stored, notes []string, err error) {
	if err := checkTorchStart(file, size); err != nil {
		return nil, nil, err
	}
	entries, err := readZip(file, size)
	if err != nil {
		return nil, nil, err
	}
	folder, err := torchFolder(entries)
	if err != nil {
		return nil, nil, err
	}
	if err := checkByteOrder(file, entries[folder+"byteorder"]); err != nil {
		return nil, nil, err
	}
	entry := entries[folder+"data.pkl"]
	if entry.size > pickleBytesMax {
		return nil, nil, fmt.Errorf("%w: data.pkl of %d bytes, at most %d", ErrLimit, entry.size, pickleBytesMax)
	}
	code := make([]byte, entry.size)
	if _, err := file.ReadAt(code, entry.offset); err != nil && err != io.EOF {
		return nil, nil, fmt.Errorf("data.pkl: %w: %w", ErrFormat, err)
	}
	value, err := runPickle(code)
	if err != nil {
		return nil, nil, fmt.Errorf("data.pkl: %w", err)
	}
	return placeTensors(value, func(key string) (zipEntry, bool) {
		entry, ok := entries[folder+"data/"+key]
		return entry, ok
	})
}

// Beginnings of files that are often taken for torch zip archives.
var (
	legacyTorchStart = []byte("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19")
	pointerStart     = []byte("version https://git-lfs")
)

// checkTorchStart recognises an archive by its first bytes and says what else it may be.
func checkTorchStart(file io.ReaderAt, size int64) error {
	start := make([]byte, min(size, 32))
	if _, err := file.ReadAt(start, 0); err != nil && err != io.EOF {
		return fmt.Errorf("%w: %w", ErrFormat, err)
	}
	switch {
	case bytes.HasPrefix(start, []byte(zipLocalMark)):
		return nil
	case bytes.HasPrefix(start, legacyTorchStart):
		return fmt.Errorf("%w: written in torch's format before 1.6; load and save it again with a newer torch", ErrUnsupported)
	case bytes.HasPrefix(start, pointerStart):
		return fmt.Errorf("%w: a Git LFS pointer, not the weights: fetch them with git lfs pull", ErrFormat)
	}
	return fmt.Errorf("%w: not a zip archive as torch.save writes it", ErrFormat)
}

// torchFolder finds the one folder of the archive that has a data.pkl.
func torchFolder(entries map[string]zipEntry) (string, error) {
	var folder string
	found := 0
	for name := range entries {
		top, rest, ok := strings.Cut(name, "/")
		if ok && rest == "data.pkl" {
			folder = top + "/"
			found++
		}
	}
	if found != 1 {
		return "", fmt.Errorf("%w: %d entries called data.pkl, want one", ErrFormat, found)
	}
	if _, scripted := entries[folder+"constants.pkl"]; scripted {
		return "", fmt.Errorf("%w: a TorchScript program, not a state dictionary", ErrUnsupported)
	}
	return folder, nil
}

// checkByteOrder refuses storages written on a big-endian machine. Older archives do not
// say and are little-endian; so is an absent entry, whose size is 0.
func checkByteOrder(file io.ReaderAt, entry zipEntry) error {
	if entry.size == 0 {
		return nil
	}
	text := make([]byte, min(entry.size, 16))
	if _, err := file.ReadAt(text, entry.offset); err != nil && err != io.EOF {
		return fmt.Errorf("byteorder: %w: %w", ErrFormat, err)
	}
	if order := strings.TrimSpace(string(text)); order != "little" {
		return fmt.Errorf("byteorder: %w: byte order %s, want little", ErrUnsupported, show(order))
	}
	return nil
}

// placeTensors walks the state dictionary and ties each tensor's storage to its entry.
func placeTensors(value any, entry func(key string) (zipEntry, bool)) (tensors []*stored, notes []string, err error) {
	dict, ok := value.(*pickleDict)
	if !ok {
		return nil, nil, fmt.Errorf("data.pkl: %w: not a dictionary of tensors", ErrFormat)
	}
	seen := make(map[string]bool)
	odd, first := 0, ""
	for i, key := range dict.keys {
		name, ok := key.(string)
		if !ok {
			return nil, nil, fmt.Errorf("data.pkl: %w: entry %d of the dictionary has no name", ErrFormat, i)
		}
		if err := checkName(name, seen); err != nil {
			return nil, nil, fmt.Errorf("data.pkl: %w", err)
		}
		view, ok := dict.values[i].(*pickleTensor)
		if !ok {
			if odd++; odd == 1 {
				first = name
			}
			continue
		}
		tensor, err := placeTensor(name, view, entry)
		if err != nil {
			return nil, nil, fmt.Errorf("tensor %s: %w", show(name), err)
		}
		tensors = append(tensors, tensor)
	}
	if odd > 0 {
		notes = append(notes, fmt.Sprintf("%d entries that are not tensors are ignored, such as %s", odd, show(first)))
	}
	return tensors, notes, nil
}

// placeTensor finds where a tensor's elements start in the file.
func placeTensor(name string, view *pickleTensor, entry func(key string) (zipEntry, bool)) (*stored, error) {
	storage := view.storage
	place, ok := entry(storage.key)
	if !ok {
		return nil, fmt.Errorf("%w: its storage %s is not in the archive", ErrFormat, show("data/"+storage.key))
	}
	if want := storage.elements * storage.dtype.size(); place.size != want {
		return nil, fmt.Errorf("%w: its storage %s has %d bytes, want %d for %d elements of %s", ErrFormat,
			show("data/"+storage.key), place.size, want, storage.elements, storage.dtype)
	}
	return &stored{
		name: name, dtype: storage.dtype, shape: view.shape, stride: view.stride,
		offset: place.offset + view.offset*storage.dtype.size(), room: storage.elements,
	}, nil
}

// checkName refuses names of tensors that are absurd or were there before, and too many.
func checkName(name string, seen map[string]bool) error {
	if name == "" || len(name) > nameBytesMax {
		return fmt.Errorf("%w: a tensor's name of %d bytes, want 1 to %d", ErrLimit, len(name), nameBytesMax)
	}
	if seen[name] {
		return fmt.Errorf("%w: tensor %s occurs twice", ErrFormat, show(name))
	}
	if len(seen) >= tensorsMax {
		return fmt.Errorf("%w: more than %d tensors", ErrLimit, tensorsMax)
	}
	seen[name] = true
	return nil
}
