package pool

import "sync/atomic"

// span is the parts that one worker was given and that nobody has claimed yet: [next, end), in one word so that a single
// compare-and-swap claims a part whoever else is at it. The owner takes from the front and so walks through memory in one
// direction; thieves take from the back, where they meet it last. Parts never return to a span, so a claim is
// right whenever the word has not changed.
type span struct{ word atomic.Uint64 }

func packSpan(next, end int) uint64 { return uint64(next)<<32 | uint64(end) }

// give fills an empty span with [lo, hi).
func (s *span) give(lo, hi int) { s.word.Store(packSpan(lo, hi)) }

// size is the number of parts that are left.
func (s *span) size() int {
	word := s.word.Load()
	return int(word&0xffffffff) - int(word>>32)
}

// first claims the lowest part.
func (s *span) first() (part int, ok bool) {
	for {
		word := s.word.Load()
		next, end := int(word>>32), int(word&0xffffffff)
		if next >= end {
			return 0, false
		}
		if s.word.CompareAndSwap(word, packSpan(next+1, end)) {
			return next, true
		}
	}
}

// last claims the highest part.
func (s *span) last() (part int, ok bool) {
	for {
		word := s.word.Load()
		next, end := int(word>>32), int(word&0xffffffff)
		if next >= end {
			return 0, false
		}
		if s.word.CompareAndSwap(word, packSpan(next, end-1)) {
			return end - 1, true
		}
	}
}
