package shard

import (
	"cmp"
	"math"
	"slices"
)

// Cut divides [0, n) into one slice per weight, in order, as near to proportional as borders at multiples of unit
// allow; only the end may be ragged. The slices cover [0, n) exactly, and some may be empty. A larger weight never
// gets less, and what a weight gets does not depend on its place unless another one ties with it. A weight that is
// negative, infinite or not a number counts as zero; when none is left, all count the same.
//
// This is Hamilton's method of largest remainders. n and unit must be positive.
func Cut(n, unit int, weights []float64) []Slice {
	if len(weights) == 0 {
		return nil
	}
	units := (n + unit - 1) / unit
	cuts := make([]Slice, len(weights))
	at := 0
	for i, count := range apportion(units, weights) {
		end := min(at+count*unit, n)
		cuts[i] = Slice{at, end}
		at = end
	}
	return cuts
}

// apportion divides units whole things by largest remainder; ties go to the larger weight, then to the lower index.
func apportion(units int, weights []float64) []int {
	weights = normalise(weights)
	// The sum is taken in sorted order, so that it has the same bits however the members are ordered.
	sum := 0.0
	for _, w := range slices.Sorted(slices.Values(weights)) {
		sum += w
	}
	counts := make([]int, len(weights))
	rests := make([]float64, len(weights))
	left := units
	for i, w := range weights {
		ideal := float64(units) * w / sum
		counts[i] = int(ideal)
		rests[i] = ideal - float64(counts[i])
		left -= counts[i]
	}
	order := make([]int, len(weights))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(rests[b], rests[a]), cmp.Compare(weights[b], weights[a]))
	})
	for i := 0; left > 0; i = (i + 1) % len(order) {
		counts[order[i]]++
		left--
	}
	return counts
}

// normalise scales the weights so that the largest is 1: then no sum overflows.
func normalise(weights []float64) []float64 {
	clean := make([]float64, len(weights))
	top := 0.0
	for i, w := range weights {
		if w > 0 && !math.IsInf(w, 1) {
			clean[i] = w
			top = max(top, w)
		}
	}
	for i := range clean {
		if top == 0 {
			clean[i] = 1
		} else {
			clean[i] /= top
		}
	}
	return clean
}
