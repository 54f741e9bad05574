package planner

import (
	"fmt"
	"math"

	"polynode/shard"
)

// Plan makes the best plan that it finds for a problem, or keeps the current one. A problem that makes no sense gives
// ErrProblem. When the model fits nowhere the error wraps ErrNoPlan and the report has no plan, but tells of every node
// why it is idle.
func Plan(p Problem) (Report, error) {
	if err := p.Validate(); err != nil {
		return Report{}, err
	}
	report := Report{Objective: p.Workload.Objective, Exact: true}
	var searches []*search
	var chosen choice
	for _, class := range p.classes() {
		s := newSearch(newFacts(&p, class))
		searches = append(searches, s)
		report.Searched += s.priced
		report.Exact = report.Exact && s.exact
		if c, ok := s.choose(); ok && (chosen.search == nil || better(&c.price, &chosen.price)) {
			chosen = c
		}
	}
	if chosen.search == nil {
		report.Idle = p.idle(searches, nil, math.Inf(1))
		return report, p.noPlan(searches)
	}
	chosen = p.keep(chosen, searches, &report)
	if err := chosen.plan.Validate(p.Model.Shape); err != nil {
		return report, fmt.Errorf("check plan: %w", err) // a mistake in this package
	}
	report.Plan = chosen.plan
	chosen.search.describe(&report, chosen)
	report.Solo = bestSolo(searches)
	report.Idle = p.idle(searches, chosen.plan, chosen.price.score)
	return report, nil
}

// choice is a plan with its price, and the search that found it.
type choice struct {
	search *search
	best
	plan *shard.Plan
	move int64 // bytes that it has to fetch
}
