package pool

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
)

// sysfs writes a tree like that of Linux: siblings by processor, processors by node.
func sysfs(t *testing.T, siblings map[int]string, nodes map[int]string) string {
	t.Helper()
	root := t.TempDir()
	write := func(text string, parts ...string) {
		path := filepath.Join(append([]string{root}, parts...)...)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for cpu, text := range siblings {
		write(text, "cpu", "cpu"+strconv.Itoa(cpu), "topology", "thread_siblings_list")
	}
	for node, text := range nodes {
		write(text, "node", "node"+strconv.Itoa(node), "cpulist")
	}
	return root
}

func TestReadMachine(t *testing.T) {
	twins := map[int]string{0: "0,4", 1: "1,5", 2: "2,6", 3: "3,7", 4: "0,4", 5: "1,5", 6: "2,6", 7: "3,7"}
	all := []int{0, 1, 2, 3, 4, 5, 6, 7}
	for name, c := range map[string]struct {
		siblings map[int]string
		nodes    map[int]string
		allowed  []int
		want     Machine
	}{
		"two threads a core":      {twins, map[int]string{0: "0-7"}, all, Machine{{0, 1, 2, 3}}},
		"half the threads":        {twins, map[int]string{0: "0-7"}, []int{1, 4, 5, 6}, Machine{{1, 4, 6}}},
		"two nodes":               {twins, map[int]string{0: "0-1,4-5", 1: "2-3,6-7"}, all, Machine{{0, 1}, {2, 3}}},
		"a node not allowed":      {twins, map[int]string{0: "0-1,4-5", 1: "2-3,6-7"}, []int{2, 3}, Machine{{2, 3}}},
		"a node without cores":    {twins, map[int]string{0: "0-7", 1: ""}, all, Machine{{0, 1, 2, 3}}},
		"ten nodes in order":      {nil, map[int]string{2: "0-3", 10: "4-7"}, all, Machine{{0, 1, 2, 3}, {4, 5, 6, 7}}},
		"nothing told":            {nil, nil, []int{0, 2}, Machine{{0, 2}}},
		"nonsense told":           {map[int]string{0: "x", 1: "3-1"}, map[int]string{0: "0-99999999"}, []int{0, 1}, Machine{{0, 1}}},
		"some processors nowhere": {nil, map[int]string{0: "0"}, []int{0, 1}, Machine{{0, 1}}},
	} {
		got := readMachine(sysfs(t, c.siblings, c.nodes), c.allowed)
		if !slices.EqualFunc(got, c.want, slices.Equal) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestThisMachine(t *testing.T) {
	m := ThisMachine()
	if n := m.Cores(); n < 1 || n > len(allowedProcessors()) {
		t.Errorf("%d cores of %d processors: %v", n, len(allowedProcessors()), m)
	}
}

func TestNodeOf(t *testing.T) {
	two := Machine{{0, 1, 2}, {3, 4, 5}}
	for _, c := range []struct{ worker, workers, node int }{{0, 6, 0}, {2, 6, 0}, {3, 6, 1}, {5, 6, 1}, {0, 2, 0}, {1, 2, 1}, {3, 4, 1}, {1, 3, 0}, {11, 12, 1}} {
		if got := two.nodeOf(c.worker, c.workers); !slices.Equal(got, two[c.node]) {
			t.Errorf("worker %d of %d is on %v, want %v", c.worker, c.workers, got, two[c.node])
		}
	}
	if got := (Machine{{0, 1}}).nodeOf(0, 2); got != nil {
		t.Errorf("one node, and the worker has to stay on %v", got)
	}
}

// Workers of a machine with several memories stay on theirs; one that may not go there still works.
func TestWorkersStayOnTheirNode(t *testing.T) {
	allowed := allowedProcessors()
	if len(allowed) < 2 {
		t.Skip("needs two processors")
	}
	first, last := allowed[:1], allowed[len(allowed)-1:]
	for _, machine := range []Machine{{first, last}, {first, {processorsMax - 1}}} {
		p := NewOn(machine, 2)
		me := goroutine()
		var where []int
		for range 100 {
			var both sync.WaitGroup
			both.Add(2)
			p.Run(2, taskFunc(func(int) {
				if goroutine() != me {
					where = allowedProcessors()
				}
				both.Done()
				both.Wait()
			}))
		}
		p.Close()
		want := allowed
		if machine[1][0] == last[0] && canPin {
			want = last
		}
		if !slices.Equal(where, want) {
			t.Errorf("on %v the worker may use %v, want %v", machine, where, want)
		}
	}
	if got := allowedProcessors(); !slices.Equal(got, allowed) {
		t.Errorf("the test itself may use %v now", got)
	}
}
