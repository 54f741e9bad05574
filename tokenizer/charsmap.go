package tokenizer

import (
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf8"
)

// charsmap is a normalizer_spec.precompiled_charsmap: rules that replace the longest match at a position by other text.
//
// The blob is a uint32 (little-endian) giving the size in bytes of a Darts-clone double array, the array, and the
// replacement texts, each ended by a zero byte. A unit of the array is a uint32. For an inner unit bits 0 to 7 are the byte
// that leads to it, bit 8 says that a key ends here, bit 9 scales the offset, bits 10 to 30 are the offset. The children of
// the unit at index i lie at i^offset^byte, and the value of its key in the unit at i^offset, which has bit 31 set. A value
// is the place of the replacement in the texts.
type charsmap struct {
	units []uint32
	texts string
	root  uint32 // offset of unit 0
}

const (
	unitLeaf  = 1 << 31        // set in the units that hold a value
	unitLabel = unitLeaf | 255 // a label to compare: leaves never match a byte
)

func unitHasValue(u uint32) bool { return u>>8&1 == 1 }
func unitOffset(u uint32) uint32 { return u >> 10 << (u & (1 << 9) >> 6) }

// newCharsmap reads a blob and checks every unit that a match can reach, so that matching needs no checks: indices are in
// range, no cycle makes a match endless, and each value names a replacement that is whole, short and valid UTF-8.
// The blob is not kept. name is the field's name, for errors.
func newCharsmap(blob []byte, name string) (*charsmap, error) {
	if len(blob) <= 4 {
		return nil, fmt.Errorf("%w: %s: %d bytes hold no rules", ErrInvalid, name, len(blob))
	}
	size := binary.LittleEndian.Uint32(blob)
	if uint64(size) > uint64(len(blob)-4) {
		return nil, fmt.Errorf("%w: %s: double array of %d bytes in a field of %d", ErrInvalid, name, size, len(blob))
	}
	if size < 1024 || size%1024 != 0 {
		return nil, fmt.Errorf("%w: %s: double array of %d bytes, not a multiple of 1024", ErrInvalid, name, size)
	}
	c := &charsmap{units: make([]uint32, size/4), texts: string(blob[4+size:])}
	for i := range c.units {
		c.units[i] = binary.LittleEndian.Uint32(blob[4+4*i:])
	}
	c.root = unitOffset(c.units[0])
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return c, nil
}

// longest returns the replacement of the longest rule that s begins with, and the bytes that it matches; 0 if none does.
func (c *charsmap) longest(s string) (replacement string, size int) {
	base, value := c.root, uint32(0)
	for i := 0; i < len(s); i++ {
		at := base ^ uint32(s[i])
		u := c.units[at]
		if u&unitLabel != uint32(s[i]) {
			break
		}
		base = at ^ unitOffset(u)
		if unitHasValue(u) {
			value, size = c.units[base]&^unitLeaf, i+1
		}
	}
	if size == 0 {
		return "", 0
	}
	t := c.texts[value:]
	return t[:strings.IndexByte(t, 0)], size
}

// undecided reports whether text appended to s could lengthen the match at its start: all of s was followed and the array
// goes on.
func (c *charsmap) undecided(s string) bool {
	base := c.root
	for i := 0; i < len(s); i++ {
		at := base ^ uint32(s[i])
		u := c.units[at]
		if u&unitLabel != uint32(s[i]) {
			return false
		}
		base = at ^ unitOffset(u)
	}
	for b := range uint32(256) {
		if c.units[base^b]&unitLabel == b {
			return true
		}
	}
	return false
}

// check walks everything that a match can reach.
func (c *charsmap) check() error {
	w := charsmapWalk{c: c, depth: make([]int16, len(c.units))}
	w.groupByBase()
	return w.visit(0, 0)
}

// charsmapWalk is a depth-first walk over the units of a double array. Different keys may share their tails, so a unit can be
// met again; being met on its own path is a cycle.
type charsmapWalk struct {
	c     *charsmap
	first []uint32 // children of base b are order[first[b]:first[b+1]]
	order []uint32
	depth []int16 // 0 not met, -1 on the path, else 1 + height of the tallest branch below
}

// groupByBase sorts the inner units by the base that they are children of, which each unit's index and label give away.
func (w *charsmapWalk) groupByBase() {
	units := w.c.units
	w.first = make([]uint32, len(units)+1)
	for i, u := range units {
		if u&unitLeaf == 0 {
			w.first[uint32(i)^u&255]++
		}
	}
	sum := uint32(0)
	for b := range w.first {
		w.first[b], sum = sum, sum+w.first[b]
	}
	w.order = make([]uint32, sum)
	next := append([]uint32(nil), w.first...)
	for i, u := range units {
		if u&unitLeaf == 0 {
			b := uint32(i) ^ u&255
			w.order[next[b]] = uint32(i)
			next[b]++
		}
	}
}

// visit checks the unit at index i, whose key so far is length bytes long, and everything below it.
func (w *charsmapWalk) visit(i uint32, length int) error {
	switch {
	case w.depth[i] < 0:
		return fmt.Errorf("%w: double array has a cycle at unit %d", ErrInvalid, i)
	case w.depth[i] > 0:
		if length+int(w.depth[i])-1 > MaxRuleBytes {
			return fmt.Errorf("%w: rule longer than %d bytes", ErrTooLarge, MaxRuleBytes)
		}
		return nil
	case length > MaxRuleBytes:
		return fmt.Errorf("%w: rule longer than %d bytes", ErrTooLarge, MaxRuleBytes)
	}
	u := w.c.units[i]
	base := i ^ unitOffset(u)
	// The units of one base share a block of 256, so the base in range means that all its children are.
	if int64(base) >= int64(len(w.c.units)) {
		return fmt.Errorf("%w: unit %d points at %d of %d units", ErrInvalid, i, base, len(w.c.units))
	}
	if i != 0 && unitHasValue(u) {
		if err := w.c.checkValue(base); err != nil {
			return err
		}
	}
	w.depth[i] = -1
	height := int16(0)
	for _, child := range w.order[w.first[base]:w.first[base+1]] {
		if child == 0 {
			// Unit 0 carries label 0, so that it looks like a child of base 0; the library would follow it too.
			return fmt.Errorf("%w: unit %d leads back to the root", ErrInvalid, i)
		}
		if err := w.visit(child, length+1); err != nil {
			return err
		}
		height = max(height, w.depth[child])
	}
	w.depth[i] = height + 1
	return nil
}

// checkValue checks the unit that holds the value of a key, and the replacement that it names.
func (c *charsmap) checkValue(at uint32) error {
	value := c.units[at] &^ unitLeaf
	if c.units[at]&unitLeaf == 0 {
		return fmt.Errorf("%w: unit %d holds no value", ErrInvalid, at)
	}
	if int64(value) >= int64(len(c.texts)) {
		return fmt.Errorf("%w: replacement at %d of %d bytes", ErrInvalid, value, len(c.texts))
	}
	text := c.texts[value:]
	text = text[:min(len(text), MaxReplacementBytes+1)]
	end := strings.IndexByte(text, 0)
	if end < 0 && len(text) > MaxReplacementBytes {
		return fmt.Errorf("%w: replacement at %d is longer than %d bytes", ErrTooLarge, value, MaxReplacementBytes)
	}
	if end < 0 {
		return fmt.Errorf("%w: replacement at %d has no end", ErrInvalid, value)
	}
	if !utf8.ValidString(text[:end]) {
		return fmt.Errorf("%w: replacement at %d is not valid UTF-8", ErrInvalid, value)
	}
	return nil
}
