package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
)

// Sizes and places of the first page.
const (
	// Version is the version of the file format that this package writes and reads.
	Version = 1
	// PageSize is the size of the header and the alignment of matrices.
	PageSize = 4096

	// ManifestMax is the limit on the length of a manifest in bytes.
	ManifestMax = 16 << 20

	headerUsed   = 152 // bytes of the header page that carry something
	headerSealed = 120 // bytes under the header's own hash
	manifestMax  = ManifestMax
	tokenizerMax = 256 << 20
)

// magic is what a .pn file begins with. Like PNG's it shows damage by a transfer in text mode.
var magic = [8]byte{0x89, 'P', 'N', 'M', '\r', '\n', 0x1a, '\n'}

// Hash is a SHA-256.
type Hash [sha256.Size]byte

// String is the hash in hexadecimal.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText writes the hash in hexadecimal.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads 64 hexadecimal digits.
func (h *Hash) UnmarshalText(text []byte) error {
	if len(text) != 2*len(h) {
		return fmt.Errorf("parse hash: %d digits, want %d", len(text), 2*len(h))
	}
	_, err := hex.Decode(h[:], text)
	return err
}

// section is a run of bytes of the file.
type section struct{ offset, size int64 }

func (s section) end() int64 { return s.offset + s.size }

// header is the first page of the file: where the four sections lie and the hash of the manifest.
type header struct {
	fileSize                          int64
	data, hashes, tokenizer, manifest section
	digest                            Hash // SHA-256 of the manifest: the identity of the model
}

// encode lays the header out as its page.
func (h *header) encode() []byte {
	page := make([]byte, PageSize)
	copy(page, magic[:])
	binary.LittleEndian.PutUint32(page[8:], Version)
	binary.LittleEndian.PutUint32(page[12:], PageSize)
	binary.LittleEndian.PutUint64(page[16:], uint64(h.fileSize))
	for i, s := range []section{h.data, h.hashes, h.tokenizer, h.manifest} {
		binary.LittleEndian.PutUint64(page[24+16*i:], uint64(s.offset))
		binary.LittleEndian.PutUint64(page[32+16*i:], uint64(s.size))
	}
	copy(page[88:], h.digest[:])
	sum := sha256.Sum256(page[:headerSealed])
	copy(page[headerSealed:], sum[:])
	return page
}

// decodeHeader reads the first page of a file of size bytes. Every section of what it returns lies inside the file,
// in order and without overlap.
func decodeHeader(file string, page []byte, size int64) (header, error) {
	bad := func(offset int64, format string, args ...any) (header, error) {
		return header{}, &CorruptError{File: file, Offset: offset, Reason: fmt.Sprintf(format, args...)}
	}
	if len(page) < PageSize {
		return bad(int64(len(page)), "file ends inside its header page")
	}
	page = page[:PageSize]
	if !bytes.Equal(page[:8], magic[:]) {
		return bad(0, "not a packed model (magic %x)", page[:8])
	}
	if v := binary.LittleEndian.Uint32(page[8:]); v != Version {
		return bad(8, "format version %d, want %d", v, Version)
	}
	if sum := sha256.Sum256(page[:headerSealed]); !bytes.Equal(sum[:], page[headerSealed:headerUsed]) {
		return bad(0, "header does not match its hash")
	}
	if at := firstNonZero(page[headerUsed:]); at >= 0 {
		return bad(headerUsed+int64(at), "header padding is not zero")
	}
	if n := binary.LittleEndian.Uint32(page[12:]); n != PageSize {
		return bad(12, "header page of %d bytes, want %d", n, PageSize)
	}
	var h header
	if claimed := binary.LittleEndian.Uint64(page[16:]); claimed != uint64(size) {
		return bad(16, "file is %d bytes long, its header says %d", size, claimed)
	}
	h.fileSize = size
	at := uint64(PageSize)
	for i, s := range []*section{&h.data, &h.hashes, &h.tokenizer, &h.manifest} {
		offset := binary.LittleEndian.Uint64(page[24+16*i:])
		length := binary.LittleEndian.Uint64(page[32+16*i:])
		if offset < at || offset > uint64(size) || length > uint64(size)-offset {
			return bad(24+16*int64(i), "section %d (offset %d, %d bytes) does not fit", i, offset, length)
		}
		s.offset, s.size = int64(offset), int64(length)
		at = offset + length
	}
	if h.manifest.size > manifestMax || h.tokenizer.size > tokenizerMax {
		return bad(56, "manifest of %d or tokenizer of %d bytes is over the limit", h.manifest.size, h.tokenizer.size)
	}
	copy(h.digest[:], page[88:])
	return h, nil
}

// firstNonZero is the index of the first byte that is not zero, or -1.
func firstNonZero(b []byte) int {
	for i, c := range b {
		if c != 0 {
			return i
		}
	}
	return -1
}

// blobOf describes bytes.
func blobOf(data []byte) Blob { return Blob{Bytes: int64(len(data)), Hash: sha256.Sum256(data)} }
