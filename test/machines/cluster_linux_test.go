package machines

import (
	"slices"
	"testing"
	"time"
)

func sortNames(names []string) { slices.Sort(names) }

// group is machines at one switch that form one cluster. The first founds it.
type group struct {
	t        *testing.T
	network  *network
	shape    shape
	machines []*machine // named a, b, c …, at addresses that end in 1, 2, 3 …
}

// newGroup starts so many machines, one after the other, and waits for the plan of all.
func newGroup(t *testing.T, s shape, machines int) *group {
	g := &group{t: t, network: newNetwork(t), shape: s}
	for range machines {
		g.add()
	}
	g.machines[0].awaitPlan(g.machines...)
	return g
}

// off makes the next machine, without a process.
func (g *group) off() *machine {
	name := string(rune('a' + len(g.machines)))
	m := newMachine(g.network.plug(name, len(g.machines)+1), name)
	g.machines = append(g.machines, m)
	return m
}

// add starts one more machine.
func (g *group) add() *machine {
	g.t.Helper()
	m := g.off()
	do := task{Shape: g.shape}
	if first := g.machines[0]; m != first {
		do.Join, do.Token = first.plug.address+":7946", first.token()
	}
	if err := m.start(do); err != nil {
		g.t.Fatal(err)
	}
	return m
}

// without are the machines but one.
func (g *group) without(m *machine) []*machine {
	return slices.DeleteFunc(slices.Clone(g.machines), func(other *machine) bool { return other == m })
}

// say prints a measured figure.
func say(t *testing.T, what string, args ...any) {
	t.Helper()
	t.Logf("measured: "+what, args...)
}

// round shortens a time for people.
func round(d time.Duration) time.Duration { return d.Round(time.Millisecond) }

// same complains about an answer that is not the one of a single process.
func same(t *testing.T, what, got, want string) {
	t.Helper()
	if got == want {
		return
	}
	at := 0
	for at < min(len(got), len(want)) && got[at] == want[at] {
		at++
	}
	begin := max(0, at-40)
	t.Errorf("%s: not what one process answers, from byte %d of %d on: got …%.100s… want …%.100s…", what, at, len(want), got[begin:], want[begin:])
}
