package machines

import (
	"strings"
	"testing"
)

// refused complains about a start that went well, or that failed without saying what is wrong and what to do.
func refused(t *testing.T, what string, err error, says ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: nothing is said", what)
		return
	}
	for _, words := range says {
		if !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v does not say %q", what, err, words)
		}
	}
}

// Who cannot join learns why, and what to do; those who are there are not disturbed.
func TestWhoCannotJoin(t *testing.T) {
	needMachines(t)
	g := newGroup(t, shape{Stages: 1}, 2)
	a, b := g.machines[0], g.machines[1]
	c := g.off()
	token := a.token()
	answer := a.stream(long)
	join := func(address string) error { return c.start(task{Shape: g.shape, Join: address, Token: token}) }

	refused(t, "wrong port", join(a.plug.address+":7999"), "nothing listens on UDP "+a.plug.address+":7999", "start polynode there, or correct the address")
	refused(t, "nobody there", join("10.77.0.99:7946"), "packets leave", "none come back", "the address is wrong")

	g.network.deafen(c.plug, a.plug)
	refused(t, "cut on the way there", join(a.plug.address+":7946"), "packets leave", "firewall")
	if strings.Contains(a.logged(), "a firewall drops UDP on the way back") {
		t.Error("a speaks of a way back for packets that never came")
	}
	g.network.hear(c.plug, a.plug)
	g.network.deafen(a.plug, c.plug)
	refused(t, "cut on the way back", join(a.plug.address+":7946"), "if the other node's log mentions this one", "only the way back is blocked")
	a.awaitLog("a firewall drops UDP on the way back", "from="+c.plug.address)
	g.network.hear(a.plug, c.plug)

	twin := &machine{t: t, name: "twin", plug: c.plug, data: b.data, log: c.log, client: c.client}
	refused(t, "one folder twice", twin.start(task{Shape: g.shape}), "is in use by another polynode", "--data")
	refused(t, "join to oneself", twin.start(task{Shape: g.shape, Join: b.plug.address + ":7946", Token: token}), "is in use by another polynode", "--data")

	// Two clusters at one switch stay two, and who is in one does not come into the other.
	if err := c.start(task{Shape: g.shape}); err != nil {
		t.Fatal(err)
	}
	foreign := c.token()
	c.kill()
	refused(t, "another cluster's machine", join(a.plug.address+":7946"), "belongs to another cluster", "polynode leave")
	d := g.off()
	refused(t, "another cluster's token", d.start(task{Shape: g.shape, Join: a.plug.address + ":7946", Token: foreign}), "another cluster")

	same(t, "meanwhile", answer.whole(), reference(t).text)
	a.awaitPlan(a, b)
}
