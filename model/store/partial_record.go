package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"os"
)

// A record says which units of a partial model are on the disk. It is a small file of two slots beside the model: each is
// written in turn and carries a number and its own hash, so that an interrupted write leaves the other one.
//
//	 0  8  magic
//	 8  4  version, 1
//	12  4  units of the model
//	16  8  sequence number; the valid slot with the higher one counts
//	24 32  digest of the model
//	56     one bit for each unit, to a multiple of eight bytes
//	   32  SHA-256 of everything before
const (
	recordVersion = 1
	recordHead    = 56
)

var recordMagic = [8]byte{0x89, 'P', 'N', 'H', '\r', '\n', 0x1a, '\n'}

// recordFile is what a record needs of its file.
type recordFile interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
	Stat() (os.FileInfo, error)
	io.Closer
}

// slotBytes is the length of a slot, whole pages so that a torn write cannot reach the other.
func slotBytes(count int) int64 {
	return roundUp(int64(recordHead+BitsBytes(count)+sha256.Size), PageSize)
}

// writeRecord writes the set under the next sequence number and waits until it is on the disk.
func writeRecord(f recordFile, digest Hash, sequence uint64, set *UnitSet) error {
	data := append(make([]byte, 0, slotBytes(set.count)), recordMagic[:]...)
	data = binary.LittleEndian.AppendUint32(data, recordVersion)
	data = binary.LittleEndian.AppendUint32(data, uint32(set.count))
	data = binary.LittleEndian.AppendUint64(data, sequence)
	data = append(data, digest[:]...)
	data = set.AppendBits(data)
	sum := sha256.Sum256(data)
	data = append(data, sum[:]...)
	at := int64(sequence%2) * slotBytes(set.count)
	if _, err := f.WriteAt(data[:cap(data)], at); err != nil {
		return fmt.Errorf("write record of units: %w", spaceError(err))
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("write record of units: %w", spaceError(err))
	}
	return nil
}

// readRecord reads the newer of the valid slots. Without one nothing is known to be here: sequence 0 and an empty set.
func readRecord(f io.ReaderAt, digest Hash, count int) (sequence uint64, set *UnitSet) {
	set = NewUnitSet(count)
	slot := make([]byte, recordHead+BitsBytes(count)+sha256.Size)
	for i := range int64(2) {
		if _, err := f.ReadAt(slot, i*slotBytes(count)); err != nil {
			continue
		}
		if n, found, ok := parseSlot(slot, digest, count); ok && n > sequence {
			sequence, set = n, found
		}
	}
	return sequence, set
}

// parseSlot reads one slot of a model of count units.
func parseSlot(slot []byte, digest Hash, count int) (sequence uint64, set *UnitSet, ok bool) {
	end := len(slot) - sha256.Size
	if end != recordHead+BitsBytes(count) {
		return 0, nil, false
	}
	sum := sha256.Sum256(slot[:end])
	if !bytes.Equal(sum[:], slot[end:]) || !bytes.Equal(slot[:8], recordMagic[:]) || !bytes.Equal(slot[24:56], digest[:]) {
		return 0, nil, false
	}
	if binary.LittleEndian.Uint32(slot[8:]) != recordVersion || binary.LittleEndian.Uint32(slot[12:]) != uint32(count) {
		return 0, nil, false
	}
	set, err := ParseBits(slot[recordHead:end], count)
	return binary.LittleEndian.Uint64(slot[16:]), set, err == nil
}
