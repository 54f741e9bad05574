package api

import "strings"

// stopper lets text through until a stop string is met, and holds back what may be the beginning of one. Its output does not
// depend on how the text was cut into pieces: of all stop strings the one that is complete first counts, and of those that are
// complete at the same byte the longest.
type stopper struct {
	stops []string
	held  string // not yet let through: the longest suffix of the text so far that begins a stop string
	met   int    // index of the stop string that was met, or -1
}

func newStopper(stops []string) *stopper { return &stopper{stops: stops, met: -1} }

// write adds text and returns what may be sent. Once a stop string is met it returns nothing more; the text of the stop
// string itself is never returned.
func (s *stopper) write(text string) string {
	if s.met >= 0 || text == "" {
		return ""
	}
	if len(s.stops) == 0 {
		return text
	}
	all := s.held + text
	for end := len(s.held) + 1; end <= len(all); end++ {
		if i := s.completeAt(all[:end]); i >= 0 {
			s.met, s.held = i, ""
			return all[:end-len(s.stops[i])]
		}
	}
	keep := s.heldLength(all)
	s.held = all[len(all)-keep:]
	return all[:len(all)-keep]
}

// flush ends the text and returns what was held back.
func (s *stopper) flush() string {
	held := s.held
	s.held = ""
	return held
}

// completeAt returns the index of the longest stop string that text ends with, or -1.
func (s *stopper) completeAt(text string) int {
	best := -1
	for i, stop := range s.stops {
		if stop[len(stop)-1] == text[len(text)-1] && strings.HasSuffix(text, stop) {
			if best < 0 || len(stop) > len(s.stops[best]) {
				best = i
			}
		}
	}
	return best
}

// heldLength returns the length of the longest suffix of text that is the beginning of a stop string.
func (s *stopper) heldLength(text string) int {
	longest := 0
	for _, stop := range s.stops {
		for n := min(len(stop)-1, len(text)); n > longest; n-- {
			if strings.HasSuffix(text, stop[:n]) {
				longest = n
				break
			}
		}
	}
	return longest
}
