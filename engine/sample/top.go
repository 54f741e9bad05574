package sample

import (
	"math"
	"slices"
)

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

// selection keeps the m best candidates of logits that come piece by piece, in any order.
//
// Keys are gathered in a buffer of 2m; when it is full its better half is kept and the worst of that becomes the bar for the
// rest. Each of the n logits is compared once, so the work is n comparisons plus a few selections even for rising logits.
type selection struct {
	m     int
	keys  []uint64 // the first n of 2m
	n     int
	least uint64  // what a key has to exceed
	bar   float32 // the score of least: what a logit must reach
}

// reset empties the selection and sets how many it keeps.
func (s *selection) reset(m int) {
	s.m, s.n, s.least, s.bar = m, 0, 0, -math.MaxFloat32
	if cap(s.keys) < 2*m {
		s.keys = make([]uint64, 2*m)
	}
	s.keys = s.keys[:2*m]
}

// add looks at the logits of tokens lo, lo+1, …. Tokens of -Inf (and NaN) are never candidates.
func (s *selection) add(logits []float32, lo int) {
	if s.m == 1 {
		s.addLargest(logits, lo)
		return
	}
	if s.m <= 0 {
		return
	}
	for i, l := range logits {
		if l >= s.bar {
			s.push(key(int32(lo+i), l))
		}
	}
}

// addLargest is add for m = 1.
func (s *selection) addLargest(logits []float32, lo int) {
	most, found := largest(logits)
	if !found || !(most >= s.bar) {
		return
	}
	for i, l := range logits {
		if l == most {
			s.push(key(int32(lo+i), l))
			return
		}
	}
}

// push takes a candidate if it is better than what lies below the bar.
func (s *selection) push(k uint64) {
	if k <= s.least {
		return
	}
	if s.n == len(s.keys) {
		s.shrink()
		if k <= s.least {
			return
		}
	}
	s.keys[s.n] = k
	s.n++
}

// shrink drops all but the m best.
func (s *selection) shrink() {
	if s.n <= s.m {
		return
	}
	keepTop(s.keys[:s.n], s.m)
	s.n = s.m
	s.least = slices.Min(s.keys[:s.m])
	s.bar = unkey(s.least).Score
}

// merge takes what another selection has found.
func (s *selection) merge(o *selection) {
	if s.m <= 0 {
		return
	}
	for _, k := range o.keys[:o.n] {
		s.push(k)
	}
}

// sorted is the keys of the m best, best first. They stay the selection's.
func (s *selection) sorted() []uint64 {
	s.shrink()
	descend(s.keys[:s.n])
	return s.keys[:s.n]
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
