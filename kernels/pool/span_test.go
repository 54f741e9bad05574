package pool

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"
)

// The owner takes from the front, thieves from the back, and together they take every part once.
func TestSpan(t *testing.T) {
	var s span
	if _, ok := s.first(); ok || s.size() != 0 {
		t.Fatal("an empty span gave a part")
	}
	s.give(3, 7)
	if a, _ := s.first(); a != 3 {
		t.Errorf("the first of [3, 7) is %d", a)
	}
	if b, _ := s.last(); b != 6 || s.size() != 2 {
		t.Errorf("the last of [4, 7) is %d and leaves %d", b, s.size())
	}
	s.first()
	s.last()
	if _, ok := s.last(); ok || s.size() != 0 {
		t.Error("[3, 7) gave a fifth part")
	}
}

func TestSpanGivesEachPartOnce(t *testing.T) {
	const parts = 1 << 12
	var s span
	s.give(0, parts)
	taken := make([]atomic.Int32, parts)
	var takers sync.WaitGroup
	for i := range 4 {
		claim := s.last
		if i == 0 {
			claim = s.first
		}
		takers.Go(func() {
			for part, ok := claim(); ok; part, ok = claim() {
				taken[part].Add(1)
			}
		})
	}
	takers.Wait()
	for part := range taken {
		if n := taken[part].Load(); n != 1 {
			t.Fatalf("part %d was taken %d times", part, n)
		}
	}
}

// Each worker walks through its own run of parts, in order.
func TestWorkersTakeTheirRunsInOrder(t *testing.T) {
	const workers, each = 3, 5
	p := New(workers)
	defer p.Close()
	var mu sync.Mutex
	began := map[string][]int{}
	var all sync.WaitGroup
	all.Add(workers)
	p.Run(workers*each, taskFunc(func(part int) {
		mu.Lock()
		me := goroutine()
		first := len(began[me]) == 0
		began[me] = append(began[me], part)
		mu.Unlock()
		if first { // nobody goes on before everybody has begun, so that nobody steals a whole run
			all.Done()
			all.Wait()
		}
	}))
	var firsts []int
	for who, parts := range began {
		run := parts[0] / each
		firsts = append(firsts, parts[0])
		for i, part := range parts {
			if part/each != run {
				break // stolen, after its own
			}
			if part != parts[0]+i {
				t.Errorf("%s ran %v: not its run in order", who, parts)
			}
		}
	}
	slices.Sort(firsts)
	if !slices.Equal(firsts, []int{0, each, 2 * each}) {
		t.Errorf("the workers began at %v", firsts)
	}
}

// A worker that is stuck in a part delays the section by that part: the others take the rest of its run.
func TestSlowWorkerIsRobbed(t *testing.T) {
	const workers, parts = 3, 30
	p := New(workers)
	defer p.Close()
	for slow := range workers {
		others := make(chan struct{})
		var ran atomic.Int32
		p.Run(parts, taskFunc(func(part int) {
			if part == slow*parts/workers {
				<-others
				return
			}
			if ran.Add(1) == parts-1 {
				close(others)
			}
		}))
	}
}
