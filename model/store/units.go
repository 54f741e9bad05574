package store

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
	"sync/atomic"

	"polynode/model"
)

// Numbering counts the units of a model from 0: tensors in the order of the manifest, units of a tensor in the order of
// their hashes. It is the same on every node that has the manifest, and never changes.
type Numbering struct {
	tensors []Tensor
	first   []int // number of each tensor's first unit
	at      map[model.Name]int
	leaf    int
	count   int
}

// NumberUnits counts the units of a model. The manifest must be a valid one and must not change.
func NumberUnits(m *Manifest) *Numbering {
	n := &Numbering{tensors: m.Tensors, leaf: m.Leaf, at: make(map[model.Name]int, len(m.Tensors))}
	for i := range m.Tensors {
		n.first = append(n.first, n.count)
		n.at[m.Tensors[i].Name] = i
		n.count += m.Tensors[i].Units
	}
	return n
}

// Count is the number of units of the model.
func (n *Numbering) Count() int { return n.count }

// Unit describes a unit by its number. The error wraps ErrNotFound.
func (n *Numbering) Unit(number int) (Unit, error) {
	if number < 0 || number >= n.count {
		return Unit{}, fmt.Errorf("find unit %d of %d: %w", number, n.count, ErrNotFound)
	}
	return n.unit(number), nil
}

// unit is Unit for a number that was checked.
func (n *Numbering) unit(number int) Unit {
	t, found := slices.BinarySearch(n.first, number)
	if !found {
		t--
	}
	return n.tensors[t].UnitAt(number - n.first[t])
}

// Of lists the units that hold any part of the pieces, each once, in the order in which the pieces first need them. The error
// names a piece that cannot be cut from this model.
func (n *Numbering) Of(pieces []model.Piece) ([]int, error) {
	var numbers []int
	seen := NewUnitSet(n.count)
	for _, p := range pieces {
		at, ok := n.at[p.Name]
		if !ok {
			return nil, fmt.Errorf("find tensor %q: %w", p.Name, ErrNotFound)
		}
		t := &n.tensors[at]
		if err := t.CheckSlice(p.Rows, p.K, n.leaf); err != nil {
			return nil, err
		}
		for i := range t.UnitsOf(p.Rows, p.K) {
			if number := n.first[at] + i; seen.Add(number) {
				numbers = append(numbers, number)
			}
		}
	}
	return numbers, nil
}

// Bytes is the size of all units of a set.
func (n *Numbering) Bytes(set *UnitSet) int64 {
	sum := int64(0)
	for number := range n.count {
		if set.Has(number) {
			u := n.unit(number)
			sum += u.Size()
		}
	}
	return sum
}

// UnitSet is a set of units of one model, by number. It is safe for concurrent use.
type UnitSet struct {
	count int
	words []atomic.Uint64
}

// NewUnitSet makes an empty set for a model of so many units.
func NewUnitSet(count int) *UnitSet {
	return &UnitSet{count: count, words: make([]atomic.Uint64, (count+63)/64)}
}

// fullUnitSet is the set of all units.
func fullUnitSet(count int) *UnitSet {
	s := NewUnitSet(count)
	for i := range s.words {
		s.words[i].Store(^uint64(0) >> max(0, (i+1)*64-count))
	}
	return s
}

// Has says whether a unit is in the set.
func (s *UnitSet) Has(number int) bool {
	return number >= 0 && number < s.count && s.words[number/64].Load()>>(number%64)&1 == 1
}

// Add puts a unit into the set and says whether it was not there before.
func (s *UnitSet) Add(number int) bool {
	if number < 0 || number >= s.count {
		return false
	}
	bit := uint64(1) << (number % 64)
	return s.words[number/64].Or(bit)&bit == 0
}

// Len is the number of units in the set.
func (s *UnitSet) Len() int {
	n := 0
	for i := range s.words {
		n += bits.OnesCount64(s.words[i].Load())
	}
	return n
}

// Full says whether every unit of the model is in the set.
func (s *UnitSet) Full() bool { return s.Len() == s.count }

// addAll puts the units of another set of the same model into this one.
func (s *UnitSet) addAll(other *UnitSet) {
	for i := range s.words {
		s.words[i].Or(other.words[i].Load())
	}
}

// clone is a copy of the set as it is now.
func (s *UnitSet) clone() *UnitSet {
	c := NewUnitSet(s.count)
	c.addAll(s)
	return c
}

// equal says whether two sets of the same model have the same units.
func (s *UnitSet) equal(other *UnitSet) bool {
	for i := range s.words {
		if s.words[i].Load() != other.words[i].Load() {
			return false
		}
	}
	return true
}

// BitsBytes is the length of the encoded set for a model of so many units.
func BitsBytes(count int) int { return (count + 63) / 64 * 8 }

// AppendBits appends the encoded set: one bit for each unit, the lowest first, to a multiple of eight bytes.
func (s *UnitSet) AppendBits(dst []byte) []byte {
	for i := range s.words {
		dst = binary.LittleEndian.AppendUint64(dst, s.words[i].Load())
	}
	return dst
}

// ParseBits reads an encoded set for a model of so many units. Other lengths, and bits for units that do not exist, give
// ErrCorrupt.
func ParseBits(data []byte, count int) (*UnitSet, error) {
	if len(data) != BitsBytes(count) {
		return nil, fmt.Errorf("parse set of units: %w: %d bytes for %d units", ErrCorrupt, len(data), count)
	}
	s := NewUnitSet(count)
	for i := range s.words {
		s.words[i].Store(binary.LittleEndian.Uint64(data[8*i:]))
	}
	if rest := count % 64; rest != 0 && s.words[len(s.words)-1].Load()>>rest != 0 {
		return nil, fmt.Errorf("parse set of units: %w: more than %d units", ErrCorrupt, count)
	}
	return s, nil
}
