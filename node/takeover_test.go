package node

import (
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"polynode/cluster/member"
)

// await waits until something is so.
func await(t *testing.T, what string, so func() bool) time.Duration {
	t.Helper()
	began, deadline := time.Now(), time.After(20*time.Second)
	for !so() {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-deadline:
			t.Fatalf("not within 20 s: %s", what)
		}
	}
	return time.Since(began)
}

// hasRoot reports whether a node could let machines in.
func hasRoot(n *Node) bool {
	_, err := n.member.Root()
	return err == nil
}

// lose makes a node die and forgets it.
func (j *joined) lose(n *Node) {
	n.die()
	j.nodes = slices.DeleteFunc(j.nodes, func(other *Node) bool { return other == n })
}

// When the coordinator dies, one of the others serves what it served with those that are left. Who was waiting for an answer is told, and
// machines can join through any of them.
func TestTakeOver(t *testing.T) {
	alone := start(t, nil)
	want := complete(t, alone, 40)
	j := &joined{t: t}
	first := j.up("one", together(1))
	second := j.up("two", together(1))
	third := j.up("three", together(1))
	j.awaitPlan(3)
	await(t, "a root on all that vote", func() bool { return hasRoot(first) && hasRoot(second) && hasRoot(third) })

	client := second.Client()
	defer client.CloseIdleConnections()
	running := stream(t, client, "http://localhost", `"max_tokens": 2000`)
	died := time.Now()
	j.lose(first)
	rest, err := io.ReadAll(running.Body)
	if err != nil || !strings.Contains(string(rest), `"coordinator_lost"`) {
		t.Errorf("a stream over the coordinator's death ends with %.200q, %v", rest[max(0, len(rest)-200):], err)
	}
	t.Log("the stream ended after", time.Since(died))
	for _, n := range j.nodes {
		if got := complete(t, n, 40); got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
	t.Log("both answered after", time.Since(died))
	j.awaitPlan(2)
	if leader := j.coordinator(); leader != second && leader != third {
		t.Error("a dead node serves")
	}
	fourth := j.up("four", together(1))
	j.awaitPlan(3)
	if got := complete(t, fourth, 40); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// A node that has no vote refuses the root, and so does every node when somebody else than the coordinator offers it.
func TestTheRootGoesToVotersOnly(t *testing.T) {
	j := &joined{t: t}
	first := j.up("one", together(1))
	second := j.up("two", together(1))
	if hasRoot(second) {
		t.Error("one of two nodes votes, and both have the root")
	}
	root, err := first.member.Root()
	if err != nil {
		t.Fatal(err)
	}
	for _, try := range []struct {
		from, to *Node
		want     error
	}{{first, second, member.ErrNotVoter}, {second, first, member.ErrStranger}} {
		_, err := try.from.ask(t.Context(), try.to.self, rootPath, root)
		if err == nil || !strings.Contains(err.Error(), try.want.Error()) {
			t.Errorf("%s to %s: %v, want %v", try.from.config.Name, try.to.config.Name, err, try.want)
		}
	}
	if hasRoot(second) {
		t.Error("kept a root that it refused")
	}
}
