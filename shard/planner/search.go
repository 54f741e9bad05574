package planner

import (
	"math"
	"slices"
)

// search goes through ways to put machines into groups and keeps what it finds.
type search struct {
	*facts
	kinds   []int     // by machine: machines of one kind can be exchanged for each other
	pool    []best    // the best so far, best first
	with    []float64 // by machine: the best score of all layouts that it is in
	priced  int       // layouts that were made
	exact   bool      // whether all were
	seen    map[string]bool
	workMax int // what a search among many may cost, in links looked at
	work    int
}

// best is a candidate that was found, with the machines in its groups.
type best struct {
	candidate
	machines [][]int
}

// Limits of a search. Both keep it deterministic: no clock ends it.
const (
	exactMax  = 20_000    // layouts up to which all are priced
	poolMax   = 48        // candidates that are kept for the choice between near-equal ones
	searchMax = 6_000_000 // links and shares that a search among many machines may look at
)

// newSearch finds the best layouts of the machines.
func newSearch(f *facts) *search {
	s := emptySearch(f)
	if s.exact = s.count(exactMax) <= exactMax; s.exact {
		s.each(func(groups [][]int) bool {
			s.try(groups)
			return true
		})
	} else {
		s.wide()
	}
	s.polish()
	return s
}

// emptySearch has found nothing yet.
func emptySearch(f *facts) *search {
	s := &search{facts: f, kinds: f.kinds(), with: make([]float64, len(f.machines)), seen: map[string]bool{}, workMax: searchMax}
	for i := range s.with {
		s.with[i] = math.Inf(1)
	}
	return s
}

// try prices one way to group machines and keeps it if it is good. It returns the score.
func (s *search) try(groups [][]int) float64 {
	s.priced++
	c, ok := s.arrange(groups)
	if !ok {
		return math.Inf(1)
	}
	s.add(c, groups)
	return c.price.score
}

// add keeps a candidate if it is good.
func (s *search) add(c candidate, groups [][]int) {
	for _, g := range groups {
		for _, m := range g {
			s.with[m] = min(s.with[m], c.price.score)
		}
	}
	at, _ := slices.BinarySearchFunc(s.pool, c, func(b best, c candidate) int {
		if better(&c.price, &b.price) {
			return 1
		}
		return -1 // the earlier of equals stays in front
	})
	if at < poolMax {
		s.pool = slices.Insert(s.pool, at, best{c, clone(groups)})
		s.pool = s.pool[:min(len(s.pool), poolMax)]
	}
}

// kinds finds machines that can be exchanged without anything changing: alike, with the same links to all others. A kind
// is named by its first machine.
func (f *facts) kinds() []int {
	n := len(f.machines)
	kinds := make([]int, n)
	for i := range kinds {
		kinds[i] = i
		for j := range i {
			if kinds[j] == j && f.alike(j, i) {
				kinds[i] = j
				break
			}
		}
	}
	return kinds
}

// alike reports whether two machines can be exchanged.
func (f *facts) alike(i, j int) bool {
	a, b, n := f.machines[i], f.machines[j], len(f.machines)
	a.id, a.node = b.id, b.node
	if a != b || f.handOut != nil && f.handOut[i] != f.handOut[j] {
		return false
	}
	for k := range n {
		if k != i && k != j && (f.delay[i*n+k] != f.delay[j*n+k] || f.byteS[i*n+k] != f.byteS[j*n+k]) {
			return false
		}
	}
	return true
}

// count counts the ways to group the machines, up to a little more than limit.
func (s *search) count(limit int) int {
	if len(s.machines) > 32 {
		return limit + 1
	}
	n := 0
	s.each(func([][]int) bool {
		n++
		return n <= limit
	})
	return n
}

// each calls visit with every way to put some of the machines into a row of groups, until it returns false. Of ways that differ
// only in machines of one kind it makes one. Groups are only valid during the call.
func (s *search) each(visit func(groups [][]int) bool) {
	used := make([]bool, len(s.machines))
	var groups [][]int
	var grow func(from int) bool
	// free reports whether a machine may be taken: unused, and no unused one of its kind before it.
	free := func(m int) bool {
		if used[m] {
			return false
		}
		for j := s.kinds[m]; j < m; j++ {
			if s.kinds[j] == s.kinds[m] && !used[j] {
				return false
			}
		}
		return true
	}
	// grow adds machines from a number on to the last group, or begins another one.
	grow = func(from int) bool {
		last := len(groups) - 1
		for m := from; m < len(used); m++ {
			if !free(m) {
				continue
			}
			used[m] = true
			groups[last] = append(groups[last], m)
			goOn := visit(groups) && grow(m+1)
			if goOn && len(groups) < s.problem.Model.Shape.Layers {
				groups = append(groups, nil)
				goOn = grow(0)
				groups = groups[:last+1]
			}
			groups[last] = groups[last][:len(groups[last])-1]
			used[m] = false
			if !goOn {
				return false
			}
		}
		return true
	}
	groups = append(groups, nil)
	grow(0)
}
