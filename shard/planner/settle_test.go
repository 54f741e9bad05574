package planner

import (
	"testing"

	"pgregory.net/rapid"
)

// What the search says of a layout is what its plan costs, and the plan fits, whichever rank gets the ragged end of a matrix.
func TestLayoutsAreTheirPlans(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawProblem(t, 6, true)
		for _, class := range p.classes() {
			s := newSearch(newFacts(&p, class))
			for _, b := range s.pool {
				c := choice{search: s, best: s.exchange(b)}
				c.plan = s.plan(c.layout)
				if !s.settle(&c) {
					t.Fatalf("%+v does not fit as %+v", c.layout, c.plan)
				}
				times, ranks, err := Predict(p, c.plan)
				if err != nil || times.Score != s.prediction(&c.price).Score {
					t.Fatalf("%v ms, predicted %v, %v", s.prediction(&c.price).Score, times.Score, err)
				}
				for _, r := range ranks {
					if r.Memory.Need() > r.Memory.Available {
						t.Fatalf("%+v", r)
					}
				}
			}
		}
	})
}
