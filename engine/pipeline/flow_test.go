package pipeline

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"polynode/engine"
)

// Each stage is told of as many steps as there are stages before the first has ended, and the steps end in order.
func TestStepsFollowEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plan, ranks, all := grid(1, 2, 1)
		p, err := New(t.Context(), engine.Place{Plan: plan}, ranks)
		if err != nil {
			t.Fatal(err)
		}
		if p.Depth() != 3 || p.Ranks() != 4 {
			t.Errorf("depth %d, %d ranks", p.Depth(), p.Ranks())
		}
		steps, outputs := make([]engine.Step, 9), make([]engine.Output, 9)
		for i := range steps {
			steps[i].ID = uint64(i)
			p.Start(t.Context(), &steps[i], &outputs[i])
			if i < 2 {
				continue
			}
			if err := p.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := outputs[i-2].Results; len(got) != 1 || got[0].Token != int32(i-2) {
				t.Errorf("step %d gave %+v", i-2, got)
			}
		}
		for range 2 {
			if err := p.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		want := []uint64{0, 1, 2, 3, 4, 5, 6, 7, 8}
		for _, r := range all {
			if !slices.Equal(r.steps, want) || !slices.Equal(r.begun, want) {
				t.Errorf("rank %s was told of %v and ran %v", r.seat, r.begun, r.steps)
			}
		}
	})
}

// A failure and a plan that is given up end all steps under way, and each says what failed first. Close may come before they were waited for.
func TestAllStepsUnderWayEnd(t *testing.T) {
	for _, broken := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			plan, ranks, all := grid(1, 1)
			all[0].waitRun, all[1].waitRun = true, true
			if broken {
				all[1].runErr, all[1].waitRun = errBroken, false
			}
			p, err := New(t.Context(), engine.Place{Plan: plan}, ranks)
			if err != nil {
				t.Fatal(err)
			}
			for id := range uint64(2) {
				p.Start(t.Context(), &engine.Step{ID: id}, new(engine.Output))
			}
			want := errBroken
			if !broken {
				p.GiveUp()
				want = errGivenUp
			}
			if err := p.Close(); err != nil {
				t.Error(err)
			}
			for range 2 {
				if err := p.Wait(t.Context()); !errors.Is(err, want) {
					t.Errorf("a step ended with %v, want %v", err, want)
				}
			}
		})
	}
}
