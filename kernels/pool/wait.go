package pool

import (
	"runtime"
	"runtime/debug"
	"time"
)

// How long a thread spins before it parks: longer than the serial work between two sections of one token and than the
// engine needs between two tokens, since a parked thread takes some 30 to 60 µs to wake; shorter than anybody notices.
const spinTime = 200 * time.Microsecond

const (
	pauses      = 4       // of the processor between two looks at a word
	yieldOften  = 1 << 6  // looks between two yields where workers take every processor that Go has: some microseconds
	yieldSeldom = 1 << 10 // and where others have processors left, which each yield would wake
)

// spinner counts the turns of one wait.
type spinner struct {
	every int  // turns between two yields
	own   bool // the goroutine has a thread to itself
	turns int
	since time.Time
}

// spinner begins a wait.
func (p *Pool) spinner() spinner {
	if p.spare.Load() {
		return spinner{every: yieldSeldom}
	}
	return spinner{every: yieldOften}
}

// turn lets a moment pass. It reports false once the wait has been longer than spinTime. Now and then it lets other goroutines
// run, so that a thread that waits starves nobody, even where there are more workers than processors.
func (s *spinner) turn() bool {
	pause(pauses)
	s.turns++
	if s.turns%s.every != 0 {
		return true
	}
	if !s.own { // it could only hand its processor to another thread and wait for that to hand it back
		runtime.Gosched()
	}
	if s.since.IsZero() {
		s.since = time.Now()
		return true
	}
	return time.Since(s.since) < spinTime
}

// work is the life of a worker. Tasks may read mapped files: a file that somebody cut or a disk that failed should end as a panic of
// the part, which Run hands on, and not as the end of the process.
//
// With processors given it keeps an OS thread there for itself. The thread ends with the goroutine, which never gives it back.
func (p *Pool) work(me int, processors []int) {
	debug.SetPanicOnFault(true)
	own := len(processors) > 0
	if own {
		runtime.LockOSThread()
		if stayOn(processors) != nil { // no longer allowed there: anywhere is better than nowhere
			runtime.UnlockOSThread()
			own = false
		}
	}
	for !p.stop.Load() {
		p.serve(me)
		p.rest(&p.workers[me], own)
	}
}

// rest returns when the worker has parts of its own or the pool stops.
func (p *Pool) rest(w *worker, own bool) {
	spin := p.spinner()
	spin.own = own
	for w.size() <= 0 && !p.stop.Load() {
		if !spin.turn() {
			w.sleep(p)
			return
		}
	}
}

// sleep parks the worker until it has parts or the pool stops. It says that it sleeps before it looks, and who gives it
// parts gives them before looking whether it sleeps, so one of the two always sees the other.
func (w *worker) sleep(p *Pool) {
	w.asleep.Store(true)
	if (w.size() > 0 || p.stop.Load()) && w.asleep.CompareAndSwap(true, false) {
		return // nobody will send
	}
	<-w.wake
}

// rouse wakes the worker if it is parked.
func (w *worker) rouse() {
	if w.asleep.Load() && w.asleep.CompareAndSwap(true, false) {
		w.wake <- struct{}{}
	}
}

// await returns when every part of the section has returned. The caller has found no part left to claim.
func (p *Pool) await() {
	spin := p.spinner()
	for p.left.Load() != 0 && spin.turn() {
	}
	for p.left.Load() != 0 {
		p.waiting.Store(true)
		if p.left.Load() == 0 && p.waiting.CompareAndSwap(true, false) {
			return // nobody will send
		}
		// The sender may be a straggler of the section before, which was done but had not yet looked at waiting; look again.
		<-p.finished
	}
}
