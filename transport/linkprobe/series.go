package linkprobe

import (
	"slices"
	"time"
)

// Link is what was measured of the way to another node.
type Link struct {
	RoundTrip      time.Duration // of a small frame and its answer
	BytesPerSecond int64         // in one direction; 0 where it was not measured
}

// How far the figures look back.
const (
	roundsKept = 6 // of round trips
	ratesKept  = 3 // of bandwidth
)

// series is the measures of one link.
type series struct {
	rounds  []time.Duration
	rates   []int64
	ratedAt time.Time // when bandwidth was last measured, or that failed
}

// addRound takes the shortest round trip of one round.
func (s *series) addRound(d time.Duration) { s.rounds = push(s.rounds, d, roundsKept) }

// addRate takes one measure of bandwidth.
func (s *series) addRate(bytesPerSecond int64) { s.rates = push(s.rates, bytesPerSecond, ratesKept) }

func push[T any](list []T, v T, most int) []T {
	list = append(list, v)
	return list[max(0, len(list)-most):]
}

// link is what the measures say together: the round trip of the middle, because one round may have been disturbed or lucky, and the highest
// bandwidth, because others only take from it.
func (s *series) link() (Link, bool) {
	if len(s.rounds) == 0 {
		return Link{}, false
	}
	sorted := slices.Sorted(slices.Values(s.rounds))
	l := Link{RoundTrip: sorted[(len(sorted)-1)/2]}
	if len(s.rates) > 0 {
		l.BytesPerSecond = slices.Max(s.rates)
	}
	return l, true
}
