package shard

import (
	"math"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestCut(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for _, test := range []struct {
		name    string
		n, unit int
		weights []float64
		want    []Slice
	}{
		{"nobody", 10, 1, nil, nil},
		{"one", 10, 3, []float64{0.1}, []Slice{{0, 10}}},
		{"halves", 10, 1, []float64{1, 1}, []Slice{{0, 5}, {5, 10}}},
		{"odd goes to the first", 7, 1, []float64{2, 2}, []Slice{{0, 4}, {4, 7}}},
		{"three to one", 40, 1, []float64{3, 1}, []Slice{{0, 30}, {30, 40}}},
		{"ragged end", 100, 16, []float64{1, 1}, []Slice{{0, 64}, {64, 100}}},
		{"one unit for two", 5, 16, []float64{1, 2}, []Slice{{0, 0}, {0, 5}}},
		{"zero gets nothing", 12, 4, []float64{1, 0, 2}, []Slice{{0, 4}, {4, 4}, {4, 12}}},
		{"nonsense gets nothing", 12, 4, []float64{nan, 1, -3, inf}, []Slice{{0, 0}, {0, 12}, {12, 12}, {12, 12}}},
		{"all nonsense is equal", 12, 4, []float64{nan, 0, -1}, []Slice{{0, 4}, {4, 8}, {8, 12}}},
		{"huge weights", 4, 1, []float64{math.MaxFloat64, math.MaxFloat64}, []Slice{{0, 2}, {2, 4}}},
		{"vocabulary of PolyLM over three", 256000, 16, []float64{1, 1, 1}, []Slice{{0, 85344}, {85344, 170672}, {170672, 256000}}},
	} {
		if got := Cut(test.n, test.unit, test.weights); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: Cut(%d, %d, %v) = %v, want %v", test.name, test.n, test.unit, test.weights, got, test.want)
		}
	}
}

func TestCutProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 5000).Draw(t, "n")
		unit := rapid.IntRange(1, 300).Draw(t, "unit")
		weights := rapid.SliceOfN(rapid.Float64Range(0.01, 100), 1, 9).Draw(t, "weights")
		cuts := Cut(n, unit, weights)

		at, sum := 0, 0.0
		for i, cut := range cuts {
			if cut.Lo != at || cut.Hi < cut.Lo {
				t.Fatalf("slice %d is %v, want one that begins at %d", i, cut, at)
			}
			if cut.Hi%unit != 0 && cut.Hi != n {
				t.Fatalf("slice %d is %v: no border of unit %d", i, cut, unit)
			}
			at = cut.Hi
			sum += weights[i]
		}
		if at != n {
			t.Fatalf("slices end at %d of %d", at, n)
		}
		units := float64((n + unit - 1) / unit)
		for i, cut := range cuts {
			got := math.Ceil(float64(cut.Len()) / float64(unit))
			if ideal := units * weights[i] / sum; math.Abs(got-ideal) > 1.001 {
				t.Fatalf("slice %d has %v units, ideal %v", i, got, ideal)
			}
		}
	})
}

// What a member gets depends on its weight, not on its place: reordered members get reordered counts, up to the
// order among equals.
func TestCutOrderOfMembers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		units := rapid.IntRange(1, 5000).Draw(t, "units")
		weights := rapid.SliceOfN(rapid.OneOf(rapid.Float64Range(0, 10), rapid.SampledFrom([]float64{0.1, 0.2, 0.3, 0.7, 0.9})), 1, 9).Draw(t, "weights")
		shuffled := rapid.Permutation(weights).Draw(t, "shuffled")
		if got, want := byWeight(units, shuffled), byWeight(units, weights); !reflect.DeepEqual(got, want) {
			t.Fatalf("%v gives %v, but %v gives %v", shuffled, got, weights, want)
		}
		counts := apportion(units, weights)
		for i := range weights {
			for j := range weights {
				if weights[i] > weights[j] && counts[i] < counts[j] {
					t.Fatalf("weight %v got %d, weight %v got %d", weights[i], counts[i], weights[j], counts[j])
				}
			}
		}
	})
}

// Weights whose sum has other bits in another order, which once gave them other counts.
func TestCutOrderOfSum(t *testing.T) {
	for _, test := range []struct {
		units           int
		weights, others []float64
	}{
		{12, []float64{0.1, 0.1, 0.7}, []float64{0.7, 0.1, 0.1}},
		{4, []float64{0.9, 0.4, 0.3, 0.2, 0.6}, []float64{0.3, 0.6, 0.2, 0.4, 0.9}},
		{33, []float64{0.6, 0.9, 0.6, 0.1}, []float64{0.6, 0.1, 0.6, 0.9}},
	} {
		if a, b := byWeight(test.units, test.weights), byWeight(test.units, test.others); !reflect.DeepEqual(a, b) {
			t.Errorf("%d units: %v and %v", test.units, a, b)
		}
	}
}

// byWeight lists (weight, count) pairs in a canonical order.
func byWeight(units int, weights []float64) [][2]float64 {
	var pairs [][2]float64
	for i, count := range apportion(units, weights) {
		pairs = append(pairs, [2]float64{weights[i], float64(count)})
	}
	slices.SortFunc(pairs, func(a, b [2]float64) int { return slices.Compare(a[:], b[:]) })
	return pairs
}
