package node

import (
	"context"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"polynode/cluster"
	"polynode/kernels/pool"
	"polynode/transport/linkprobe"
)

// Times of measuring this machine again.
const (
	memoryEvery = 5 * time.Second
	speedEvery  = 10 * time.Minute
	speedQuiet  = 30 * time.Second // without a step before speed is measured
	speedRoom   = 1 << 30          // bytes that have to be free for it
)

// facts are what this machine can do, as far as others have to know it. They are safe for concurrent use.
type facts struct {
	mu     sync.Mutex
	values cluster.Facts
	own    int64 // bytes that this process had in memory for itself when it measured how much there is
}

func (f *facts) now() cluster.Facts {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.values
}

func (f *facts) change(change func(*cluster.Facts)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(&f.values)
}

// measure finds out what this machine can do when it starts.
func (n *Node) measure() error {
	if given := n.with.facts; given != nil {
		n.facts.change(func(f *cluster.Facts) { *f = *given })
		n.available = func() (int64, error) { return given.MemoryBytes, nil }
		return nil
	}
	memory, err := availableMemory()
	if err != nil {
		return err
	}
	n.facts.own, _ = ownMemory()
	n.facts.change(func(f *cluster.Facts) {
		*f = cluster.Facts{Version: n.config.Version, Cores: n.config.Threads, MemoryBytes: memory}
	})
	n.available = availableMemory
	if n.config.Listen == "" {
		return nil
	}
	n.measureSpeed(n.pool)
	n.available = func() (int64, error) { return memory, nil } // later the model itself takes part of it
	return nil
}

// measureSpeed measures this machine's threads together.
func (n *Node) measureSpeed(threads *pool.Pool) {
	bytes, ops := probe(threads)
	n.facts.change(func(f *cluster.Facts) { f.BytesPerSecond, f.OpsPerSecond = bytes, ops })
}

// refresh measures this machine again from time to time, until ctx ends: what is free of its memory, and, while it is idle, how fast it is.
func (n *Node) refresh(ctx context.Context) {
	if n.with.facts != nil {
		return
	}
	ticker := time.NewTicker(memoryEvery)
	defer ticker.Stop()
	measured, worked := time.Now(), time.Now()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		now := time.Now()
		if load(n.load.Load()) != idle {
			worked = now
		}
		n.refreshMemory()
		if now.Sub(measured) > speedEvery && now.Sub(worked) > speedQuiet && n.facts.now().MemoryBytes > speedRoom {
			measured = now
			own := pool.NewOn(pool.ThisMachine(), n.config.Threads) // the rank may want the other one
			n.measureSpeed(own)
			own.Close()
		}
	}
}

// refreshMemory finds out what a model may use now: what is free, and what this process took for the one that it has.
func (n *Node) refreshMemory() {
	free, err := availableMemory()
	own, known := ownMemory()
	if err != nil || !known {
		return
	}
	n.facts.mu.Lock()
	defer n.facts.mu.Unlock()
	n.facts.values.MemoryBytes = free + max(0, own-n.facts.own)
}

// ownMemory is how many bytes of memory this process has for itself that the system cannot take back: not those of files that are mapped, unless
// they are locked.
func ownMemory() (bytes int64, known bool) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		if name != "RssAnon" && name != "VmLck" {
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		if err != nil {
			return 0, false
		}
		bytes += kib << 10
	}
	return bytes, true
}

// newProber makes what measures the links to the other nodes.
func (n *Node) newProber() *linkprobe.Prober {
	return linkprobe.New(linkprobe.Config{
		Node: string(n.self), Network: n.network,
		Peers: func() []string {
			var peers []string
			for id := range n.cluster.State().Nodes {
				if id != n.self && n.alive(id) {
					peers = append(peers, string(id))
				}
			}
			return peers
		},
		Changed: n.member.Members().Changed,
		Busy:    func() bool { return load(n.load.Load()) == talking },
	})
}
