package pool

import (
	"runtime"
	"runtime/debug"
)

// How long a thread spins before it parks. One turn is a few nanoseconds; every yieldEvery turns it lets other goroutines
// run, so a spinning thread never starves the rest of the program. The whole is some tens of microseconds: longer than the
// serial code between two sections of one token, shorter than a person can notice.
const (
	spinTurns  = 1 << 14
	yieldEvery = 1 << 8
)

// work is the life of a worker. Tasks may read mapped files: a file that somebody cut or a disk that failed should end as a panic of
// the part, which Run hands on, and not as the end of the process.
func (p *Pool) work() {
	debug.SetPanicOnFault(true)
	for turn := 0; !p.stop.Load(); turn++ {
		if p.step() {
			turn = 0
			continue
		}
		if turn%yieldEvery == yieldEvery-1 {
			runtime.Gosched()
		}
		if turn >= spinTurns {
			p.sleep()
			turn = 0
		}
	}
}

// sleep parks the worker until a part is open or the pool stops. It counts itself as parked before it looks, and Run
// opens parts before it counts the parked, so one of the two always sees the other.
func (p *Pool) sleep() {
	p.park.Lock()
	p.parked.Add(1)
	for p.open.Load() == 0 && !p.stop.Load() {
		p.wake.Wait()
	}
	p.parked.Add(-1)
	p.park.Unlock()
}

// rouse wakes up to n parked workers.
func (p *Pool) rouse(n int) {
	if p.parked.Load() == 0 {
		return
	}
	p.park.Lock()
	for range min(n, p.workers-1) {
		p.wake.Signal()
	}
	p.park.Unlock()
}

// await returns when every part of the section is done. The caller has found no part left to claim.
func (p *Pool) await() {
	total := int64(p.parts)
	for turn := range spinTurns {
		if p.done.Load() == total {
			return
		}
		if turn%yieldEvery == yieldEvery-1 {
			runtime.Gosched()
		}
	}
	for p.done.Load() != total {
		p.waiting.Store(true)
		if p.done.Load() == total && p.waiting.CompareAndSwap(true, false) {
			return // nobody will send
		}
		// The sender may be a straggler of the section before, which was done but had not yet looked at waiting; look again.
		<-p.finished
	}
}
