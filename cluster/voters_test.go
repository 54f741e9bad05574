package cluster

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"polynode/shard"
)

func TestWhoVotes(t *testing.T) {
	c := func(node string, marks string) candidate {
		has := func(mark rune) bool { return slices.Contains([]rune(marks), mark) }
		return candidate{node: shard.NodeID(node), voter: has('v'), leader: has('l'), alive: has('a'), witness: has('w')}
	}
	for _, test := range []struct {
		name       string
		candidates []candidate
		want       []shard.NodeID
	}{
		{"alone", []candidate{c("a", "lva")}, []shard.NodeID{"a"}},
		{"two are one too few", []candidate{c("a", "lva"), c("b", "a")}, []shard.NodeID{"a"}},
		{"three", []candidate{c("a", "lva"), c("b", "a"), c("c", "a")}, []shard.NodeID{"a", "b", "c"}},
		{"a witness first", []candidate{c("a", "lva"), c("b", "a"), c("c", "a"), c("d", "wa")}, []shard.NodeID{"a", "d", "b"}},
		{"a dead one keeps its vote", []candidate{c("a", "lva"), c("b", "va"), c("c", "v")}, []shard.NodeID{"a", "b", "c"}},
		{"unless somebody can take its place", []candidate{c("a", "lva"), c("b", "va"), c("c", "v"), c("d", "a")}, []shard.NodeID{"a", "b", "d"}},
		{"a leader that leaves needs an heir", []candidate{c("a", "lv"), c("b", "a")}, []shard.NodeID{"a", "b"}},
		{"a leader that leaves beside others", []candidate{c("a", "lv"), c("b", "va"), c("c", "va")}, []shard.NodeID{"a", "b", "c"}},
		{"whoever votes goes on", []candidate{c("d", "lva"), c("b", "a"), c("c", "va"), c("e", "va")}, []shard.NodeID{"d", "c", "e"}},
	} {
		if got := chooseVoters(test.candidates); !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

func TestVotersAreAlwaysSensible(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		candidates := []candidate{{node: "leader", leader: true, voter: true, alive: true}}
		voters := 1
		for i := range rapid.IntRange(0, 8).Draw(t, "others") {
			c := candidate{
				node: shard.NodeID(rune('a' + i)), voter: rapid.Bool().Draw(t, "voter"),
				alive: rapid.Bool().Draw(t, "alive"), witness: rapid.Bool().Draw(t, "witness"),
			}
			if c.voter {
				voters++
			}
			candidates = append(candidates, c)
		}
		chosen := chooseVoters(candidates)
		if chosen[0] != "leader" || len(chosen) != 1 && len(chosen) != 3 && len(chosen) != 5 && len(chosen) != voters {
			t.Fatalf("%+v: %v", candidates, chosen)
		}
		for _, c := range candidates {
			if !c.alive && !c.voter && slices.Contains(chosen, c.node) {
				t.Fatalf("%s gets a vote and is dead", c.node)
			}
		}
	})
}
