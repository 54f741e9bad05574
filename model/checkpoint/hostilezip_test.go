package checkpoint

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestHostileArchives refuses zip archives that lie about their entries.
func TestHostileArchives(t *testing.T) {
	bin := weightKinds[1].single
	tensors := variant{}.tensors()
	pickle := pickleTensors(tensors, pickleStyle{})
	good := torchArchive(pickle, tensors, zipStyle{}).encode()
	archive := func(style zipStyle, forge func(z *testZip)) func(testing.TB, string) {
		z := torchArchive(pickle, tensors, style)
		forge(z)
		return broken(variant{}, bin, z.encode())
	}
	entry := func(suffix string, forge func(*testZipEntry)) func(testing.TB, string) {
		return archive(zipStyle{}, func(z *testZip) { z.entry(suffix).forge = forge })
	}
	end := func(style zipStyle, forge func(*testZipEnd)) func(testing.TB, string) {
		return archive(style, func(z *testZip) { z.forge = forge })
	}
	wide, narrow := zipStyle{}, zipStyle{narrow: true}
	cases := []hostile{
		{"compressed storage", entry("data/1", func(e *testZipEntry) { e.method = 8 }), ErrFormat, []string{"data/1", "compressed"}},
		{"compressed pickle", entry("data.pkl", func(e *testZipEntry) { e.method = 8 }), ErrFormat, []string{"data.pkl", "compressed"}},
		{"zip bomb", broken(variant{}, bin, deflated(t, pickle)), ErrFormat, []string{"compressed"}},
		{"encrypted", entry("data/1", func(e *testZipEntry) { e.flags |= zipFlagEncrypted }), ErrFormat, []string{"data/1", "encrypted"}},
		{"two sizes", entry("data/1", func(e *testZipEntry) { e.packed-- }), ErrFormat, []string{"data/1", "two sizes"}},
		{"larger than the file", entry("data/1", func(e *testZipEntry) { e.size, e.packed = 1<<40, 1<<40 }), ErrFormat, []string{"data/1", "outside"}},
		{"size of 2^64-2", entry("data/1", func(e *testZipEntry) { e.size, e.packed = math.MaxUint64-1, math.MaxUint64-1 }), ErrFormat, []string{"data/1", "impossible"}},
		{"size of 2^63-1", entry("data/1", func(e *testZipEntry) { e.size, e.packed = math.MaxInt64, math.MaxInt64 }), ErrFormat, []string{"data/1", "outside"}},
		{"into the next", entry("data/1", func(e *testZipEntry) { e.size += 300; e.packed += 300 }), ErrFormat, []string{"overlaps"}},
		{"shorter than its tensor", entry("data/1", func(e *testZipEntry) { e.size--; e.packed-- }), ErrFormat, []string{"data/1", "bytes"}},
		{"offset outside", entry("data/1", func(e *testZipEntry) { e.offset = 1 << 40 }), ErrFormat, []string{"data/1", "outside"}},
		{"offset of 2^64-2", entry("data/1", func(e *testZipEntry) { e.offset = math.MaxUint64 - 1 }), ErrFormat, []string{"data/1", "impossible"}},
		{"offset in the air", entry("data/1", func(e *testZipEntry) { e.offset++ }), ErrFormat, []string{"data/1", "not where"}},
		{"offset of another entry", entry("data/1", func(e *testZipEntry) { e.offset = 0 }), ErrFormat, []string{"data/1", "not where"}},
		{"name unlike the local one", entry("data/1", func(e *testZipEntry) { e.name = "archive/data/9" }), ErrFormat, []string{"not where"}},
		{"long name", archive(wide, func(z *testZip) { z.add(strings.Repeat("n", nameBytesMax+1), nil) }), ErrLimit, []string{"name"}},
		{"entry twice", archive(wide, func(z *testZip) { z.add("archive/data/1", nil) }), ErrFormat, []string{"data/1", "twice"}},
		{"two pickles", archive(wide, func(z *testZip) { z.add("other/data.pkl", pickle) }), ErrFormat, []string{"2 entries called data.pkl"}},
		{"no pickle", archive(wide, func(z *testZip) { z.entries = z.entries[1:] }), ErrFormat, []string{"0 entries called data.pkl"}},
		{"pickle without a folder", archive(wide, func(z *testZip) { z.entries[0].name = "data.pkl" }), ErrFormat, []string{"0 entries"}},
		{"TorchScript", archive(wide, func(z *testZip) { z.add("archive/constants.pkl", pickle) }), ErrUnsupported, []string{"TorchScript"}},
		{"big-endian", archive(zipStyle{byteorder: "big"}, func(*testZip) {}), ErrUnsupported, []string{"byteorder", "big"}},
		{"odd byte order", archive(zipStyle{byteorder: strings.Repeat("little", 9)}, func(*testZip) {}), ErrUnsupported, []string{"byteorder"}},
		{"missing storage", archive(wide, func(z *testZip) { z.entries = z.entries[:len(z.entries)-2] }), ErrFormat, []string{"not in the archive"}},
		{"huge pickle", archive(wide, func(z *testZip) { z.entries[0].data = make([]byte, pickleBytesMax+1) }), ErrLimit, []string{"data.pkl"}},
		{"empty pickle", archive(wide, func(z *testZip) { z.entries[0].data = nil }), ErrFormat, []string{"data.pkl"}},
		{"more entries than there are", end(narrow, func(e *testZipEnd) { e.narrowRecords++ }), ErrFormat, []string{"fewer records"}},
		{"fewer entries than there are", end(narrow, func(e *testZipEnd) { e.narrowRecords-- }), ErrFormat, []string{"stray bytes"}},
		{"too many entries", end(wide, func(e *testZipEnd) { e.records = zipEntriesMax + 1; e.narrowRecords = math.MaxUint16 }), ErrLimit, []string{"files"}},
		{"2^64-1 entries", end(wide, func(e *testZipEnd) { e.records = math.MaxUint64; e.narrowRecords = math.MaxUint16 }), ErrLimit, []string{"files"}},
		{"end records that disagree", end(wide, func(e *testZipEnd) { e.narrowRecords-- }), ErrFormat, []string{"contradict"}},
		{"directory over the limit", end(wide, func(e *testZipEnd) { e.length = 1 << 40 }), ErrLimit, []string{"directory"}},
		{"directory a byte short", end(wide, func(e *testZipEnd) { e.length-- }), ErrFormat, []string{"directory"}},
		{"directory a byte later", end(wide, func(e *testZipEnd) { e.offset++; e.length-- }), ErrFormat, []string{"fewer records"}},
		{"directory outside", end(wide, func(e *testZipEnd) { e.offset = 1 << 40 }), ErrFormat, []string{"directory"}},
		{"directory at 2^64-1", end(wide, func(e *testZipEnd) { e.offset = math.MaxUint64 }), ErrFormat, []string{"directory"}},
		{"locator outside", end(wide, func(e *testZipEnd) { e.locator = 1 << 40 }), ErrFormat, []string{"locator"}},
		{"locator at 2^64-1", end(wide, func(e *testZipEnd) { e.locator = math.MaxUint64 }), ErrFormat, []string{"locator"}},
		{"locator in the air", end(wide, func(e *testZipEnd) { e.locator-- }), ErrFormat, []string{"locator"}},
		{"bytes before the archive", end(wide, func(e *testZipEnd) { e.prefix = []byte("#!/bin/sh\n") }), ErrFormat, []string{"not a zip"}},
		{"bytes after the archive", end(wide, func(e *testZipEnd) { e.suffix = []byte("x") }), ErrFormat, []string{"truncated"}},
		{"another archive after it", end(wide, func(e *testZipEnd) { e.suffix = good }), ErrFormat, nil},
		{"zip64 sizes without their field", entry("data/1", func(e *testZipEntry) { e.size, e.packed = math.MaxUint32, 5 }), ErrFormat, []string{"data/1"}},
		{"only an end", broken(variant{}, bin, append([]byte(zipEndMark), make([]byte, 18)...)), ErrFormat, []string{"not a zip"}},
		{"only a beginning", broken(variant{}, bin, good[:200]), ErrFormat, []string{"truncated"}},
	}
	for _, part := range []int{1, 2, 3} {
		cases = append(cases, hostile{fmt.Sprintf("cut at %d quarters", part), broken(variant{}, bin, good[:len(good)*part/4]), ErrFormat, []string{"truncated"}})
	}
	for n := range 30 {
		cases = append(cases, hostile{fmt.Sprintf("%d bytes short", n+1), broken(variant{}, bin, good[:len(good)-n-1]), ErrFormat, nil})
	}
	for i := range cases {
		cases[i].parts = append(cases[i].parts, bin)
	}
	checkHostile(t, cases)
}

// deflated is an archive whose pickle is followed by 64 MB of zeros, packed.
func deflated(t testing.TB, pickle []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	file, err := w.Create("archive/data.pkl")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.Write(pickle); err != nil {
		t.Fatal(err)
	}
	zeros := make([]byte, 1<<20)
	for range 64 {
		if _, err := file.Write(zeros); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestZipOfOthers reads archives that the standard library wrote, and finds what its reader
// finds in ours.
func TestZipOfOthers(t *testing.T) {
	contents := map[string]string{"a/data.pkl": "one", "a/data/0": strings.Repeat("two", 1000), "a/version": "", "a/x": "y"}
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for name, text := range contents {
		file, err := w.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.SetComment("a comment"); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	checkZip(t, out.Bytes(), contents)

	for _, narrow := range []bool{true, false} {
		z := &testZip{narrow: narrow}
		for name, text := range contents {
			z.add(name, []byte(text))
		}
		data := z.encode()
		checkZip(t, data, contents)
		reader, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			t.Fatal(err)
		}
		if len(reader.File) != len(contents) {
			t.Errorf("the standard reader finds %d entries, want %d", len(reader.File), len(contents))
		}
	}
}

func checkZip(t *testing.T, data []byte, contents map[string]string) {
	t.Helper()
	entries, err := readZip(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range contents {
		entry, ok := entries[name]
		if got := string(data[entry.offset : entry.offset+entry.size]); !ok || got != text {
			t.Errorf("entry %s has %d bytes, want %d", name, len(got), len(text))
		}
	}
	if len(entries) != len(contents) {
		t.Errorf("%d entries, want %d", len(entries), len(contents))
	}
}

// TestZipOver4GiB reads an archive whose sizes and offsets need 64 bits; the file is sparse.
func TestZipOver4GiB(t *testing.T) {
	const big = 5 << 30
	path := filepath.Join(t.TempDir(), "big.zip")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	le := binary.LittleEndian
	at := int64(0)
	var directory []byte
	for _, entry := range []*testZipEntry{{name: "a/0", size: big}, {name: "a/1", size: 7}} {
		entry.offset, entry.packed = uint64(at), entry.size
		local := append([]byte(zipLocalMark), make([]byte, 22)...)
		local = le.AppendUint32(local, uint32(len(entry.name)))
		if _, err := file.WriteAt(append(local, entry.name...), at); err != nil {
			t.Fatal(err)
		}
		at += int64(len(local)+len(entry.name)) + int64(entry.size)
		directory = append(directory, entry.central()...)
	}
	tail := append(directory, zipEnd64Mark...)
	tail = le.AppendUint64(tail, zipEnd64Size-12)
	tail = append(tail, make([]byte, 12)...)
	for _, n := range []uint64{2, 2, uint64(len(directory)), uint64(at)} {
		tail = le.AppendUint64(tail, n)
	}
	tail = append(append(tail, zipLocator64Mark...), 0, 0, 0, 0)
	tail = append(le.AppendUint64(tail, uint64(at)+uint64(len(directory))), 1, 0, 0, 0)
	tail = append(append(tail, zipEndMark...), 0, 0, 0, 0, 2, 0, 2, 0)
	tail = append(le.AppendUint32(tail, uint32(len(directory))), 0xff, 0xff, 0xff, 0xff, 0, 0)
	if _, err := file.WriteAt(tail, at); err != nil {
		t.Skip("no sparse files here:", err)
	}
	entries, err := readZip(file, at+int64(len(tail)))
	if err != nil {
		t.Fatal(err)
	}
	if first, second := entries["a/0"], entries["a/1"]; first.size != big || second.size != 7 || second.offset != big+2*33 {
		t.Errorf("entries %+v", entries)
	}
}

// TestZipFlippedBytes changes each byte of an archive's end and directory: whatever is
// changed, nothing but an error or entries within the file may come out.
func TestZipFlippedBytes(t *testing.T) {
	z := torchArchive([]byte("pickle"), []fileTensor{{key: "0", data: make([]byte, 64)}, {key: "1", data: make([]byte, 8)}}, zipStyle{})
	good := z.encode()
	refused := 0
	for i := range good {
		for _, flip := range []byte{0x01, 0x80, 0xff} {
			data := bytes.Clone(good)
			data[i] ^= flip
			entries, err := readZip(bytes.NewReader(data), int64(len(data)))
			if err != nil {
				refused++
				if !errors.Is(err, ErrFormat) && !errors.Is(err, ErrLimit) {
					t.Fatalf("byte %d: %v", i, err)
				}
			}
			for name, entry := range entries {
				if entry.offset < 0 || entry.size < 0 || entry.offset+entry.size > int64(len(data)) {
					t.Fatalf("byte %d: entry %q of %d bytes at %d in %d", i, name, entry.size, entry.offset, len(data))
				}
			}
		}
	}
	t.Logf("%d of %d changes refused", refused, 3*len(good))
}
