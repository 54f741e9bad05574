package node

import (
	"testing"
	"time"

	"polynode/cluster"
	"polynode/shard"
	"polynode/shard/planner"
)

// said is a report of a node with links.
func said(started int64, facts cluster.Facts, links map[shard.NodeID]LinkFacts) nodeReport {
	return nodeReport{Started: started, Facts: facts, Links: links}
}

func factsOf(memory, speed int64) cluster.Facts {
	return cluster.Facts{Version: "v", Cores: 1, MemoryBytes: memory, BytesPerSecond: speed, OpsPerSecond: 10 * speed}
}

// Facts of a start count at once. Later ones count when they differ much, for a while: neither trembling nor a short dip changes anything.
func TestFactsAreFollowedWithPatience(t *testing.T) {
	k, now := newKnown(), time.Now()
	agreed := factsOf(8<<30, 20e9)
	if got := k.factsOf("a", agreed); got != agreed {
		t.Errorf("before any report: %+v", got)
	}
	k.take(now, "a", agreed, said(1, factsOf(8<<30, 30e9), nil))
	if got := k.factsOf("a", agreed).BytesPerSecond; got != 30e9 {
		t.Errorf("measured at the start: %d", got)
	}
	before, _ := k.look()
	for i := range 100 {
		now = now.Add(time.Second)
		speed := int64(30e9 + 1e9*float64(i%5))
		if i%20 < 10 {
			speed = 10e9 // busy with something else for ten seconds
		}
		k.take(now, "a", agreed, said(1, factsOf(8<<30, speed), nil))
	}
	if after, _ := k.look(); after != before || k.factsOf("a", agreed).BytesPerSecond != 30e9 {
		t.Errorf("trembling: revision %d and %d, %+v", before, after, k.factsOf("a", agreed))
	}
	for range 40 {
		now = now.Add(time.Second)
		k.take(now, "a", agreed, said(1, factsOf(2<<30, 30e9), nil))
	}
	if after, _ := k.look(); after != before+1 || k.factsOf("a", agreed).MemoryBytes != 2<<30 {
		t.Errorf("memory gone for long: revision %d and %d, %+v", before, after, k.factsOf("a", agreed))
	}
	k.take(now, "a", agreed, said(2, factsOf(9<<30, 90e9), nil))
	if got := k.factsOf("a", agreed); got.MemoryBytes != 9<<30 || got.BytesPerSecond != 90e9 {
		t.Errorf("started again: %+v", got)
	}
}

// The shorter of two round trips counts, the bandwidth of whoever measured it, and what was assumed until then.
func TestLinksAreFollowedWithPatience(t *testing.T) {
	k, now := newKnown(), time.Now()
	link := func() planner.Link {
		pairs := k.allLinks().Pairs
		if len(pairs) != 1 || pairs[0].A != "a" || pairs[0].B != "b" {
			t.Fatalf("links %+v", pairs)
		}
		return pairs[0].Link
	}
	tell := func(roundA, roundB float64, rate int64) {
		now = now.Add(time.Second)
		k.take(now, "a", cluster.Facts{}, said(1, cluster.Facts{}, map[shard.NodeID]LinkFacts{"b": {RoundTripUS: roundA, BytesPerSecond: rate}}))
		k.take(now, "b", cluster.Facts{}, said(1, cluster.Facts{}, map[shard.NodeID]LinkFacts{"a": {RoundTripUS: roundB}}))
	}
	tell(9000, 4000, 0)
	for range 20 {
		tell(9000, 4000, 0)
	}
	if got := link(); got.RoundTripS != 4e-3 || got.BytesPerS != linkDefault.BytesPerS {
		t.Errorf("round trips alone: %+v", got)
	}
	tell(9000, 4000, 10e6)
	if got := link(); got.BytesPerS != 10e6 {
		t.Errorf("the first bandwidth: %+v", got)
	}
	before, _ := k.look()
	for i := range 60 {
		tell(4000+20*float64(i%10), 4500, 11e6)
		if i%15 == 0 {
			tell(90000, 90000, 11e6)
		}
	}
	if after, _ := k.look(); after != before {
		t.Errorf("trembling: revision %d and %d", before, after)
	}
	for range 20 {
		tell(300, 300, 10e6)
	}
	if after, _ := k.look(); after != before+1 || link().RoundTripS != 300e-6 {
		t.Errorf("a faster link: revision %d and %d, %+v", before, after, link())
	}
	k.lose(func(id shard.NodeID) bool { return id == "a" })
	if pairs := k.allLinks().Pairs; len(pairs) != 0 {
		t.Errorf("a lost node has links: %+v", pairs)
	}
}

// A newcomer waits until its links to the plan are known, but not for ever.
func TestNewcomersAreIntroduced(t *testing.T) {
	k, now := newKnown(), time.Now()
	workers := []machine{{id: "a"}, {id: "b"}}
	if got := k.introduced(now, workers, []shard.NodeID{"a"}); len(got) != 1 || got[0].id != "a" {
		t.Errorf("%+v", got)
	}
	if got := k.introduced(now.Add(introduceWait), workers, []shard.NodeID{"a"}); len(got) != 2 {
		t.Errorf("waited long enough: %+v", got)
	}
	k.take(now, "b", cluster.Facts{}, said(1, cluster.Facts{}, map[shard.NodeID]LinkFacts{"a": {RoundTripUS: 100}}))
	if got := k.introduced(now, workers, []shard.NodeID{"a"}); len(got) != 2 {
		t.Errorf("measured: %+v", got)
	}
}

// Whoever says more of itself than its steps show has its facts corrected, whatever the model of time gets wrong for all.
func TestLiarsAreFoundOut(t *testing.T) {
	for _, test := range []struct {
		name  string
		times []rankTime
		want  map[shard.NodeID]float64
	}{
		{"honest", []rankTime{{"a", 10, 9}, {"b", 11, 9}, {"c", 9, 9}}, nil},
		{"all slow alike", []rankTime{{"a", 30, 9}, {"b", 33, 10}, {"c", 31, 10}}, nil},
		{"one of three says four times too much", []rankTime{{"a", 10, 10}, {"b", 11, 10}, {"l", 40, 10}}, map[shard.NodeID]float64{"l": 40. / 11}},
		{"one of two", []rankTime{{"a", 10, 10}, {"l", 40, 10}}, map[shard.NodeID]float64{"l": 4}},
		{"one of two says too little", []rankTime{{"a", 10, 10}, {"l", 2, 10}}, map[shard.NodeID]float64{"l": 0.2}},
	} {
		k := newKnown()
		changed := k.judge(test.times)
		if len(changed) != len(test.want) {
			t.Errorf("%s: %v", test.name, changed)
		}
		for _, r := range test.times {
			want := test.want[r.node]
			if want == 0 {
				want = 1
			}
			if got := k.factorOf(r.node); got < 0.99*want || got > 1.01*want {
				t.Errorf("%s: %s counts %v, want %v", test.name, r.node, got, want)
			}
			if got := k.factsOf(r.node, factsOf(1, 100e9)).BytesPerSecond; float64(got) < 99e9/want || float64(got) > 101e9/want {
				t.Errorf("%s: %s reads %d bytes a second", test.name, r.node, got)
			}
		}
	}
	// The next plan is made with that, so its steps take what is expected, and nothing changes any more.
	k := newKnown()
	k.judge([]rankTime{{"a", 10, 10}, {"l", 40, 10}})
	if changed := k.judge([]rankTime{{"a", 16, 16}, {"l", 16, 16}}); len(changed) != 0 || k.factorOf("l") != 4 {
		t.Errorf("%v, %v", changed, k.factorOf("l"))
	}
	k.take(time.Now(), "l", factsOf(1, 1), said(1, factsOf(1, 1), nil))
	k.take(time.Now(), "l", factsOf(1, 1), said(2, factsOf(1, 1), nil))
	if got := k.factorOf("l"); got != 1 {
		t.Errorf("started again: %v", got)
	}
}
