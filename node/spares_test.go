package node

import (
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"polynode/cluster"
	"polynode/configs"
	"polynode/kernels"
	"polynode/shard/planner"
)

// recorder is the planner, and remembers what it said.
type recorder struct {
	mu      sync.Mutex
	reports []planner.Report
}

func (w *recorder) plan(p planner.Problem) (planner.Report, error) {
	report, err := planner.Plan(p)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reports = append(w.reports, report)
	return report, err
}

func (w *recorder) last() planner.Report {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.reports[len(w.reports)-1]
}

// tooLittle are the facts of machines in which the model of a node does not fit alone, and fits in two of them.
func tooLittle(n *Node) *cluster.Facts {
	facts := n.facts.now()
	facts.Version, facts.Cores, facts.BytesPerSecond, facts.OpsPerSecond = "test", 1, 20e9, 200e9
	m := n.serving().model
	low, high := int64(0), int64(1<<40)
	for high-low > 1<<10 {
		facts.MemoryBytes = (low + high) / 2
		if _, err := planner.Plan(n.problem(m, nil, []machine{{n.self, facts}})); err != nil {
			low = facts.MemoryBytes
		} else {
			high = facts.MemoryBytes
		}
	}
	least := n.plannable(m.Config(), high)
	facts.MemoryBytes = high - least/4
	return &facts
}

// until waits for something that the cluster comes to by itself.
func until(t *testing.T, what string, there func() bool) {
	t.Helper()
	deadline := time.After(40 * time.Second)
	for !there() {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-deadline:
			t.Fatalf("%s did not come about", what)
		}
	}
}

// Slices are kept on other disks too, so that the plan after a death has nothing to fetch.
func TestADeathMovesNoBytes(t *testing.T) {
	data := t.TempDir()
	library, err := OpenLibrary(data)
	if err != nil {
		t.Fatal(err)
	}
	defer library.Close()
	options := ImportOptions{Name: "m", Format: kernels.Q4, EOS: -1}
	if _, err := library.Import(t.Context(), filepath.Join("..", "model", "demo", "checkpoint"), options); err != nil {
		t.Fatal(err)
	}
	use := func(c *configs.Config) { c.Data, c.Model, c.KVMemory = data, "m", 0 }
	alone := start(t, use)
	want := complete(t, alone, 40)
	var w recorder
	j := &joined{t: t, change: use, facts: tooLittle(alone)}
	first := j.up("one", w.plan)
	j.change = func(c *configs.Config) { c.KVMemory = 0 }
	j.up("two", w.plan)
	j.up("three", w.plan)
	until(t, "a plan that may lose a node", func() bool {
		plan := first.Info().plan
		tolerance, _ := first.tolerance(plan)
		return plan != nil && len(plan.Nodes()) > 1 && len(first.workers()) == 3 && tolerance != nil && *tolerance == 1
	})
	before := first.Info().plan
	dead := slices.IndexFunc(j.nodes, func(n *Node) bool {
		_, _, there := before.Find(n.self)
		return there && n != first
	})
	fetched := make([]progress, len(j.nodes))
	for i, n := range j.nodes {
		fetched[i], _ = n.models.fetched()
	}
	j.nodes[dead].die()
	until(t, "a plan without the dead node", func() bool {
		plan := first.Info().plan
		_, _, there := plan.Find(j.nodes[dead].self)
		return plan.Epoch > before.Epoch && !there
	})
	if report := w.last(); report.MoveBytes != 0 || !report.Repaired {
		t.Errorf("%d bytes to fetch: %s", report.MoveBytes, report.Reason)
	}
	for i, n := range j.nodes {
		if now, _ := n.models.fetched(); i != dead && now != fetched[i] {
			t.Errorf("%s fetched %+v, before %+v", n.config.Name, now, fetched[i])
		}
	}
	if got := complete(t, first, 40); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
