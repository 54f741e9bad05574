package planner

import (
	"math"
	"slices"
)

// Limits of the improvement of a layout.
const (
	startsMax     = 6  // layouts that are improved
	sweepsMax     = 40 // rounds of changes to each
	newcomersMax  = 8  // idle machines that are tried in each round
	idleTriesMax  = 64 // idle machines of which it is found out what they would cost
	neighboursMax = 600
)

// improve changes the best layouts in small ways for as long as that helps.
func (s *search) improve() {
	starts := s.starts()
	share := (s.workMax - s.work) / (len(starts) + 1)
	limit := s.workMax
	for i, groups := range starts {
		s.workMax = min(limit, s.work+share)
		now := s.pool[0].price.score
		if i > 0 {
			now = math.Inf(1)
		}
		for range sweepsMax {
			next, score := s.bestChange(groups)
			if next == nil || score >= now {
				break
			}
			groups, now = next, score
		}
	}
	s.workMax = limit
}

// starts are the best layouts that differ in the number of stages.
func (s *search) starts() [][][]int {
	var starts [][][]int
	for _, b := range s.pool {
		if !slices.ContainsFunc(starts, func(g [][]int) bool { return len(g) == len(b.machines) }) && len(starts) < startsMax {
			starts = append(starts, b.machines)
		}
	}
	return starts
}

// bestChange tries all small changes and returns the best.
func (s *search) bestChange(groups [][]int) (next [][]int, score float64) {
	score = math.Inf(1)
	tries := 0
	s.changes(groups, func(changed [][]int) bool {
		if got := s.tryOnce(changed); got < score {
			next, score = changed, got
		}
		tries++
		return tries < neighboursMax
	})
	return next, score
}

// changes calls visit with each small change of a layout, until it returns false.
func (s *search) changes(groups [][]int, visit func([][]int) bool) {
	newcomers := s.newcomers(groups)
	for a, g := range groups {
		for i, m := range g {
			without := drop(groups, a, i)
			if len(without) > 0 && !visit(without) {
				return
			}
			for _, n := range newcomers {
				swapped := clone(groups)
				swapped[a][i] = n
				if !visit(swapped) {
					return
				}
			}
			for b := range without {
				moved := clone(without)
				moved[b] = append(moved[b], m)
				if len(groups) > 1 && !visit(moved) {
					return
				}
			}
		}
		for _, n := range newcomers {
			added := clone(groups)
			added[a] = append(added[a], n)
			if !visit(added) || !visit(slices.Insert(clone(groups), a, []int{n})) {
				return
			}
		}
		if !s.trade(groups, a, visit) || !s.regroup(groups, a, visit) {
			return
		}
	}
	for _, n := range newcomers {
		if !visit(append(clone(groups), []int{n})) {
			return
		}
	}
}

// tradesMax is the most machines of a layout between whose groups single ones are exchanged.
const tradesMax = 32

// trade tries to exchange a machine of a stage for one of a later stage.
func (s *search) trade(groups [][]int, a int, visit func([][]int) bool) bool {
	total := 0
	for _, g := range groups {
		total += len(g)
	}
	if total > tradesMax {
		return true
	}
	for b := a + 1; b < len(groups); b++ {
		for i, x := range groups[a] {
			for j, y := range groups[b] {
				if s.kinds[x] == s.kinds[y] {
					continue
				}
				traded := clone(groups)
				traded[a][i], traded[b][j] = y, x
				if !visit(traded) {
					return false
				}
			}
		}
	}
	return true
}

// regroup tries to split a stage, to join it with the next one, and to make it the last.
func (s *search) regroup(groups [][]int, a int, visit func([][]int) bool) bool {
	g := groups[a]
	if len(g) > 1 {
		half := clone(groups)
		half[a] = half[a][:(len(g)+1)/2]
		if !visit(slices.Insert(half, a+1, slices.Clone(g[(len(g)+1)/2:]))) {
			return false
		}
	}
	if a+1 == len(groups) {
		return true
	}
	joined := clone(groups)
	joined[a] = append(joined[a], joined[a+1]...)
	if !visit(slices.Delete(joined, a+1, a+2)) {
		return false
	}
	last := clone(groups)
	last[a], last[len(last)-1] = last[len(last)-1], last[a]
	return visit(last)
}

// newcomers are idle machines worth a try: the fastest of each kind, and the largest.
func (s *search) newcomers(groups [][]int) []int {
	used := make([]bool, len(s.machines))
	for _, g := range groups {
		for _, m := range g {
			used[m] = true
		}
	}
	kindSeen := make([]bool, len(s.machines))
	var list []int
	largest := -1
	for m := range used {
		if used[m] {
			continue
		}
		if largest < 0 || s.machines[m].memory > s.machines[largest].memory {
			largest = m
		}
		if k := s.kinds[m]; !kindSeen[k] && len(list) < newcomersMax {
			kindSeen[k] = true
			list = append(list, m)
		}
	}
	if largest >= 0 && !slices.Contains(list, largest) {
		list = append(list, largest)
	}
	return list
}

// tryIdle finds out what the best layout would cost with machines that are in none, one of each kind.
func (s *search) tryIdle() {
	if len(s.pool) == 0 {
		return
	}
	groups := s.pool[0].machines
	tried := 0
	s.workMax += searchMax / 2
	for m := range s.machines {
		inIt := slices.ContainsFunc(groups, func(g []int) bool { return slices.Contains(g, m) })
		if k := s.kinds[m]; k != m && !inIt {
			s.with[m] = min(s.with[m], s.with[k])
		}
		if inIt || tried >= idleTriesMax || s.kinds[m] != m && s.with[m] < math.Inf(1) {
			continue
		}
		tried++
		for a := range min(len(groups), 4) {
			added := clone(groups)
			added[a] = append(added[a], m)
			s.tryOnce(added)
		}
		s.tryOnce(slices.Insert(clone(groups), 0, []int{m}))
	}
}

// drop is the layout without a machine, and without its stage if that is empty then.
func drop(groups [][]int, a, i int) [][]int {
	out := clone(groups)
	out[a] = slices.Delete(out[a], i, i+1)
	if len(out[a]) == 0 {
		out = slices.Delete(out, a, a+1)
	}
	return out
}

func clone(groups [][]int) [][]int {
	out := make([][]int, len(groups))
	for i, g := range groups {
		out[i] = slices.Clone(g)
	}
	return out
}
