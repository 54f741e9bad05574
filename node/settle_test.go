package node

import (
	"testing"
	"time"

	"polynode/shard"
)

func machinesOf(ids ...shard.NodeID) []machine {
	var list []machine
	for _, id := range ids {
		list = append(list, machine{id: id})
	}
	return list
}

// A node may be lost once and is taken back at once; after that it waits longer each time, and after a quiet while it is as any other.
func TestNodesThatComeAndGoWait(t *testing.T) {
	var s settled
	now := time.Unix(1000, 0)
	all, left := machinesOf("a", "b"), machinesOf("a")
	placed := func() bool { return len(s.look(now, all)) == 2 }
	if !placed() {
		t.Error("a new node has no place")
	}
	for i, want := range []time.Duration{0, 5 * time.Second, 10 * time.Second, 20 * time.Second, 40 * time.Second, 80 * time.Second, 160 * time.Second, 5 * time.Minute} {
		if got := len(s.look(now, left)); got != 1 {
			t.Fatalf("%d nodes of one", got)
		}
		if want > 0 {
			now = now.Add(want - time.Millisecond)
			if placed() {
				t.Errorf("after loss %d the node has a place before %v", i+1, want)
			}
			now = now.Add(time.Millisecond)
		}
		if !placed() {
			t.Errorf("after loss %d the node has no place after %v", i+1, want)
		}
	}
	now = now.Add(flapForget + flapMax)
	s.look(now, left)
	if !placed() {
		t.Error("old losses count")
	}
	s.look(now, left)
	s.look(now, all)
	if s.look(now, nil); len(s.look(now, machinesOf("b"))) != 1 {
		t.Error("a node waits though there is no other")
	}
}

// Failures in a row are tried again less and less often.
func TestRetriesSlowDown(t *testing.T) {
	for failures, want := range map[int]time.Duration{0: replanPause, 1: retryPause, 2: 2 * retryPause, 3: 4 * retryPause, 6: retryMax, 1000: retryMax} {
		if got := retryAfter(failures); got != want {
			t.Errorf("after %d failures: %v, want %v", failures, got, want)
		}
	}
}
