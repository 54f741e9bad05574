package checkpoint

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"
)

// The directory of a zip archive, read by hand: the standard reader sizes its tables by
// what the archive claims, accepts bytes before the first file and between the files, and
// leaves overlaps to its caller. Here every entry must be stored, so that its bytes are the
// file's own and nothing can unfold, and lie apart from every other.
//
// Source of the format: PKWARE's APPNOTE 6.3.10, sections 4.3 and 4.5.

// zipEntry is one stored file of an archive.
type zipEntry struct {
	name   string
	offset int64 // of its bytes in the archive
	size   int64
}

// Sizes and signatures of the records.
const (
	zipLocalSize     = 30
	zipCentralSize   = 46
	zipEndSize       = 22
	zipLocator64Size = 20
	zipEnd64Size     = 56
	zipCommentMax    = math.MaxUint16

	zipLocalMark     = "PK\x03\x04"
	zipCentralMark   = "PK\x01\x02"
	zipEndMark       = "PK\x05\x06"
	zipLocator64Mark = "PK\x06\x07"
	zipEnd64Mark     = "PK\x06\x06"

	zipFlagEncrypted = 1 << 0
	zipExtra64       = 0x0001
)

// readZip lists the entries of an archive by name. Errors wrap ErrFormat or ErrLimit.
func readZip(file io.ReaderAt, size int64) (map[string]zipEntry, error) {
	directory, start, count, err := readZipDirectory(file, size)
	if err != nil {
		return nil, err
	}
	entries := make([]zipEntry, 0, count)
	for range count {
		var entry zipEntry
		if entry, directory, err = nextZipEntry(directory); err != nil {
			return nil, err
		}
		if err := locateZipEntry(file, &entry, start); err != nil {
			return nil, err
		}
		entries = append(entries, entry)
	}
	if len(directory) != 0 {
		return nil, fmt.Errorf("%w: %d stray bytes in the zip directory", ErrFormat, len(directory))
	}
	return indexZip(entries)
}

// readZipDirectory finds the central directory: its bytes, where it starts, and how many
// entries it has.
func readZipDirectory(file io.ReaderAt, size int64) (directory []byte, start int64, count int, err error) {
	end, endAt, err := findZipEnd(file, size)
	if err != nil {
		return nil, 0, 0, err
	}
	if binary.LittleEndian.Uint16(end[4:]) != 0 || binary.LittleEndian.Uint16(end[6:]) != 0 {
		return nil, 0, 0, fmt.Errorf("%w: zip archive over several disks", ErrFormat)
	}
	numbers := [3]uint64{
		uint64(binary.LittleEndian.Uint16(end[10:])),
		uint64(binary.LittleEndian.Uint32(end[12:])),
		uint64(binary.LittleEndian.Uint32(end[16:])),
	}
	if endAt, err = widenZipEnd(file, endAt, &numbers); err != nil {
		return nil, 0, 0, err
	}
	records, length, offset := numbers[0], numbers[1], numbers[2]
	if records > zipEntriesMax {
		return nil, 0, 0, fmt.Errorf("%w: zip archive of %d files, at most %d", ErrLimit, records, zipEntriesMax)
	}
	if length > zipDirectoryBytesMax {
		return nil, 0, 0, fmt.Errorf("%w: zip directory of %d bytes, at most %d", ErrLimit, length, zipDirectoryBytesMax)
	}
	if offset > uint64(endAt) || offset+length != uint64(endAt) {
		return nil, 0, 0, fmt.Errorf("%w: zip directory of %d bytes at %d does not end where its end record starts, at %d",
			ErrFormat, length, offset, endAt)
	}
	directory = make([]byte, length)
	if _, err := file.ReadAt(directory, int64(offset)); err != nil {
		return nil, 0, 0, fmt.Errorf("%w: zip directory: %w", ErrFormat, err)
	}
	return directory, int64(offset), int(records), nil
}

// findZipEnd finds the record that closes an archive.
func findZipEnd(file io.ReaderAt, size int64) (record []byte, at int64, err error) {
	tail := make([]byte, min(size, zipEndSize+zipCommentMax))
	if _, err := file.ReadAt(tail, size-int64(len(tail))); err != nil && err != io.EOF {
		return nil, 0, fmt.Errorf("%w: end of the zip archive: %w", ErrFormat, err)
	}
	for i := len(tail) - zipEndSize; i >= 0; i-- {
		if !bytes.HasPrefix(tail[i:], []byte(zipEndMark)) {
			continue
		}
		if comment := int(binary.LittleEndian.Uint16(tail[i+20:])); i+zipEndSize+comment == len(tail) {
			return tail[i:], size - int64(len(tail)) + int64(i), nil
		}
	}
	return nil, 0, fmt.Errorf("%w: no end of a zip archive: truncated, or not written by torch.save", ErrFormat)
}

// widenZipEnd replaces the entries, length and offset of the directory by those of the zip64
// end record, which torch writes whatever the size, and moves endAt to its start.
func widenZipEnd(file io.ReaderAt, endAt int64, numbers *[3]uint64) (int64, error) {
	locatorAt := endAt - zipLocator64Size
	locator := make([]byte, zipLocator64Size)
	if locatorAt < 0 {
		return endAt, nil
	}
	if _, err := file.ReadAt(locator, locatorAt); err != nil {
		return 0, fmt.Errorf("%w: end of the zip archive: %w", ErrFormat, err)
	}
	if string(locator[:4]) != zipLocator64Mark {
		return endAt, nil
	}
	at := int64(binary.LittleEndian.Uint64(locator[8:]))
	if at < 0 || at > locatorAt-zipEnd64Size {
		return 0, fmt.Errorf("%w: the zip64 locator points outside the archive", ErrFormat)
	}
	record := make([]byte, zipEnd64Size)
	if _, err := file.ReadAt(record, at); err != nil {
		return 0, fmt.Errorf("%w: zip64 end record: %w", ErrFormat, err)
	}
	// The record's own length counts what follows its first 12 bytes.
	if string(record[:4]) != zipEnd64Mark || binary.LittleEndian.Uint64(record[4:]) != uint64(locatorAt-at-12) {
		return 0, fmt.Errorf("%w: no zip64 end record where the locator points", ErrFormat)
	}
	for i, unset := range [3]uint64{math.MaxUint16, math.MaxUint32, math.MaxUint32} {
		wide := binary.LittleEndian.Uint64(record[32+8*i:])
		if numbers[i] != unset && numbers[i] != wide {
			return 0, fmt.Errorf("%w: the two end records of the zip archive contradict each other", ErrFormat)
		}
		numbers[i] = wide
	}
	return at, nil
}

// nextZipEntry takes one record off the central directory. The entry's offset is still that
// of its local header.
func nextZipEntry(directory []byte) (entry zipEntry, rest []byte, err error) {
	if len(directory) < zipCentralSize || string(directory[:4]) != zipCentralMark {
		return entry, nil, fmt.Errorf("%w: the zip directory has fewer records than the archive claims", ErrFormat)
	}
	record := directory
	nameEnd := zipCentralSize + int(binary.LittleEndian.Uint16(record[28:]))
	extraEnd := nameEnd + int(binary.LittleEndian.Uint16(record[30:]))
	recordEnd := extraEnd + int(binary.LittleEndian.Uint16(record[32:]))
	if recordEnd > len(record) {
		return entry, nil, fmt.Errorf("%w: a record of the zip directory is cut off", ErrFormat)
	}
	entry.name = string(record[zipCentralSize:nameEnd])
	if len(entry.name) > nameBytesMax {
		return entry, nil, fmt.Errorf("%w: the name of a zip entry has %d bytes, at most %d", ErrLimit, len(entry.name), nameBytesMax)
	}
	if flags := binary.LittleEndian.Uint16(record[8:]); flags&zipFlagEncrypted != 0 {
		return entry, nil, fmt.Errorf("%w: zip entry %s is encrypted", ErrFormat, show(entry.name))
	}
	if method := binary.LittleEndian.Uint16(record[10:]); method != 0 {
		return entry, nil, fmt.Errorf("%w: zip entry %s is compressed (method %d); torch.save stores its entries",
			ErrFormat, show(entry.name), method)
	}
	wide := [3]uint64{ // size, packed size, offset: the order in which the zip64 field has them
		uint64(binary.LittleEndian.Uint32(record[24:])),
		uint64(binary.LittleEndian.Uint32(record[20:])),
		uint64(binary.LittleEndian.Uint32(record[42:])),
	}
	if err := widenZipSizes(&wide, record[nameEnd:extraEnd]); err != nil {
		return entry, nil, fmt.Errorf("zip entry %s: %w", show(entry.name), err)
	}
	if wide[0] != wide[1] {
		return entry, nil, fmt.Errorf("%w: zip entry %s is stored, but has two sizes, %d and %d", ErrFormat, show(entry.name), wide[0], wide[1])
	}
	if wide[0] > math.MaxInt64 || wide[2] > math.MaxInt64 {
		return entry, nil, fmt.Errorf("%w: zip entry %s has an impossible size or offset", ErrFormat, show(entry.name))
	}
	entry.size, entry.offset = int64(wide[0]), int64(wide[2])
	return entry, directory[recordEnd:], nil
}

// widenZipSizes replaces the sizes that did not fit in 32 bits by those of the zip64 field.
func widenZipSizes(sizes *[3]uint64, extra []byte) error {
	var field []byte
	for len(extra) >= 4 {
		id, n := binary.LittleEndian.Uint16(extra), int(binary.LittleEndian.Uint16(extra[2:]))
		if n > len(extra)-4 {
			break // some writers pad the field with bytes that are no record
		}
		if id == zipExtra64 {
			field = extra[4 : 4+n]
			break
		}
		extra = extra[4+n:]
	}
	for i := range sizes {
		if sizes[i] != math.MaxUint32 {
			continue
		}
		if len(field) < 8 {
			return fmt.Errorf("%w: the zip64 field is missing or too short", ErrFormat)
		}
		sizes[i] = binary.LittleEndian.Uint64(field)
		field = field[8:]
	}
	return nil
}

// locateZipEntry moves an entry's offset from its local header to its bytes, which must end
// before the directory starts.
func locateZipEntry(file io.ReaderAt, entry *zipEntry, limit int64) error {
	var header [zipLocalSize + nameBytesMax]byte
	local := header[:zipLocalSize+len(entry.name)]
	if entry.offset > limit-int64(len(local)) {
		return fmt.Errorf("%w: zip entry %s starts outside the archive", ErrFormat, show(entry.name))
	}
	if _, err := file.ReadAt(local, entry.offset); err != nil {
		return fmt.Errorf("%w: zip entry %s: %w", ErrFormat, show(entry.name), err)
	}
	if string(local[:4]) != zipLocalMark ||
		int(binary.LittleEndian.Uint16(local[26:])) != len(entry.name) ||
		string(local[zipLocalSize:]) != entry.name {
		return fmt.Errorf("%w: zip entry %s is not where the directory says", ErrFormat, show(entry.name))
	}
	entry.offset += int64(len(local)) + int64(binary.LittleEndian.Uint16(local[28:]))
	if entry.offset > limit || entry.size > limit-entry.offset {
		return fmt.Errorf("%w: zip entry %s of %d bytes at %d ends outside the archive", ErrFormat, show(entry.name), entry.size, entry.offset)
	}
	return nil
}

// indexZip lists entries by name and refuses those that share a name or bytes.
func indexZip(entries []zipEntry) (map[string]zipEntry, error) {
	slices.SortFunc(entries, func(a, b zipEntry) int {
		return cmp.Or(cmp.Compare(a.offset, b.offset), cmp.Compare(a.size, b.size))
	})
	byName := make(map[string]zipEntry, len(entries))
	var end int64
	for _, entry := range entries {
		if _, twice := byName[entry.name]; twice {
			return nil, fmt.Errorf("%w: zip entry %s occurs twice", ErrFormat, show(entry.name))
		}
		if entry.offset < end {
			return nil, fmt.Errorf("%w: zip entry %s overlaps another", ErrFormat, show(entry.name))
		}
		end = entry.offset + entry.size
		byName[entry.name] = entry
	}
	return byName, nil
}
