package trust

import (
	"fmt"
	"unicode"
	"unicode/utf8"
)

// Facts are what was measured on a node. They are whole numbers, so that every replica reads the same. A joiner brings its own;
// all that it gains by lying is a bad plan, and only until its steps and links have been timed.
type Facts struct {
	Version        string `json:"version"` // of the program
	Cores          int    `json:"cores"`
	MemoryBytes    int64  `json:"memory_bytes"`     // that a model may use
	BytesPerSecond int64  `json:"bytes_per_second"` // read from memory
	OpsPerSecond   int64  `json:"ops_per_second"`
}

// What no machine exceeds. Sums over all nodes stay far below what an int64 holds.
const (
	VersionMax        = 64 // bytes of text
	CoresMax          = 4096
	MemoryMax         = 64 << 40 // bytes
	BytesPerSecondMax = 100e12
	OpsPerSecondMax   = 1000e12
)

// Check refuses facts that no machine has. It is plain arithmetic: every build of the program decides alike.
func (f Facts) Check() error {
	if len(f.Version) < 1 || len(f.Version) > VersionMax {
		return fmt.Errorf("%w: version of %d bytes, want 1 to %d", ErrRequest, len(f.Version), VersionMax)
	}
	for _, c := range []byte(f.Version) {
		if c < ' ' || c > '~' {
			return fmt.Errorf("%w: version %q", ErrRequest, f.Version)
		}
	}
	for _, number := range []struct {
		name     string
		n, least int64
		most     int64
	}{
		{"cores", int64(f.Cores), 1, CoresMax},
		{"bytes of memory", f.MemoryBytes, 0, MemoryMax},
		{"bytes per second", f.BytesPerSecond, 0, BytesPerSecondMax},
		{"operations per second", f.OpsPerSecond, 0, OpsPerSecondMax},
	} {
		if number.n < number.least || number.n > number.most {
			return fmt.Errorf("%w: %d %s, want %d to %d", ErrRequest, number.n, number.name, number.least, number.most)
		}
	}
	return nil
}

// NameMax is the length of the name by which people call a node, in bytes.
const NameMax = 63

// CheckText makes sure that a text is short and can be printed anywhere: no control characters, nothing invisible, no line ends.
func CheckText(text string, most int) error {
	if len(text) < 1 || len(text) > most {
		return fmt.Errorf("text of %d bytes, want 1 to %d", len(text), most)
	}
	if !utf8.ValidString(text) {
		return fmt.Errorf("text %.64q is not UTF-8", text)
	}
	for _, r := range text {
		if !unicode.IsPrint(r) {
			return fmt.Errorf("text %.64q has characters that cannot be shown", text)
		}
	}
	return nil
}
