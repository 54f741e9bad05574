// Package npy reads the arrays that NumPy saved: .npz files, which are zips of .npy files. It is for tests, which compare
// with what PyTorch computed, and has no place in the walk of a token.
//
// It reads little-endian float32, int32 and int64 in C order, which is all that the fixtures have. Nothing is
// shared between calls.
package npy

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
)

// ErrFormat reports bytes that are not an array of a known kind.
var ErrFormat = errors.New("npy format")

// arrayMax bounds the bytes of one array.
const arrayMax = 1 << 30

// Array is one array, row by row. Exactly one of Floats and Ints is set.
type Array struct {
	Shape  []int
	Floats []float32
	Ints   []int64
}

// ReadFile reads every array of a .npz file by its name.
func ReadFile(path string) (map[string]Array, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	archive, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w: %w", path, ErrFormat, err)
	}
	arrays := make(map[string]Array, len(archive.File))
	for _, file := range archive.File {
		content, err := readEntry(file)
		if err != nil {
			return nil, fmt.Errorf("read %s: %s: %w", path, file.Name, err)
		}
		array, err := Parse(content)
		if err != nil {
			return nil, fmt.Errorf("read %s: %s: %w", path, file.Name, err)
		}
		arrays[strings.TrimSuffix(file.Name, ".npy")] = array
	}
	return arrays, nil
}

func readEntry(file *zip.File) ([]byte, error) {
	r, err := file.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(io.LimitReader(r, arrayMax))
}

// header is the text in front of the numbers.
var header = regexp.MustCompile(`^\{'descr': '(<[fi][48])', 'fortran_order': False, 'shape': \(([0-9, ]*)\), \} *\n$`)

// Parse reads one .npy file.
func Parse(data []byte) (Array, error) {
	if len(data) < 10 || string(data[:7]) != "\x93NUMPY\x01" {
		return Array{}, fmt.Errorf("%w: no version 1 magic", ErrFormat)
	}
	size := 10 + int(binary.LittleEndian.Uint16(data[8:]))
	if size > len(data) {
		return Array{}, fmt.Errorf("%w: header of %d bytes in %d", ErrFormat, size, len(data))
	}
	match := header.FindSubmatch(data[10:size])
	if match == nil {
		return Array{}, fmt.Errorf("%w: header %.100q", ErrFormat, data[10:size])
	}
	shape, count, err := parseShape(string(match[2]))
	if err != nil {
		return Array{}, err
	}
	return decode(string(match[1]), shape, count, data[size:])
}

func parseShape(text string) (shape []int, count int, err error) {
	count = 1
	for dim := range strings.SplitSeq(text, ",") {
		if dim = strings.TrimSpace(dim); dim == "" {
			continue // behind the last comma, or no dimension at all
		}
		n, err := strconv.Atoi(dim)
		if err != nil || n < 0 || n > arrayMax || count*n > arrayMax {
			return nil, 0, fmt.Errorf("%w: shape (%s)", ErrFormat, text)
		}
		shape = append(shape, n)
		count *= n
	}
	return shape, count, nil
}

func decode(kind string, shape []int, count int, data []byte) (Array, error) {
	width := int(kind[2] - '0')
	if len(data) != count*width {
		return Array{}, fmt.Errorf("%w: %d bytes for %d numbers of %d", ErrFormat, len(data), count, width)
	}
	a := Array{Shape: shape}
	switch kind {
	case "<f4":
		a.Floats = make([]float32, count)
		for i := range a.Floats {
			a.Floats[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
		}
	case "<i4":
		a.Ints = make([]int64, count)
		for i := range a.Ints {
			a.Ints[i] = int64(int32(binary.LittleEndian.Uint32(data[4*i:])))
		}
	case "<i8":
		a.Ints = make([]int64, count)
		for i := range a.Ints {
			a.Ints[i] = int64(binary.LittleEndian.Uint64(data[8*i:]))
		}
	default:
		return Array{}, fmt.Errorf("%w: numbers of kind %s", ErrFormat, kind)
	}
	return a, nil
}
