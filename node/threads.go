package node

import (
	"context"
	"os"
	"runtime"

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
	if want := n.config.Threads + n.config.NetworkThreads; runtime.GOMAXPROCS(0) < want {
		runtime.GOMAXPROCS(want)
	}
	n.pool = pool.NewOn(machine, n.config.Threads)
	n.later(func(context.Context) error { n.pool.Close(); return nil })
	return nil
}
