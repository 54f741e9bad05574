package machines

import "testing"

// Clusters of every shape give the tokens and log-probabilities of one process, to the last bit, whichever machine is asked.
func TestShapes(t *testing.T) {
	needMachines(t)
	const tokens = 24
	want := map[string]string{}
	for _, c := range []struct {
		shape    shape
		machines []int // how many are there when questions are asked
	}{
		{shape{Stages: 1}, []int{1, 2}},
		{shape{Stages: 1, Uneven: true}, []int{3}},
		{shape{Stages: 2}, []int{2, 4}},
		{shape{Stages: 3}, []int{3}},
	} {
		g := &group{t: t, network: newNetwork(t), shape: c.shape}
		for _, machines := range c.machines {
			for len(g.machines) < machines {
				g.add()
			}
			g.machines[0].awaitPlan(g.machines...)
			name := c.shape.of(machines)
			before := g.sent()
			for i, q := range questions(tokens) {
				got, err := g.machines[i%machines].choices(q.body)
				if err != nil {
					t.Fatalf("%s, %s: %v", name, q.name, err)
				}
				if machines == 1 {
					want[q.name] = got
				}
				same(t, name+", "+q.name, got, want[q.name])
			}
			say(t, "%s: the same answers; %d kB between machines", name, (g.sent()-before)/1000)
			g.count(name)
		}
		for _, m := range g.machines {
			m.kill()
		}
	}
}

// sent is how many bytes have left all machines.
func (g *group) sent() int64 {
	var sum int64
	for _, m := range g.machines {
		bytes, _ := m.plug.sent()
		sum += bytes
	}
	return sum
}

// count measures what one token of one sequence puts on the wire. A short and a long answer differ by tokens only.
func (g *group) count(name string) {
	if len(g.machines) == 1 {
		return
	}
	var sums [2]int64
	tokens := [2]int{20, 220}
	for i, n := range tokens {
		before := g.sent()
		if _, err := g.machines[0].choices(map[string]any{"prompt": prompt, "temperature": 0, "max_tokens": n}); err != nil {
			g.t.Fatal(err)
		}
		sums[i] = g.sent() - before
	}
	say(g.t, "%s: %d bytes on the wire per token, all machines together", name, (sums[1]-sums[0])/int64(tokens[1]-tokens[0]))
}
