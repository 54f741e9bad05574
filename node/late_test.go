package node

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"polynode/engine/worker"
	"polynode/shard"
)

// accounts of ranks by name: "work", "idle", or the name of the rank that one waits for.
func accountsOf(says map[shard.NodeID]string, done uint64) map[shard.NodeID]worker.Progress {
	all := map[shard.NodeID]worker.Progress{}
	for id, does := range says {
		switch does {
		case "work":
			all[id] = worker.Progress{Running: true, Done: done}
		case "idle":
			all[id] = worker.Progress{}
		default:
			all[id] = worker.Progress{Running: true, Waits: shard.NodeID(does)}
		}
	}
	return all
}

// A step that hangs ends with the names of those it hangs at, and in time; one that is only slow goes on.
func TestWatchBlames(t *testing.T) {
	nodes := []shard.NodeID{"a", "b", "c"}
	plan := &shard.Plan{Stages: []shard.Stage{{Group: []shard.Rank{{Node: "a"}, {Node: "b"}, {Node: "c"}}}}}
	for _, c := range []struct {
		name   string
		says   map[shard.NodeID]string
		moves  bool // work gets done
		steps  int  // of 50 ms that have ended before
		blamed []shard.NodeID
		after  time.Duration // at the latest; zero: the step ends by itself after two minutes
	}{
		{"silent", map[shard.NodeID]string{"a": "b", "c": "b"}, false, 10, []shard.NodeID{"b"}, 1500 * time.Millisecond},
		{"silent in the first step", map[shard.NodeID]string{"a": "c", "b": "c"}, false, 0, []shard.NodeID{"c"}, 1500 * time.Millisecond},
		{"two silent", map[shard.NodeID]string{"a": "c"}, false, 10, []shard.NodeID{"b", "c"}, 1500 * time.Millisecond},
		{"wait in a circle", map[shard.NodeID]string{"a": "c", "b": "c", "c": "b"}, false, 10, []shard.NodeID{"c"}, 2 * time.Second},
		{"nobody has anything to do", map[shard.NodeID]string{"a": "idle", "b": "idle", "c": "idle"}, false, 10, nil, 2 * time.Second},
		{"no work is done", map[shard.NodeID]string{"a": "b", "b": "work", "c": "b"}, false, 0, []shard.NodeID{"b"}, 32 * time.Second},
		{"cold weights", map[shard.NodeID]string{"a": "b", "b": "work", "c": "b"}, true, 0, nil, 0},
		{"overloaded", map[shard.NodeID]string{"a": "b", "b": "work", "c": "b"}, true, 10, []shard.NodeID{"b"}, 11 * time.Second},
		{"this node works", map[shard.NodeID]string{"a": "work", "b": "a", "c": "a"}, false, 10, nil, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun := time.Now()
				w := &watch{self: "a", ask: func(ctx context.Context, asked []shard.NodeID) map[shard.NodeID]worker.Progress {
					if !slices.Equal(asked, nodes) {
						t.Errorf("asks %v", asked)
					}
					if len(c.says) < len(nodes) {
						patient, cancel := context.WithTimeout(ctx, askPatience)
						defer cancel()
						<-patient.Done()
					}
					done := uint64(0)
					if c.moves {
						done = uint64(time.Since(begun))
					}
					return accountsOf(c.says, done)
				}}
				w.follow(plan, 0)
				for range c.steps {
					if err := w.over(t.Context(), 1, func(context.Context) error { <-time.After(50 * time.Millisecond); return nil }); err != nil {
						t.Fatal(err)
					}
				}
				step := time.Now()
				err := w.over(t.Context(), 1, func(ctx context.Context) error {
					select {
					case <-ctx.Done():
						return ctx.Err()
					case <-time.After(2 * time.Minute):
						return nil
					}
				})
				took := time.Since(step)
				if c.after == 0 {
					if err != nil {
						t.Errorf("ended after %v: %v", took, err)
					}
					return
				}
				var late *lateError
				if !errors.As(err, &late) || !slices.Equal(late.nodes, c.blamed) {
					t.Fatalf("after %v: %v, want %v to blame", took, err, c.blamed)
				}
				if took > c.after || took < askAfterMin {
					t.Errorf("ended after %v, want at most %v", took, c.after)
				}
				for _, id := range c.blamed {
					if !strings.Contains(err.Error(), string(id)) {
						t.Errorf("%v does not name %s", err, id)
					}
				}
			})
		})
	}
}

// A machine that stood still itself blames nobody for what it did not hear meanwhile.
func TestWatchDoubtsItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		w := &watch{self: "a", ask: func(context.Context, []shard.NodeID) map[shard.NodeID]worker.Progress {
			if asked++; asked == 1 {
				<-time.After(5 * time.Second)
				return nil
			}
			return accountsOf(map[shard.NodeID]string{"a": "work", "b": "a"}, 0)
		}}
		w.follow(&shard.Plan{Stages: []shard.Stage{{Group: []shard.Rank{{Node: "a"}, {Node: "b"}}}}}, 0)
		err := w.over(t.Context(), 1, func(ctx context.Context) error {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(10 * time.Second):
				return nil
			}
		})
		if err != nil || asked < 2 {
			t.Errorf("asked %d times: %v", asked, err)
		}
	})
}

// What is expected of a step follows from steps like it.
func TestPace(t *testing.T) {
	var p pace
	if got := p.askAfter(256); got != askAfterMin {
		t.Errorf("asks after %v though nothing is known", got)
	}
	p.predicted = 200 * time.Millisecond
	if got := p.expected(4); got != 800*time.Millisecond {
		t.Errorf("four rows are predicted to take %v", got)
	}
	for range coldSteps {
		if !p.cold() {
			t.Error("warm too soon")
		}
		p.note(1, time.Hour)
	}
	p.note(1, 100*time.Millisecond)
	for rows, want := range map[int]time.Duration{1: 100, 2: 200, 64: 6400, 100: 6400} {
		if got := p.expected(rows); got != want*time.Millisecond {
			t.Errorf("%d rows: %v, want %d ms", rows, got, want)
		}
	}
	p.note(64, time.Second)
	if got := p.expected(130); got != 2*time.Second {
		t.Errorf("130 rows: %v", got)
	}
	p.note(1, time.Second)
	for range 100 {
		p.note(1, 100*time.Millisecond)
	}
	if got := p.expected(1); got > 110*time.Millisecond {
		t.Errorf("one long step is remembered as %v for ever", got)
	}
	if got := p.askAfter(1 << 30); got != askAfterMax {
		t.Errorf("asks after %v", got)
	}
}

// Who failed to answer, or else who is not heard by the others, is to blame for a step that failed.
func TestAutopsy(t *testing.T) {
	nodes := []shard.NodeID{"a", "b", "c"}
	lost := func(by map[shard.NodeID]shard.NodeID) map[shard.NodeID]worker.Progress {
		all := map[shard.NodeID]worker.Progress{}
		for id, whom := range by {
			all[id] = worker.Progress{Lost: whom}
		}
		return all
	}
	for _, c := range []struct {
		by   map[shard.NodeID]shard.NodeID
		want []shard.NodeID
	}{
		{map[shard.NodeID]shard.NodeID{"a": "b", "b": ""}, []shard.NodeID{"c"}},
		{map[shard.NodeID]shard.NodeID{"a": "b", "b": "", "c": ""}, []shard.NodeID{"b"}},
		{map[shard.NodeID]shard.NodeID{"a": "", "b": "c", "c": "b"}, []shard.NodeID{"c"}},
		{map[shard.NodeID]shard.NodeID{"a": "b", "b": "c", "c": "b"}, []shard.NodeID{"b"}},
		{map[shard.NodeID]shard.NodeID{"a": "", "b": "a", "c": "a"}, nil},
	} {
		if got := autopsy("a", nodes, lost(c.by)).nodes; !slices.Equal(got, c.want) {
			t.Errorf("%v: %v is to blame, want %v", c.by, got, c.want)
		}
	}
}

// Suspects have no place until they answer, and some not before a time.
func TestSuspects(t *testing.T) {
	s := newSuspects()
	now := time.Unix(1000, 0)
	s.add([]shard.NodeID{"a"}, now)
	s.add([]shard.NodeID{"b"}, now.Add(quarantine))
	if left := s.without(machinesOf("a", "b", "c")); len(left) != 1 || left[0].id != "c" {
		t.Errorf("%v have a place", left)
	}
	if due := s.due(now); !slices.Equal(due, []shard.NodeID{"a"}) {
		t.Errorf("%v are asked", due)
	}
	if due := s.due(now.Add(quarantine)); len(due) != 2 {
		t.Errorf("%v are asked in the end", due)
	}
	s.clear([]shard.NodeID{"a"})
	s.clear([]shard.NodeID{"b"})
	select {
	case <-s.back:
	default:
		t.Error("nobody learns of it")
	}
	if left := s.without(machinesOf("a", "b")); len(left) != 2 {
		t.Errorf("%v have a place in the end", left)
	}
}
