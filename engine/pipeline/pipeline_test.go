package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"

	"polynode/engine"
	"polynode/shard"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errBroken = errors.New("broken")

// fakeRank records what happens to it. A rank that is told to wait does so until its step is cancelled.
type fakeRank struct {
	mu         sync.Mutex
	seat       string
	begun      []uint64
	steps      []uint64
	closed     int
	assignErr  error
	runErr     error
	waitAssign bool
	waitRun    bool
}

func (r *fakeRank) Assign(ctx context.Context, place engine.Place) error {
	r.seat = fmt.Sprintf("%d/%d", place.Stage, place.Rank)
	if r.waitAssign {
		<-ctx.Done()
		return ctx.Err()
	}
	return r.assignErr
}

func (r *fakeRank) Begin(_ context.Context, step *engine.Step) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.begun = append(r.begun, step.ID)
	return nil
}

func (r *fakeRank) Run(ctx context.Context, step *engine.Step, out *engine.Output) error {
	r.mu.Lock()
	r.steps = append(r.steps, step.ID)
	r.mu.Unlock()
	if out != nil {
		out.Results = append(out.Results[:0], engine.Result{Token: int32(step.ID)})
	}
	if r.waitRun {
		<-ctx.Done()
		return ctx.Err()
	}
	return r.runErr
}

func (r *fakeRank) Close() error { r.closed++; return nil }

// grid is a plan with so many ranks in each stage, and the ranks.
func grid(groups ...int) (*shard.Plan, [][]Rank, []*fakeRank) {
	plan := &shard.Plan{Epoch: 3}
	var ranks [][]Rank
	var all []*fakeRank
	for _, n := range groups {
		plan.Stages = append(plan.Stages, shard.Stage{Group: make([]shard.Rank, n)})
		var group []Rank
		for range n {
			r := &fakeRank{}
			all = append(all, r)
			group = append(group, r)
		}
		ranks = append(ranks, group)
	}
	return plan, ranks, all
}

func TestEveryRankRunsEveryStep(t *testing.T) {
	for _, groups := range [][]int{{1}, {2}, {1, 1, 1}, {2, 3}} {
		plan, ranks, all := grid(groups...)
		p, err := New(t.Context(), engine.Place{Plan: plan}, ranks)
		if err != nil {
			t.Fatal(err)
		}
		var out engine.Output
		for id := range uint64(3) {
			if err := p.Execute(t.Context(), &engine.Step{ID: id}, &out); err != nil {
				t.Fatal(err)
			}
			if out.Results[0].Token != int32(id) {
				t.Errorf("%v: step %d gave %+v", groups, id, out.Results)
			}
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		seats := map[string]bool{}
		for _, r := range all {
			seats[r.seat] = true
			if !slices.Equal(r.steps, []uint64{0, 1, 2}) || r.closed != 1 {
				t.Errorf("%v: rank %s ran %v and was closed %d times", groups, r.seat, r.steps, r.closed)
			}
		}
		if len(seats) != len(all) {
			t.Errorf("%v: seats %v for %d ranks", groups, seats, len(all))
		}
	}
}

// Whichever rank fails, its error is the one that comes back, and the ranks that wait for it are released.
func TestAFailureReleasesTheOthers(t *testing.T) {
	for broken := range 5 {
		synctest.Test(t, func(t *testing.T) {
			plan, ranks, all := grid(2, 3)
			for i, r := range all {
				r.waitRun = i != broken
			}
			all[broken].runErr = errBroken
			p, err := New(t.Context(), engine.Place{Plan: plan}, ranks)
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Execute(t.Context(), &engine.Step{}, new(engine.Output)); !errors.Is(err, errBroken) {
				t.Errorf("rank %d broke, the step ended with %v", broken, err)
			}
			if err := p.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAFailedAssignmentClosesAllRanks(t *testing.T) {
	plan, ranks, all := grid(2, 1)
	all[0].waitAssign, all[1].waitAssign, all[2].assignErr = true, true, errBroken
	if _, err := New(t.Context(), engine.Place{Plan: plan}, ranks); !errors.Is(err, errBroken) || !errors.Is(err, ErrPlan) {
		t.Errorf("error %v", err)
	}
	for _, r := range all {
		if r.closed != 1 {
			t.Errorf("rank %s was closed %d times", r.seat, r.closed)
		}
	}
}

func TestRanksMustFitThePlan(t *testing.T) {
	plan, ranks, _ := grid(2)
	if _, err := New(t.Context(), engine.Place{Plan: plan}, [][]Rank{ranks[0][:1]}); !errors.Is(err, ErrPlan) {
		t.Errorf("one rank for a plan of two: %v", err)
	}
	if _, err := New(t.Context(), engine.Place{Plan: &shard.Plan{}}, nil); !errors.Is(err, ErrPlan) {
		t.Errorf("an empty plan: %v", err)
	}
}
