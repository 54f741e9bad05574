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
	workers []worker    // the first is whoever calls Run
	spare   atomic.Bool // Go has processors that no worker takes

	run sync.Mutex // held through a Run and through Close

	// task is written only while no part is left, and read only by who holds a claimed part; the claim orders the two.
	task   Task
	failed atomic.Pointer[TaskPanic]
	stop   atomic.Bool
	exited sync.WaitGroup

	// The caller of Run waits for the last part on finished.
	finished chan struct{}

	// Every worker writes to left, once or twice a section; it has a cache line to itself.
	_       [cacheLine]byte
	left    atomic.Int64 // parts of the section that have not returned
	waiting atomic.Bool  // the caller of Run is parked
	_       [cacheLine - 16]byte
}

// cacheLine is the distance that keeps two words out of each other's way; some processors fetch lines in pairs.
const cacheLine = 128

// worker is one thread's share of the section.
type worker struct {
	span
	asleep atomic.Bool   // parked, or about to be
	wake   chan struct{} // one token for each asleep that another cleared
	_      [cacheLine - 24]byte
}

// New starts a pool of so many workers, one of which is the caller of Run; below 1 it takes one for each processor that
// Go may use. Close it when it is no longer needed.
func New(workers int) *Pool { return NewOn(nil, workers) }

// NewOn is New for a machine that may have several memories. There each worker but the caller of Run stays on the processors of one
// memory node, neighbouring workers on the same: the runs of parts that they are given are the same in every section of
// a shape, so each reads weights that it was the first to read, and whose pages therefore lie near. With one memory the
// operating system places the threads.
func NewOn(machine Machine, workers int) *Pool {
	if workers < 1 {
		workers = runtime.GOMAXPROCS(0)
	}
	p := &Pool{workers: make([]worker, workers), finished: make(chan struct{}, 1)}
	p.Retune()
	for i := 1; i < workers; i++ {
		p.workers[i].wake = make(chan struct{}, 1)
		p.exited.Go(func() { p.work(i, machine.nodeOf(i, workers)) })
	}
	return p
}

// Retune has to follow a change of GOMAXPROCS: how often waiting workers let other goroutines run depends on whether these have
// processors of their own. It may be called at any time.
func (p *Pool) Retune() { p.spare.Store(runtime.GOMAXPROCS(0) > len(p.workers)) }

// Workers is the number of threads that share a section, the caller among them.
func (p *Pool) Workers() int { return len(p.workers) }

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
	if p.failed.Load() != nil {
		p.failed.Store(nil)
	}
	p.task = task
	p.left.Store(int64(parts))
	defer p.finish()
	p.deal(parts)
	p.serve(0)
}

// deal gives each worker its run of parts, the caller first, and wakes who is parked.
func (p *Pool) deal(parts int) {
	each, more := parts/len(p.workers), parts%len(p.workers)
	for i, lo := 0, 0; i < len(p.workers) && lo < parts; i++ {
		hi := lo + each
		if i < more {
			hi++
		}
		p.workers[i].give(lo, hi)
		p.workers[i].rouse()
		lo = hi
	}
}

// finish ends a Run. It is deferred so that a part which ends the caller's goroutine leaves no section behind.
func (p *Pool) finish() {
	if p.left.Load() != 0 {
		p.serve(0)
		p.await()
	}
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
	for i := range p.workers {
		p.workers[i].rouse()
	}
	p.exited.Wait()
}

// Split is the range of n items that belongs to one of parts near-equal parts; it may be empty.
func Split(n, parts, part int) (lo, hi int) {
	return n * part / parts, n * (part + 1) / parts
}

// serve runs parts for one worker until there are none to be had.
func (p *Pool) serve(me int) {
	for !p.serveUntilPanic(me) {
	}
}

// serveUntilPanic runs the worker's own parts in ascending order and then what it can steal. After a part that panicked it
// notes that and reports false: there may be more.
func (p *Pool) serveUntilPanic(me int) bool {
	part, ran, ended := 0, int64(0), true
	defer func() {
		if !ended {
			p.failed.CompareAndSwap(nil, newTaskPanic(part, recover()))
			ran++
		}
		p.returned(ran)
	}()
	own, ok := &p.workers[me].span, false
	for part, ok = own.first(); ok; part, ok = own.first() {
		ended = false
		p.task.Do(part)
		ended = true
		ran++
	}
	// What is done is counted before the search, so that it holds nobody up. Once the last part is counted the next section may begin;
	// whatever section a claim falls into, it is of that section that task now speaks.
	p.returned(ran)
	ran = 0
	for part, ok = p.steal(me); ok; part, ok = p.steal(me) {
		ended = false
		p.task.Do(part)
		ended = true
		p.returned(1)
	}
	return true
}

// returned counts parts that have returned and tells a parked caller of Run when they were the last.
func (p *Pool) returned(parts int64) {
	if parts > 0 && p.left.Add(-parts) == 0 && p.waiting.CompareAndSwap(true, false) {
		p.finished <- struct{}{}
	}
}

// steal claims the last part of the worker with the most left, who is the slowest. It gives up when the worker
// has parts of its own: those of the next section.
func (p *Pool) steal(me int) (part int, ok bool) {
	for p.left.Load() > 0 && p.workers[me].size() <= 0 {
		victim, most := me, 0
		for i := range p.workers {
			if n := p.workers[i].size(); n > most {
				victim, most = i, n
			}
		}
		if most == 0 {
			return 0, false
		}
		if part, ok = p.workers[victim].last(); ok {
			return part, true
		}
	}
	return 0, false
}
