package checkpoint

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
)

// weightFile is one open file of weights: mapped where the system can map it, read piece
// by piece elsewhere.
type weightFile struct {
	name string // within the folder, for messages
	file *os.File
	size int64
	data []byte // the whole file, or nil where it is read piece by piece
}

// openWeightFile opens a regular, non-empty file of the folder. Headers are parsed through
// its ReadAt; only weights are read through the mapping, which mapWeights sets up.
func openWeightFile(dir, name string) (*weightFile, error) {
	path := filepath.Join(dir, name)
	// Stat comes first: opening a pipe that somebody put there would wait for ever.
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w: the file is missing", name, ErrFolder)
	}
	if err != nil {
		return nil, inFile(name, err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: %w: not a regular file", name, ErrFolder)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, inFile(name, err)
	}
	if info, err = file.Stat(); err != nil {
		file.Close()
		return nil, inFile(name, err)
	}
	if info.Size() == 0 {
		file.Close()
		return nil, fmt.Errorf("%s: %w: the file is empty", name, ErrFormat)
	}
	return &weightFile{name: name, file: file, size: info.Size()}, nil
}

// mapWeights maps the file into memory if the system can; if not, reading stays piecewise.
func (f *weightFile) mapWeights() {
	if data, err := mapFile(f.file, f.size); err == nil {
		f.data = data
	}
}

// view returns n bytes at an offset that lies within the file as it was at Open. Without a
// mapping they are read into scratch, which must hold n bytes.
func (f *weightFile) view(offset int64, n int, scratch []byte) ([]byte, error) {
	if f.data != nil {
		return f.data[offset : offset+int64(n)], nil
	}
	if _, err := f.file.ReadAt(scratch[:n], offset); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("%w: %w", ErrRead, err)
	}
	return scratch[:n], nil
}

// scratch returns room for views of at most n bytes, or nothing where a view needs none.
func (f *weightFile) scratch(n int) []byte {
	if f.data != nil {
		return nil
	}
	return make([]byte, n)
}

// forget gives the pages read so far back to the system; later reads bring them in again.
func (f *weightFile) forget() {
	if f.data != nil {
		forgetPages(f.data)
	}
}

// close ends the mapping and closes the file.
func (f *weightFile) close() error {
	var err error
	if f.data != nil {
		err = unmapFile(f.data)
		f.data = nil
	}
	return inFile(f.name, errors.Join(err, f.file.Close()))
}

// guardFaults runs a function that reads mapped weights. If the file shrank since Open or
// its disk fails, touching the mapping faults; that ends here as an error, not in a crash.
func guardFaults(read func() error) (err error) {
	previous := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(previous)
		switch fault := recover().(type) {
		case nil:
		case interface{ Addr() uintptr }:
			err = fmt.Errorf("%w: the file changed after it was opened, or its disk failed", ErrRead)
		default:
			panic(fault)
		}
	}()
	return read()
}
