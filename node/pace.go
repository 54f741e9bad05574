package node

import (
	"math/bits"
	"time"
)

// How long steps may take before somebody asks why.
const (
	askAfterMin  = time.Second // machines hesitate
	askAfterMax  = time.Minute
	askAfterMany = 8 // times what is expected
	coldSteps    = 4 // of a plan, in which weights are read and compared with their hashes for the first time
)

// pace is what steps of the active plan take, by their size: what is expected of one size follows from the next that is known. It belongs to
// one goroutine at a time.
type pace struct {
	predicted time.Duration     // of a step of one row; zero if nobody predicted anything
	longest   [20]time.Duration // by power of two of rows; fades, so that one long step is forgotten after some dozens
	steps     int               // that have ended
}

// size is the class of a number of rows.
func (p *pace) size(rows int) int { return min(bits.Len(uint(max(rows, 1)))-1, len(p.longest)-1) }

// note takes a step into account that has ended.
func (p *pace) note(rows int, took time.Duration) {
	if p.steps++; p.steps <= coldSteps {
		return // says nothing of those that follow
	}
	longest := &p.longest[p.size(rows)]
	*longest = max(took, *longest-(*longest-took)/16)
}

// expected is what a step of so many rows takes: as long as the longest of its size, or else so much longer than the next smaller ones as it has more
// rows, or else as long as larger ones. Zero is unknown.
func (p *pace) expected(rows int) time.Duration {
	size := p.size(rows)
	for smaller := size; smaller >= 0; smaller-- {
		if t := p.longest[smaller]; t > 0 {
			return t << (size - smaller)
		}
	}
	for _, t := range p.longest[size:] {
		if t > 0 {
			return t
		}
	}
	return p.predicted * time.Duration(rows)
}

// askAfter is how long a step may take until its ranks are asked what they do. Asking costs nothing and ends nothing.
func (p *pace) askAfter(rows int) time.Duration {
	return min(max(askAfterMany*p.expected(rows), askAfterMin), askAfterMax)
}

// cold reports whether steps may still take any time.
func (p *pace) cold() bool { return p.steps < coldSteps }
