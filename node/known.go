package node

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"polynode/cluster"
	"polynode/shard"
	"polynode/shard/planner"
)

// What makes a coordinator think again. Measures tremble, and each change of plan stops everybody: what plans are made from only follows
// what was measured when that differs much, and for a while.
const (
	factsRatio    = 1.25 // of speeds and memory
	factsPatience = 30 * time.Second
	linkRatio     = 1.5
	linkRoundTrip = 100e-6 // seconds of a round trip that are no difference
	linkPatience  = 15 * time.Second
	introduceWait = 3 * time.Second // a newcomer waits for a place until its links are measured, but no longer
)

// followed is a figure that plans are made from.
type followed[T any] struct {
	used    T
	differs time.Time // since when what is measured differs; zero if it does not
}

// follow takes a fresh figure over once it has differed for long enough, and reports whether it did.
func (f *followed[T]) follow(now time.Time, fresh T, same bool, patience time.Duration) bool {
	switch {
	case same:
		f.differs = time.Time{}
		return false
	case f.differs.IsZero():
		f.differs = now
	}
	if now.Sub(f.differs) < patience {
		return false
	}
	f.used, f.differs = fresh, time.Time{}
	return true
}

// pair is two nodes in order.
type pair [2]shard.NodeID

func pairOf(a, b shard.NodeID) pair { return pair{min(a, b), max(a, b)} }

// known is what a coordinator was told by the nodes, and what of it plans are made from. It is safe for concurrent use.
type known struct {
	mu       sync.Mutex
	reports  map[shard.NodeID]nodeReport
	facts    map[shard.NodeID]*followed[cluster.Facts]
	links    map[pair]*followed[planner.Link]
	met      map[shard.NodeID]time.Time // when a node was first seen here
	factors  map[shard.NodeID]factor
	revision uint64
	changed  chan struct{} // closed and replaced when there is news
}

func newKnown() *known {
	return &known{
		reports: map[shard.NodeID]nodeReport{}, facts: map[shard.NodeID]*followed[cluster.Facts]{}, links: map[pair]*followed[planner.Link]{},
		met: map[shard.NodeID]time.Time{}, factors: map[shard.NodeID]factor{}, changed: make(chan struct{}),
	}
}

// news wakes who waits for it. again says that plans should be thought over. The caller holds mu.
func (k *known) news(again bool) {
	if again {
		k.revision++
	}
	close(k.changed)
	k.changed = make(chan struct{})
}

// take notes a report. agreed are the facts that the cluster has agreed on, which held until now if there was no report before.
func (k *known) take(now time.Time, id shard.NodeID, agreed cluster.Facts, report nodeReport) {
	k.mu.Lock()
	defer k.mu.Unlock()
	last, before := k.reports[id]
	k.reports[id] = report
	f := k.facts[id]
	if f == nil {
		f = &followed[cluster.Facts]{used: agreed}
		k.facts[id] = f
	}
	patience := factsPatience
	if !before || last.Started != report.Started {
		patience = 0 // it was measured anew
		if before {
			delete(k.factors, id)
		}
	}
	again := f.follow(now, report.Facts, sameFacts(f.used, report.Facts), patience)
	for peer := range report.Links {
		again = k.followLink(now, id, peer) || again
	}
	if again || !before || len(report.Links) > len(last.Links) {
		k.news(again)
	}
}

// followLink puts together what both ends measured of a link: the shorter round trip, because either may have been busy.
func (k *known) followLink(now time.Time, a, b shard.NodeID) bool {
	there, measured := k.reports[a].Links[b]
	back, both := k.reports[b].Links[a]
	if !measured {
		return false
	}
	fresh := planner.Link{RoundTripS: there.RoundTripUS * 1e-6, BytesPerS: float64(max(there.BytesPerSecond, back.BytesPerSecond))}
	if both {
		fresh.RoundTripS = min(fresh.RoundTripS, back.RoundTripUS*1e-6)
	}
	rated := fresh.BytesPerS > 0
	if !rated {
		fresh.BytesPerS = linkDefault.BytesPerS
	}
	at, patience := pairOf(a, b), linkPatience
	f := k.links[at]
	if f == nil {
		f = &followed[planner.Link]{used: linkDefault}
		k.links[at] = f
		patience = 0
	}
	if rated && f.used.BytesPerS == linkDefault.BytesPerS {
		patience = 0 // it was only assumed before
	}
	return f.follow(now, fresh, sameLink(f.used, fresh), patience)
}

// near reports whether two figures are about the same.
func near(a, b, ratio float64) bool { return a == b || a > 0 && b > 0 && max(a, b) <= ratio*min(a, b) }

func sameFacts(a, b cluster.Facts) bool {
	return near(float64(a.MemoryBytes), float64(b.MemoryBytes), factsRatio) && near(float64(a.BytesPerSecond), float64(b.BytesPerSecond), factsRatio) &&
		near(float64(a.OpsPerSecond), float64(b.OpsPerSecond), factsRatio)
}

func sameLink(a, b planner.Link) bool {
	trip := math.Abs(a.RoundTripS-b.RoundTripS) <= linkRoundTrip || near(a.RoundTripS, b.RoundTripS, linkRatio)
	return trip && near(a.BytesPerS, b.BytesPerS, linkRatio)
}

// factsOf are the facts of a node that plans are made from.
func (k *known) factsOf(id shard.NodeID, agreed cluster.Facts) cluster.Facts {
	k.mu.Lock()
	defer k.mu.Unlock()
	facts := agreed
	if f := k.facts[id]; f != nil {
		facts = f.used
	}
	return k.factors[id].correct(facts)
}

// allLinks are the links that plans are made from.
func (k *known) allLinks() planner.Links {
	k.mu.Lock()
	defer k.mu.Unlock()
	links := planner.Links{Default: linkDefault}
	for _, at := range slices.SortedFunc(maps.Keys(k.links), func(a, b pair) int { return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1])) }) {
		links.Pairs = append(links.Pairs, planner.Pair{A: at[0], B: at[1], Link: k.links[at].used})
	}
	return links
}

// report is what a node said last.
func (k *known) report(id shard.NodeID) (nodeReport, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	r, there := k.reports[id]
	return r, there
}

// look gives the number of the last change that concerns plans, and a channel that is closed with the next news.
func (k *known) look() (revision uint64, changed <-chan struct{}) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.revision, k.changed
}

// introduced leaves out newcomers whose links to those of a plan are not measured yet, for a while: what was assumed of them would make a
// plan that is changed at once.
func (k *known) introduced(now time.Time, workers []machine, plan []shard.NodeID) []machine {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(workers), func(w machine) bool {
		if slices.Contains(plan, w.id) {
			return false
		}
		if k.met[w.id].IsZero() {
			k.met[w.id] = now
		}
		return !k.measured(w.id, plan) && now.Sub(k.met[w.id]) < introduceWait
	})
}

// measured reports whether the links from a node to some others are known. The caller holds mu.
func (k *known) measured(id shard.NodeID, others []shard.NodeID) bool {
	for _, other := range others {
		if k.links[pairOf(id, other)] == nil {
			return false
		}
	}
	return true
}

// lose forgets nodes that are not here: they may come back as others.
func (k *known) lose(here func(shard.NodeID) bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	gone := func(id shard.NodeID) bool { return !here(id) }
	maps.DeleteFunc(k.reports, func(id shard.NodeID, _ nodeReport) bool { return gone(id) })
	maps.DeleteFunc(k.met, func(id shard.NodeID, _ time.Time) bool { return gone(id) })
	maps.DeleteFunc(k.links, func(p pair, _ *followed[planner.Link]) bool { return gone(p[0]) || gone(p[1]) })
}
