package node

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"polynode/shard"
)

// certificates asks a node for those of its cluster.
func certificates(t *testing.T, asked *Node) (list Certificates) {
	t.Helper()
	if status := control(t, asked, http.MethodGet, "certificates", "", &list); status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	return list
}

// The root of a cluster of three changes through a node that does not coordinate, while an answer runs: afterwards nobody accepts the old
// one, tokens made before are worthless, new ones let machines in, and whoever coordinates next can do so, too.
func TestRootChanges(t *testing.T) {
	const tokens = 300
	alone := start(t, nil)
	want := complete(t, alone, tokens)
	j := &joined{t: t}
	first := j.up("one", together(1))
	second := j.up("two", together(1))
	third := j.up("three", together(1))
	j.awaitPlan(3)
	await(t, "a root on all that vote", func() bool { return hasRoot(first) && hasRoot(second) && hasRoot(third) })
	stale, err := first.NewToken(t.Context(), false, time.Hour, 1)
	if err != nil {
		t.Fatal(err)
	}
	before := certificates(t, third)
	gossip := third.cluster.State().Keys.Gossip[0]

	answer := make(chan string, 1)
	go func() { answer <- complete(t, second, tokens) }()
	var list Certificates
	if status := control(t, third, http.MethodPost, "certificates", `{"root": true}`, &list); status != http.StatusOK || list.Next == "" || list.Root != before.Root {
		t.Fatalf("status %d, %+v", status, list)
	}
	next := list.Next
	await(t, "the root has changed", func() bool { list = certificates(t, third); return list.Next == "" })
	if list.Root != next {
		t.Errorf("root %s, want %s", list.Root, next)
	}
	for _, c := range list.Nodes {
		if c.Error != "" || c.Root != next {
			t.Errorf("certificate of %s: %+v", c.Name, c)
		}
	}
	await(t, "another key of gossip", func() bool {
		keys := third.cluster.State().Keys
		return len(keys.Gossip) == 1 && !slices.Equal(keys.Gossip[0], gossip)
	})
	if got := <-answer; got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if err := Join(t.Context(), clusterConfig(t, "late"), stale.Address, stale.Text, loggerOf("late")); err == nil {
		t.Error("a token of the root before let a machine in")
	}
	j.up("four", together(1))
	await(t, "the new root on all that vote", func() bool { return hasRoot(first) && hasRoot(second) && hasRoot(third) })
	j.lose(first)
	j.up("five", together(1))
}

// New certificates without another root: of all that are here.
func TestCertificatesAreRotated(t *testing.T) {
	j := &joined{t: t}
	first := j.up("one", together(1))
	second := j.up("two", together(1))
	j.awaitPlan(2)
	serial := func(n *Node) string { return n.member.Papers().Serial }
	before := []string{serial(first), serial(second)}
	if status := control(t, second, http.MethodPost, "certificates", `{}`, nil); status != http.StatusOK {
		t.Fatal(status)
	}
	if serial(first) == before[0] || serial(second) == before[1] {
		t.Error("a certificate is the one before")
	}
	j.stop(second)
	await(t, "two is not here", func() bool { return !first.alive(second.self) })
	if status := control(t, first, http.MethodPost, "certificates", `{"root": true}`, nil); status != http.StatusConflict {
		t.Errorf("the root changes though a node would be shut out: %d", status)
	}
}

// A node that came to coordinate without the cluster's root gets it from another that votes. Who may not have it does not get it.
func TestRootIsFetched(t *testing.T) {
	j := &joined{t: t}
	first := j.up("one", together(1))
	second := j.up("two", together(1))
	third := j.up("three", together(1))
	await(t, "a root on all that vote", func() bool { return hasRoot(first) && hasRoot(second) && hasRoot(third) })
	print := first.member.Roots()[0]
	if _, err := second.fetchRoot(t.Context(), []shard.NodeID{third.self}, print); err == nil {
		t.Error("a node that does not coordinate got the root")
	}
	if err := first.member.ForgetRoot(); err != nil || hasRoot(first) {
		t.Fatal(err)
	}
	await(t, "the coordinator has the root again", func() bool { return hasRoot(first) })
}

// The root of a cluster of two changes, of whom one votes.
func TestRootOfTwoChanges(t *testing.T) {
	j := &joined{t: t}
	j.up("one", together(1))
	second := j.up("two", together(1))
	j.awaitPlan(2)
	var list Certificates
	if status := control(t, second, http.MethodPost, "certificates", `{"root": true}`, &list); status != http.StatusOK {
		t.Fatalf("status %d, %+v", status, list)
	}
	next := list.Next
	await(t, "the root has changed", func() bool { list = certificates(t, second); return list.Next == "" })
	if list.Root != next {
		t.Errorf("root %s, want %s", list.Root, next)
	}
}
