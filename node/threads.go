package node

import (
	"context"
	"os"
	"runtime"
	"sync/atomic"

	"polynode/kernels/pool"
)

// threads decides how many threads compute, where the settings leave it to the node: one for each physical core that the process
// may use, since two on one core share its arithmetic units and its way to memory, and no more than its control group
// and GOMAXPROCS allow.
func threads(wanted int, machine pool.Machine, processors int, quota float64) int {
	if wanted > 0 {
		return wanted
	}
	return max(1, min(machine.Cores(), processors, int(min(quota, float64(processors)))))
}

// inProcess is how many nodes this process runs: tests run several.
var inProcess atomic.Int32

// startPool starts the computing threads, and gives Go processors for them and for the rest of the node: computing threads hold
// theirs even while they wait for each other, and without more the network would wait for them. Another node of the same process may have
// taken more already.
func (n *Node) startPool(context.Context) error {
	quota := float64(runtime.NumCPU())
	membership, _ := os.ReadFile("/proc/self/cgroup") // not there: not Linux, no groups
	if limit, ok := cgroupProcessors("/sys/fs/cgroup", string(membership)); ok {
		quota = limit
	}
	machine := pool.ThisMachine()
	n.config.Threads = threads(n.config.Threads, machine, runtime.GOMAXPROCS(0), quota)
	n.processors = max(runtime.GOMAXPROCS(0), n.config.Threads+n.config.NetworkThreads)
	if runtime.GOMAXPROCS(0) < n.processors {
		runtime.GOMAXPROCS(n.processors)
	}
	n.pool = pool.NewOn(machine, n.config.Threads)
	inProcess.Add(1)
	n.later(func(context.Context) error {
		n.pool.Close()
		inProcess.Add(-1)
		return nil
	})
	return nil
}

// arrange is worker.Options.Arrange. Where ranks share matrices they wait for each other dozens of times in a token, each time for less than a
// thread takes to wake up. There Go gets no processors beside those that compute: whoever waits does the network's work itself, on
// the core where it goes on afterwards, and no other thread wakes up beside it to take that core away. The price is that all else,
// such as gossip, waits up to 20 ms for a computing thread to be interrupted.
func (n *Node) arrange(sharing bool) {
	want := n.processors
	switch {
	case inProcess.Load() > 1: // they share their processors
		return
	case sharing:
		want = n.config.Threads
	}
	if runtime.GOMAXPROCS(0) != want {
		runtime.GOMAXPROCS(want)
		n.pool.Retune()
	}
}
