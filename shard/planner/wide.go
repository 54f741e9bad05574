package planner

import (
	"cmp"
	"encoding/binary"
	"math"
	"math/bits"
	"slices"
)

// A search among many machines tries these sizes of groups and numbers of stages, and improves the best of what it finds.
var wideSizes = []int{1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 25, 32, 40, 64}

// wide searches among more machines than can be grouped in all ways: first each alone, then a grid of sizes within sites of machines
// that are near each other, then small changes to the best.
func (s *search) wide() {
	for m := range s.machines {
		s.tryOnce([][]int{{m}})
	}
	s.tryMemory()
	for _, byMemory := range []bool{false, true} {
		for _, sites := range s.sites() {
			s.tryGrid(sites, byMemory)
		}
	}
	s.improve()
	s.tryIdle()
}

// tryOnce tries a way that was not tried before, if the budget allows.
func (s *search) tryOnce(groups [][]int) float64 {
	var key []byte
	work := 0
	for _, g := range groups {
		slices.Sort(g)
		for _, m := range g {
			key = binary.AppendUvarint(key, uint64(m)+1)
		}
		key = append(key, 0)
		work += len(g)*len(g) + 32*len(g)
	}
	if s.seen[string(key)] || s.work+work > s.workMax {
		return math.Inf(1)
	}
	s.seen[string(key)] = true
	s.work += work
	return s.try(groups)
}

// tryMemory tries the rows of single machines that have room for the most layers, so that a model that fits into a row of
// machines is always found to fit.
func (s *search) tryMemory() {
	layers := s.problem.Model.Shape.Layers
	middle := make([]int, len(s.machines)) // layers in a stage that is neither first nor last
	row := make([]int, len(s.machines))
	for m := range s.machines {
		row[m] = m
		middle[m] = s.layersMost(s.newGroup([]int{m}, 3, 1))
	}
	slices.SortStableFunc(row, func(a, b int) int { return cmp.Compare(middle[b], middle[a]) })
	for stages := 2; stages <= min(layers, len(row)); stages++ {
		// The last stage has the head as well: of the others take the one that loses least by it.
		bestAt, most := -1, 0
		for at, m := range row {
			here := s.layersMost(s.newGroup([]int{m}, stages, stages-1))
			if at < stages {
				here -= middle[m]
			} else {
				here -= middle[row[stages-1]]
			}
			if bestAt < 0 || here > most {
				bestAt, most = at, here
			}
		}
		machines := slices.Clone(row[:stages])
		if bestAt < stages {
			machines = append(slices.Delete(machines, bestAt, bestAt+1), row[bestAt])
		} else {
			machines[stages-1] = row[bestAt]
		}
		groups := make([][]int, stages)
		for i, m := range machines {
			groups[i] = []int{m}
		}
		if s.tryOnce(groups) < math.Inf(1) {
			return
		}
	}
}

// sites divides the machines into sites within which exchanges are cheap, once for each of several ideas of cheap, from all of them
// together to the closest. Machines of a site are in the usual order.
func (s *search) sites() [][][]int {
	n := len(s.machines)
	bytes := float64(s.problem.Model.Shape.Embed()) * s.problem.Costs.SumBytes
	// Costs are compared by their powers of two, in microseconds.
	level := func(i, j int) int {
		if us := 1e6 * (s.delay[i*n+j] + bytes*s.byteS[i*n+j]); us < 1<<40 {
			return bits.Len64(uint64(us))
		}
		return math.MaxInt
	}
	present := map[int]bool{} // only looked up
	for i := range n {
		for j := range i {
			present[level(i, j)] = true
		}
	}
	var out [][][]int
	for limit := 41; limit >= 0; limit-- {
		if !present[limit] {
			continue
		}
		sites := s.within(func(i, j int) bool { return level(i, j) <= limit })
		if len(out) == 0 || len(out[len(out)-1]) != len(sites) {
			out = append(out, sites)
		}
	}
	return out
}

// within divides the machines into those that are connected by near pairs.
func (s *search) within(near func(i, j int) bool) [][]int {
	n := len(s.machines)
	seen := make([]bool, n)
	var sites [][]int
	for first := range n {
		if seen[first] {
			continue
		}
		seen[first] = true
		site := []int{first}
		for at := 0; at < len(site); at++ {
			for m := range n {
				if !seen[m] && near(site[at], m) {
					seen[m] = true
					site = append(site, m)
				}
			}
		}
		slices.Sort(site)
		sites = append(sites, site)
	}
	return sites
}

// tryGrid tries groups of each size, cut from the sites, in rows of each length.
func (s *search) tryGrid(sites [][]int, byMemory bool) {
	for _, size := range wideSizes {
		groups := s.chop(sites, size, byMemory)
		if len(groups) == 0 {
			break
		}
		for _, stages := range append(wideSizes, s.problem.Model.Shape.Layers) {
			if stages > len(groups) || stages > s.problem.Model.Shape.Layers {
				continue
			}
			row := clone(groups[:stages])
			s.tryOnce(row)
			slices.Reverse(row)
			s.tryOnce(row)
		}
	}
}

// chop cuts the sites into groups of a size, fast (or large) machines first, and puts the best groups first. What is left
// of a site is dropped.
func (s *search) chop(sites [][]int, size int, byMemory bool) [][]int {
	var groups [][]int
	for _, site := range sites {
		if byMemory {
			site = slices.Clone(site)
			slices.SortStableFunc(site, func(a, b int) int { return cmp.Compare(s.machines[b].memory, s.machines[a].memory) })
		}
		for at := 0; at+size <= len(site); at += size {
			groups = append(groups, site[at:at+size])
		}
	}
	worth := func(g []int) float64 {
		sum := 0.0
		for _, m := range g {
			if byMemory {
				sum += s.machines[m].memory
			} else {
				sum += 1 / s.machines[m].readS
			}
		}
		return sum
	}
	slices.SortStableFunc(groups, func(a, b []int) int { return cmp.Compare(worth(b), worth(a)) })
	return groups
}
