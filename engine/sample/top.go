package sample

import (
	"math"
	"slices"
)

// Scratch is the working memory of one goroutine. The zero value is ready; buffers only grow.
type Scratch struct {
	keys    []uint64
	touched touched
	picks   []Pick
	next    []int
}

// key packs a candidate so that larger keys are better: a larger score, then a smaller token. -0 counts as 0.
func key(token int32, score float32) uint64 {
	bits := math.Float32bits(score + 0)
	if bits>>31 != 0 {
		bits = ^bits
	} else {
		bits |= 1 << 31
	}
	return uint64(bits)<<32 | uint64(^uint32(token))
}

// unkey is the inverse of key.
func unkey(k uint64) Candidate {
	bits := uint32(k >> 32)
	if bits>>31 != 0 {
		bits &^= 1 << 31
	} else {
		bits = ^bits
	}
	return Candidate{Token: int32(^uint32(k)), Score: math.Float32frombits(bits)}
}

// TopM appends to dst the m largest logits, largest first, of equal ones the smaller token first. logits[i] is that of token
// lo+i. Tokens of -Inf (and NaN) are never candidates, so there may be fewer than m.
func (s *Scratch) TopM(dst []Candidate, logits []float32, lo, m int) []Candidate {
	if m == 1 {
		return appendBest(dst, logits, lo)
	}
	for _, k := range s.selectTop(logits, lo, m) {
		dst = append(dst, unkey(k))
	}
	return dst
}

// appendBest is TopM for m = 1.
func appendBest(dst []Candidate, logits []float32, lo int) []Candidate {
	best, found := largest(logits)
	if !found {
		return dst
	}
	for i, l := range logits {
		if l == best {
			return append(dst, Candidate{Token: int32(lo + i), Score: best + 0})
		}
	}
	return dst
}

// selectTop returns the keys of the m largest logits, best first, in the scratch.
//
// Keys are gathered in a buffer of 2m; when it is full its better half is kept and the worst of that becomes the bar for the
// rest. Each of the n logits is compared once, so the work is n comparisons plus a few selections even for rising logits.
func (s *Scratch) selectTop(logits []float32, lo, m int) []uint64 {
	if m <= 0 {
		return nil
	}
	room := 2 * m
	if cap(s.keys) < room {
		s.keys = make([]uint64, room)
	}
	keys, n := s.keys[:room], 0
	bar := float32(math.Inf(-1))
	for i, l := range logits {
		if !(l > bar) { // a later token of equal score is never better
			continue
		}
		if n == room {
			keepTop(keys, m)
			n = m
			bar = unkey(slices.Min(keys[:m])).Score
			if !(l > bar) {
				continue
			}
		}
		keys[n] = key(int32(lo+i), l)
		n++
	}
	if n > m {
		keepTop(keys[:n], m)
		n = m
	}
	descend(keys[:n])
	return keys[:n]
}

// Merge appends to dst the m best candidates of several lists, best first, as TopM would of the logits they came from.
func (s *Scratch) Merge(dst []Candidate, m int, lists ...[]Candidate) []Candidate {
	keys := s.keys[:0]
	for _, list := range lists {
		for _, c := range list {
			keys = append(keys, key(c.Token, c.Score))
		}
	}
	s.keys = keys[:cap(keys)]
	if len(keys) > m {
		keepTop(keys, m)
		keys = keys[:m]
	}
	descend(keys)
	for _, k := range keys {
		dst = append(dst, unkey(k))
	}
	return dst
}

func descend(keys []uint64) {
	slices.Sort(keys)
	slices.Reverse(keys)
}

// keepTop moves the m largest keys to the front, in no particular order (Hoare's selection).
func keepTop(keys []uint64, m int) {
	lo, hi := 0, len(keys)-1
	for lo < hi {
		pivot := median(keys[lo], keys[lo+(hi-lo)/2], keys[hi])
		i, j := lo, hi
		for i <= j {
			for keys[i] > pivot {
				i++
			}
			for keys[j] < pivot {
				j--
			}
			if i <= j {
				keys[i], keys[j] = keys[j], keys[i]
				i++
				j--
			}
		}
		switch {
		case m-1 <= j:
			hi = j
		case m-1 >= i:
			lo = i
		default:
			return
		}
	}
}

func median(a, b, c uint64) uint64 {
	return max(min(a, b), min(max(a, b), c))
}
