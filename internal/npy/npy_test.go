package npy

import (
	"archive/zip"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// file writes a .npy file as NumPy does.
func file(kind, shape string, numbers []byte) []byte {
	text := fmt.Sprintf("{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", kind, shape)
	text += strings.Repeat(" ", 117-len(text)) + "\n"
	data := append([]byte("\x93NUMPY\x01\x00"), 0, 0)
	binary.LittleEndian.PutUint16(data[8:], uint16(len(text)))
	return append(append(data, text...), numbers...)
}

func TestParse(t *testing.T) {
	f4 := binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, math.Float32bits(1.5)), math.Float32bits(-2))
	i8 := binary.LittleEndian.AppendUint64(nil, math.MaxUint64-6)
	i4 := binary.LittleEndian.AppendUint32(nil, math.MaxUint32-6)
	for _, c := range []struct {
		data []byte
		want Array
	}{
		{file("<f4", "2,", f4), Array{Shape: []int{2}, Floats: []float32{1.5, -2}}},
		{file("<f4", "1, 2", f4), Array{Shape: []int{1, 2}, Floats: []float32{1.5, -2}}},
		{file("<i8", "", i8), Array{Ints: []int64{-7}}},
		{file("<i4", "1, 1, 1", i4), Array{Shape: []int{1, 1, 1}, Ints: []int64{-7}}},
		{file("<f4", "0, 5", nil), Array{Shape: []int{0, 5}, Floats: []float32{}}},
	} {
		got, err := Parse(c.data)
		if err != nil {
			t.Error(err)
		}
		if !slices.Equal(got.Shape, c.want.Shape) || !slices.Equal(got.Floats, c.want.Floats) || !slices.Equal(got.Ints, c.want.Ints) {
			t.Errorf("got %v, want %v", got, c.want)
		}
	}
	for name, bad := range map[string][]byte{
		"empty":         nil,
		"magic":         append([]byte("x"), file("<f4", "2,", f4)[1:]...),
		"version 2":     append([]byte("\x93NUMPY\x02"), file("<f4", "2,", f4)[7:]...),
		"cut header":    file("<f4", "2,", f4)[:60],
		"cut numbers":   file("<f4", "2,", f4)[:len(file("<f4", "2,", f4))-1],
		"more numbers":  file("<f4", "1,", f4),
		"float64":       file("<f8", "1,", f4),
		"big-endian":    file(">f4", "2,", f4),
		"bad shape":     file("<f4", "2 2", f4),
		"vast shape":    file("<f4", "1073741824, 1073741824, 1073741824, 0", nil),
		"vaster number": file("<f4", "99999999999999999999", nil),
	} {
		if _, err := Parse(bad); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReadFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.npz")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	archive := zip.NewWriter(f)
	for _, name := range []string{"one.npy", "two.npy"} {
		w, err := archive.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(file("<i4", "1,", []byte{byte(len(name)), 0, 0, 0})); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(archive.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	arrays, err := ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(arrays) != 2 || arrays["one"].Ints[0] != 7 || arrays["two"].Ints[0] != 7 {
		t.Errorf("got %v", arrays)
	}
	if err := os.WriteFile(path, []byte("no zip"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadFile(path); !errors.Is(err, ErrFormat) {
		t.Errorf("no zip: %v", err)
	}
}

// FuzzParse feeds the reader bytes that NumPy did not write.
func FuzzParse(f *testing.F) {
	f.Add(file("<f4", "2,", make([]byte, 8)))
	f.Add(file("<i8", "1, 1", make([]byte, 8)))
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := Parse(data)
		if err != nil && !errors.Is(err, ErrFormat) {
			t.Errorf("error is not ErrFormat: %v", err)
		}
		if err == nil && len(a.Floats)+len(a.Ints) > len(data) {
			t.Errorf("%d bytes gave %d numbers", len(data), len(a.Floats)+len(a.Ints))
		}
	})
}
