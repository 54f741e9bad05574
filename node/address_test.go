package node

import "testing"

// A machine that dies and comes back at another address is in the plan again, as itself.
func TestANodeComesBackElsewhere(t *testing.T) {
	j := &joined{t: t}
	first := j.up("one", together(1))
	j.up("two", together(1))
	third := j.up("three", together(1))
	j.awaitPlan(3)
	want := complete(t, first, 40)
	id, config := third.self, third.config
	third.die()
	j.awaitPlan(2)
	j.stop(third)
	config.Listen = clusterConfig(t, "three").Listen
	again, err := startWith(t.Context(), config, loggerOf("three again"), newModels(config), together(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.stop(again) })
	if again.self != id {
		t.Errorf("node %s came back as %s", id, again.self)
	}
	j.awaitPlan(3)
	for _, n := range []*Node{first, again} {
		if got := complete(t, n, 40); got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
}
