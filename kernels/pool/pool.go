package pool

import (
	"fmt"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
)

// Task is one parallel section.
type Task interface {
	// Do runs one part. It must not call Run or Close of the pool that runs it.
	Do(part int)
}

// Pool is a fixed set of workers. Its methods may be called from any goroutine.
type Pool struct {
	workers int

	run sync.Mutex // held through a Run and through Close

	// The section in progress. task and parts are written only while no part is open, and are read only by who
	// holds a claimed part; the claim orders the two.
	task  Task
	parts int

	// Every thread hammers these two; each has a cache line to itself.
	_    [64]byte
	open atomic.Int64 // parts not yet claimed
	_    [56]byte
	done atomic.Int64 // parts finished
	_    [56]byte

	failed atomic.Pointer[TaskPanic]

	// Parked workers wait on wake until a part is open or stop is set.
	park   sync.Mutex
	wake   sync.Cond
	parked atomic.Int32
	stop   atomic.Bool

	// The caller of Run waits for the last part on finished.
	waiting  atomic.Bool
	finished chan struct{}

	exited sync.WaitGroup
}

// New starts a pool of so many workers, one of which is the caller of Run; below 1 it takes one for each processor that
// Go may use. Close it when it is no longer needed.
func New(workers int) *Pool {
	if workers < 1 {
		workers = runtime.GOMAXPROCS(0)
	}
	p := &Pool{workers: workers, finished: make(chan struct{}, 1)}
	p.wake.L = &p.park
	for range workers - 1 {
		p.exited.Go(p.work)
	}
	return p
}

// Workers is the number of threads that share a section, the caller among them.
func (p *Pool) Workers() int { return p.workers }

// Run calls task.Do once for each part in [0, parts) and returns when all have returned. Concurrent calls take turns.
// If a part panics the others still run, and Run then panics with a *TaskPanic. After Close it runs all
// parts on the caller.
func (p *Pool) Run(parts int, task Task) {
	if parts <= 0 {
		return
	}
	if parts > math.MaxInt32 {
		panic(fmt.Sprintf("pool: run %d parts", parts))
	}
	p.run.Lock()
	p.failed.Store(nil)
	p.done.Store(0)
	p.task, p.parts = task, parts
	p.open.Store(int64(parts))
	defer p.finish()
	if parts > 1 && p.workers > 1 {
		p.rouse(parts - 1)
	}
	for p.step() {
	}
}

// finish ends a Run. It is deferred so that a part which ends the caller's goroutine leaves no section behind.
func (p *Pool) finish() {
	for p.step() {
	}
	p.await()
	p.task = nil
	failure := p.failed.Load()
	p.run.Unlock()
	if failure != nil {
		panic(failure)
	}
}

// Close stops the workers and waits until they are gone. It waits for a Run in progress; closing again does nothing.
func (p *Pool) Close() {
	p.run.Lock()
	defer p.run.Unlock()
	p.stop.Store(true)
	p.park.Lock()
	p.wake.Broadcast()
	p.park.Unlock()
	p.exited.Wait()
}

// Split is the range of n items that belongs to one of parts near-equal parts; it may be empty.
func Split(n, parts, part int) (lo, hi int) {
	return n * part / parts, n * (part + 1) / parts
}

// step claims one part and runs it. It reports whether there was one.
func (p *Pool) step() bool {
	for {
		open := p.open.Load()
		if open == 0 {
			return false
		}
		// Whatever section the claim falls into, it is of that section that parts and task now speak.
		if p.open.CompareAndSwap(open, open-1) {
			p.do(p.parts - int(open))
			return true
		}
	}
}

// do runs one claimed part, notes its panic, and counts it as done however it ends.
func (p *Pool) do(part int) {
	returned := false
	total := int64(p.parts)
	defer func() {
		if !returned {
			p.failed.CompareAndSwap(nil, newTaskPanic(part, recover()))
		}
		if p.done.Add(1) == total && p.waiting.CompareAndSwap(true, false) {
			p.finished <- struct{}{}
		}
	}()
	p.task.Do(part)
	returned = true
}
