package node

import (
	"math"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"polynode/configs"
	"polynode/kernels/pool"
)

func TestThreads(t *testing.T) {
	machine := pool.Machine{{0, 1, 2, 3}, {8, 9, 10, 11}}
	for _, c := range []struct {
		wanted, processors int
		quota              float64
		want               int
	}{
		{0, 16, 16, 8},   // half of the processors are twins
		{0, 16, 3.5, 3},  // the control group
		{0, 16, 0.5, 1},  // always one
		{0, 6, 16, 6},    // GOMAXPROCS
		{12, 16, 2, 12},  // what a person wants
		{0, 16, 1e30, 8}, // no overflow
	} {
		if got := threads(c.wanted, machine, c.processors, c.quota); got != c.want {
			t.Errorf("%+v: %d threads", c, got)
		}
	}
}

// The network has processors that no computing thread holds.
func TestNodeLeavesProcessorsToTheNetwork(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(before)
	n := start(t, func(c *configs.Config) { c.Threads, c.NetworkThreads = before+1, 3 })
	if got := runtime.GOMAXPROCS(0); got != before+4 || n.pool.Workers() != before+1 || n.Info().Threads != before+1 {
		t.Errorf("%d processors for %d workers, the node says %d threads; want %d for %d", got, n.pool.Workers(), n.Info().Threads, before+4, before+1)
	}
	n = start(t, nil)
	if got := n.pool.Workers(); got < 1 || got > before || n.Info().Threads != got {
		t.Errorf("auto is %d workers of %d processors, the node says %d", got, before, n.Info().Threads)
	}
}

// While ranks share matrices Go has no processors but those that compute.
func TestNodeComputesAndWaitsOnTheSameProcessors(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(before)
	n := start(t, func(c *configs.Config) { c.Threads, c.NetworkThreads = before+1, 3 })
	for _, c := range []struct {
		sharing bool
		others  int32
		want    int
	}{{true, 0, before + 1}, {false, 0, before + 4}, {true, 1, before + 4}} {
		inProcess.Add(c.others)
		n.arrange(c.sharing)
		inProcess.Add(-c.others)
		if got := runtime.GOMAXPROCS(0); got != c.want {
			t.Errorf("%+v: %d processors", c, got)
		}
	}
}

func TestCgroupProcessors(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"box/cpu.max": "350000 100000", "box/free/cpu.max": "max 100000", "box/tight/cpu.max": "50000 100000", "odd/cpu.max": "5",
		"cpu/old/cpu.cfs_quota_us": "200000", "cpu/old/cpu.cfs_period_us": "100000", "cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for membership, want := range map[string]float64{
		"0::/box\n": 3.5, "0::/box/free\n": 3.5, "0::/box/tight\n": 0.5, "0::/odd\n": math.Inf(1), "0::/\n": math.Inf(1), "": math.Inf(1),
		"3:cpu,cpuacct:/old\n0::/\n": 2, "3:cpu:/old/gone\n": 2, "4:memory:/old\n": math.Inf(1),
	} {
		got, ok := cgroupProcessors(root, membership)
		if got != want || ok != !math.IsInf(want, 1) {
			t.Errorf("%q: %v, %v, want %v", membership, got, ok, want)
		}
	}
}
