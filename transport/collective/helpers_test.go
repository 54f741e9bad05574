package collective

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"polynode/shard"
	"polynode/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The model's side of the contract.
var _ interface {
	Rank() int
	Size() int
	AllReduce(sums []int32) error
	AllGather(mine []byte) ([][]byte, error)
} = (*Group)(nil)

const generation = 3

// cluster is a plan whose ranks are all joined, usually over one network in memory.
type cluster struct {
	hub      *transport.Memory
	plan     *shard.Plan
	networks map[shard.NodeID]transport.Network
	links    map[shard.NodeID]*Links
}

// planOf makes a plan of stages with so many ranks; only the nodes matter here.
func planOf(sizes ...int) *shard.Plan {
	plan := &shard.Plan{Epoch: 7, Stages: make([]shard.Stage, len(sizes))}
	for s, size := range sizes {
		for r := range size {
			plan.Stages[s].Group = append(plan.Stages[s].Group, shard.Rank{Node: shard.NodeID(fmt.Sprintf("s%dr%d", s, r))})
		}
	}
	return plan
}

// joined links all ranks of a plan. disturb may set faults before the first connection.
func joined(t testing.TB, plan *shard.Plan, disturb func(*transport.Memory)) *cluster {
	t.Helper()
	hub, networks := transport.NewMemory(), map[shard.NodeID]transport.Network{}
	for _, node := range plan.Nodes() {
		network, err := hub.Node(string(node))
		if err != nil {
			t.Fatal(err)
		}
		networks[node] = network
	}
	if disturb != nil {
		disturb(hub)
	}
	c := linked(t, plan, networks)
	c.hub = hub
	return c
}

// linked links all ranks of a plan over networks of their own.
func linked(t testing.TB, plan *shard.Plan, networks map[shard.NodeID]transport.Network) *cluster {
	t.Helper()
	c := &cluster{plan: plan, networks: networks, links: map[shard.NodeID]*Links{}}
	var mu sync.Mutex
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	for node, network := range c.networks {
		wg.Go(func() {
			links, err := Join(ctx, network, generation, plan, node)
			if err != nil {
				t.Errorf("%s: %v", node, err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			c.links[node] = links
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	t.Cleanup(c.close)
	return c
}

func (c *cluster) close() {
	for _, network := range c.networks {
		network.Close()
	}
}

// each runs f for every rank at once and waits.
func (c *cluster) each(f func(stage, rank int, links *Links)) {
	var wg sync.WaitGroup
	for node, links := range c.links {
		stage, rank, _ := c.plan.Find(node)
		wg.Go(func() { f(stage, rank, links) })
	}
	wg.Wait()
}

// jitter delays every way between the nodes of a plan by its own random time.
func jitter(plan *shard.Plan, seed uint64) func(*transport.Memory) {
	return func(hub *transport.Memory) {
		random := rand.New(rand.NewPCG(seed, 0))
		for _, from := range plan.Nodes() {
			for _, to := range plan.Nodes() {
				hub.Delay(string(from), string(to), time.Duration(random.IntN(5000))*time.Microsecond)
			}
		}
	}
}
