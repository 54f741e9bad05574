package shard

import "fmt"

// Slice is a half-open range [Lo, Hi) of rows, columns, heads or layers.
type Slice struct {
	Lo int `json:"lo"`
	Hi int `json:"hi"`
}

// Len is the number of things in the slice.
func (s Slice) Len() int { return s.Hi - s.Lo }

// Empty reports whether nothing is in the slice.
func (s Slice) Empty() bool { return s.Hi <= s.Lo }

// Scale multiplies both ends: heads become rows.
func (s Slice) Scale(n int) Slice { return Slice{s.Lo * n, s.Hi * n} }

// Contains reports whether i lies in the slice.
func (s Slice) Contains(i int) bool { return s.Lo <= i && i < s.Hi }

// String is the slice as it is written in mathematics.
func (s Slice) String() string { return fmt.Sprintf("[%d, %d)", s.Lo, s.Hi) }
