package pool

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type taskFunc func(part int)

func (f taskFunc) Do(part int) { f(part) }

// counts is a task that counts how often each part ran; the increments are plain so that -race sees a missing order.
type counts struct{ n []int }

func (c *counts) Do(part int) { c.n[part]++ }

func TestEveryPartOnce(t *testing.T) {
	for _, workers := range []int{1, 2, 3, 8} {
		for _, parts := range []int{0, 1, 2, 3, 7, 64, 1000} {
			t.Run(fmt.Sprintf("workers=%d/parts=%d", workers, parts), func(t *testing.T) {
				p := New(workers)
				defer p.Close()
				if p.Workers() != workers {
					t.Fatalf("%d workers, want %d", p.Workers(), workers)
				}
				task := &counts{n: make([]int, parts)}
				const rounds = 20
				for range rounds {
					p.Run(parts, task)
				}
				for part, n := range task.n {
					if n != rounds {
						t.Fatalf("part %d ran %d times in %d rounds", part, n, rounds)
					}
				}
			})
		}
	}
}

func TestManyShortSections(t *testing.T) {
	p := New(4)
	defer p.Close()
	rounds := 20000
	if testing.Short() {
		rounds = 2000
	}
	task := &counts{n: make([]int, 5)}
	for round := range rounds {
		p.Run(1+round%5, task)
	}
	total := 0
	for _, n := range task.n {
		total += n
	}
	if total != rounds*3 {
		t.Fatalf("%d parts ran, want %d", total, rounds*3)
	}
}

func TestPartsRunAtTheSameTime(t *testing.T) {
	const workers = 3
	p := New(workers)
	defer p.Close()
	for range 50 {
		// Each part waits for the others: this ends only if all workers take one.
		var here sync.WaitGroup
		here.Add(workers)
		p.Run(workers, taskFunc(func(int) {
			here.Done()
			here.Wait()
		}))
	}
}

func TestParkedWorkersWake(t *testing.T) {
	const workers = 3
	p := New(workers)
	defer p.Close()
	for range 20 {
		for i := 1; i < workers; i++ {
			for !p.workers[i].asleep.Load() { // idle long enough to park
				runtime.Gosched()
			}
		}
		var here sync.WaitGroup
		here.Add(workers)
		p.Run(workers, taskFunc(func(int) {
			here.Done()
			here.Wait()
		}))
	}
}

func TestCallerParksForSlowPart(t *testing.T) {
	p := New(2)
	defer p.Close()
	me := goroutine()
	for range 20 {
		var here sync.WaitGroup
		here.Add(2)
		finished := false
		p.Run(2, taskFunc(func(int) {
			here.Done()
			here.Wait()
			if goroutine() == me {
				return
			}
			for !p.waiting.Load() {
				runtime.Gosched()
			}
			finished = true
		}))
		if !finished {
			t.Fatal("Run returned before its part")
		}
	}
}

// goroutine names the calling goroutine.
func goroutine() string {
	line := make([]byte, 32)
	fields := strings.Fields(string(line[:runtime.Stack(line, false)]))
	return fields[1]
}

func TestConcurrentRunsTakeTurns(t *testing.T) {
	p := New(3)
	defer p.Close()
	var inside atomic.Int32
	var all sync.WaitGroup
	for caller := range 6 {
		all.Go(func() {
			for range 200 {
				var ran atomic.Int32
				p.Run(4, taskFunc(func(int) {
					if now := inside.Load(); now != 0 && now != int32(caller+1) {
						t.Errorf("caller %d's part runs in caller %d's section", caller, now-1)
					}
					inside.Store(int32(caller + 1))
					if ran.Add(1) == 4 {
						inside.Store(0)
					}
				}))
				if ran.Load() != 4 {
					t.Errorf("caller %d: %d of 4 parts ran", caller, ran.Load())
				}
			}
		})
	}
	all.Wait()
}

func TestPanicReachesCaller(t *testing.T) {
	cause := errors.New("bad weight")
	for _, workers := range []int{1, 4} {
		p := New(workers)
		defer p.Close()
		for bad := range 4 {
			var ran atomic.Int32
			got := runPanics(p, 4, taskFunc(func(part int) {
				ran.Add(1)
				if part == bad {
					panic(cause)
				}
			}))
			if got == nil || got.Part != bad || !errors.Is(got, cause) || len(got.Stack) == 0 {
				t.Fatalf("workers=%d: panic %v, want part %d and %v", workers, got, bad, cause)
			}
			if ran.Load() != 4 {
				t.Fatalf("workers=%d: %d of 4 parts ran", workers, ran.Load())
			}
		}
		after := &counts{n: make([]int, 9)}
		p.Run(9, after)
		for part, n := range after.n {
			if n != 1 {
				t.Fatalf("after a panic part %d ran %d times", part, n)
			}
		}
	}
}

func runPanics(p *Pool, parts int, task Task) (got *TaskPanic) {
	defer func() { got, _ = recover().(*TaskPanic) }()
	p.Run(parts, task)
	return nil
}

func TestGoexitInAPartDoesNotHang(t *testing.T) {
	p := New(3)
	for range 3 {
		var section sync.WaitGroup
		var ran atomic.Int32
		var got any
		section.Go(func() {
			defer func() { got = recover() }()
			p.Run(8, taskFunc(func(part int) {
				ran.Add(1)
				if part == 3 {
					runtime.Goexit()
				}
			}))
		})
		section.Wait()
		if failure, ok := got.(*TaskPanic); !ok || !errors.Is(failure, errExited) || ran.Load() != 8 {
			t.Fatalf("after %d parts Run panicked with %v", ran.Load(), got)
		}
	}
	p.Close()
}

func TestClose(t *testing.T) {
	p := New(4)
	p.Run(10, &counts{n: make([]int, 10)})
	p.Close()
	p.Close()
	task := &counts{n: make([]int, 10)}
	p.Run(10, task)
	for part, n := range task.n {
		if n != 1 {
			t.Fatalf("after Close part %d ran %d times", part, n)
		}
	}
}

func TestCloseWaitsForRun(t *testing.T) {
	p := New(2)
	started, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	var ended atomic.Bool
	var running sync.WaitGroup
	running.Go(func() {
		p.Run(1, taskFunc(func(int) {
			once.Do(func() { close(started) })
			<-release
			ended.Store(true)
		}))
	})
	<-started
	var closing sync.WaitGroup
	closing.Go(func() {
		p.Close()
		if !ended.Load() {
			t.Error("Close returned while a part was running")
		}
	})
	close(release)
	closing.Wait()
	running.Wait()
}

func TestRunAllocatesNothing(t *testing.T) {
	for _, workers := range []int{1, 2, 4} {
		p := New(workers)
		task := &counts{n: make([]int, 16)}
		if n := testing.AllocsPerRun(200, func() { p.Run(16, task) }); n != 0 {
			t.Errorf("workers=%d: %v allocations per Run", workers, n)
		}
		p.Close()
	}
}

func TestSplit(t *testing.T) {
	for n := range 40 {
		for parts := 1; parts < 12; parts++ {
			at := 0
			for part := range parts {
				lo, hi := Split(n, parts, part)
				if lo != at || hi < lo || hi-lo > n/parts+1 {
					t.Fatalf("part %d of %d of %d items is [%d, %d) after %d", part, parts, n, lo, hi, at)
				}
				at = hi
			}
			if at != n {
				t.Fatalf("%d parts of %d items end at %d", parts, n, at)
			}
		}
	}
}

func BenchmarkRun(b *testing.B) {
	for _, workers := range []int{1, 2, 4} {
		for _, parts := range []int{1, 2, 16} {
			b.Run(fmt.Sprintf("workers=%d/parts=%d", workers, parts), func(b *testing.B) {
				p := New(workers)
				defer p.Close()
				task := &counts{n: make([]int, 16*parts)}
				b.ReportAllocs()
				for b.Loop() {
					p.Run(parts, task)
				}
			})
		}
	}
}

// BenchmarkSection is a section of two equal parts of some microseconds, which two workers should take half as long for as
// one; the rest is what handing out costs.
func BenchmarkSection(b *testing.B) {
	for _, workers := range []int{1, 2} {
		b.Run(fmt.Sprintf("workers=%d", workers), func(b *testing.B) {
			p := New(workers)
			defer p.Close()
			var left, right work
			for b.Loop() {
				p.Run(2, taskFunc(func(part int) {
					if part == 0 {
						left.some()
					} else {
						right.some()
					}
				}))
			}
		})
	}
}

// work is a dependent chain of some thousand operations, which takes a core the same time wherever it runs.
type work struct {
	x uint64
	_ [cacheLine]byte
}

func (w *work) some() {
	x := w.x
	for range 4096 {
		x = x*6364136223846793005 + 1442695040888963407
	}
	w.x = x
}
