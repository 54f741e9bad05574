package sample

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

var negInf = float32(math.Inf(-1))

// sortedTop is the straightforward topM.
func sortedTop(logits []float32, lo, m int) []Candidate {
	var all []Candidate
	for i, l := range logits {
		if l > negInf {
			all = append(all, Candidate{int32(lo + i), l + 0})
		}
	}
	slices.SortFunc(all, func(a, b Candidate) int {
		return cmp.Or(cmp.Compare(b.Score, a.Score), cmp.Compare(a.Token, b.Token))
	})
	return all[:min(m, len(all))]
}

// topM is the m largest logits, largest first, of equal ones the smaller token first.
func topM(s *selection, logits []float32, lo, m int) (top []Candidate) {
	s.reset(m)
	s.add(logits, lo)
	for _, k := range s.sorted() {
		top = append(top, unkey(k))
	}
	return top
}

// rows draws logits with many ties, zeros of both signs, -Inf and now and then NaN.
func rows(t *rapid.T, least, most int) []float32 {
	coarse := rapid.Bool().Draw(t, "coarse")
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) float32 {
		switch rapid.IntRange(0, 40).Draw(t, "kind") {
		case 0:
			return negInf
		case 1:
			return float32(math.Copysign(0, -1))
		case 2:
			return float32(math.NaN())
		case 3:
			return rapid.Float32().Draw(t, "wild")
		}
		if coarse {
			return float32(rapid.IntRange(-3, 3).Draw(t, "level"))
		}
		return rapid.Float32Range(-30, 30).Draw(t, "logit")
	}), least, most).Draw(t, "logits")
}

// cut cuts 0..n into slices, some of them empty.
func cut(t *rapid.T, n int) []int {
	cuts := rapid.SliceOfN(rapid.IntRange(0, n), 0, 6).Draw(t, "cuts")
	cuts = append(cuts, 0, n)
	slices.Sort(cuts)
	return cuts
}

func TestSelectionAgreesWithSort(t *testing.T) {
	var s, part selection
	rapid.Check(t, func(t *rapid.T) {
		logits := rows(t, 0, 300)
		lo := rapid.IntRange(0, 1000).Draw(t, "lo")
		m := rapid.IntRange(1, 60).Draw(t, "m")
		got := topM(&s, logits, lo, m)
		if want := sortedTop(logits, lo, m); !slices.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
		// In pieces, in any order, and in two selections that are merged.
		cuts := cut(t, len(logits))
		order := rapid.Permutation(indices(len(cuts)-1)).Draw(t, "order")
		s.reset(m)
		part.reset(m)
		for at, i := range order {
			to := &s
			if at%2 == 1 {
				to = &part
			}
			to.add(logits[cuts[i]:cuts[i+1]], lo+cuts[i])
		}
		s.merge(&part)
		var merged []Candidate
		for _, k := range s.sorted() {
			merged = append(merged, unkey(k))
		}
		if !slices.Equal(merged, got) {
			t.Fatalf("merged %v, want %v", merged, got)
		}
	})
}

// TestSelectionOrders runs orders that are hard for a selection.
func TestSelectionOrders(t *testing.T) {
	const n = 20000
	rising := make([]float32, n)
	for i := range rising {
		rising[i] = float32(i)
	}
	falling := slices.Clone(rising)
	slices.Reverse(falling)
	hill := append(slices.Clone(rising[:n/2]), falling[n/2:]...)
	saw := slices.Clone(rising)
	for i := range saw {
		saw[i] = float32(i % 7)
	}
	var s selection
	for name, logits := range map[string][]float32{
		"rising": rising, "falling": falling, "hill": hill, "saw": saw, "level": make([]float32, n),
	} {
		for _, m := range []int{1, 2, 50, NucleusMax, n, n + 5} {
			if !slices.Equal(topM(&s, logits, 3, m), sortedTop(logits, 3, m)) {
				t.Errorf("%s, m = %d: wrong", name, m)
			}
		}
	}
}

// logits256k is a row as long as PolyLM's, about as spread as a model's.
func logits256k() []float32 {
	r := rand.New(rand.NewPCG(1, 2))
	logits := make([]float32, 256000)
	for i := range logits {
		logits[i] = float32(r.NormFloat64() * 2.5)
	}
	return logits
}

func BenchmarkSelection(b *testing.B) {
	logits := logits256k()
	rising := slices.Clone(logits)
	slices.Sort(rising)
	for name, row := range map[string][]float32{"order=random": logits, "order=rising": rising} {
		for _, m := range []int{1, 20, NucleusMax} {
			b.Run(name+"/m="+itoa(m), func(b *testing.B) {
				var s selection
				b.ReportAllocs()
				for b.Loop() {
					s.reset(m)
					s.add(row, 0)
					s.sorted()
				}
			})
		}
	}
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + itoa(n%10)
}

func BenchmarkLargest(b *testing.B) {
	logits := logits256k()
	for b.Loop() {
		largest(logits)
	}
}
