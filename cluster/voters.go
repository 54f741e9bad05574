package cluster

import (
	"cmp"
	"slices"

	"polynode/shard"
)

// VotersFor is how many of n nodes should vote: 1, 3 or 5. Two voters would stop agreeing when either dies, which is worse than one; more
// than five make every decision slower for no one's safety.
func VotersFor(n int) int {
	switch {
	case n < 3:
		return 1
	case n < 5:
		return 3
	}
	return 5
}

// candidate is a node as far as voting is concerned.
type candidate struct {
	node    shard.NodeID
	voter   bool
	leader  bool
	alive   bool // and caught up
	witness bool
}

// chooseVoters picks those who should vote: as many as VotersFor says of all that are alive, the leader always, then those who vote
// already, then witnesses, which are there for that, then by name. When fewer nodes are alive than vote, the dead keep their votes:
// a vote is only taken from a dead node when a living one takes its place, so the majority that is needed never shrinks by itself.
func chooseVoters(candidates []candidate) []shard.NodeID {
	alive, voters := 0, 0
	for _, c := range candidates {
		if c.alive {
			alive++
		}
		if c.voter {
			voters++
		}
	}
	want := max(VotersFor(alive), min(voters, VotersFor(len(candidates))))
	if slices.ContainsFunc(candidates, func(c candidate) bool { return c.leader && !c.alive }) {
		want++ // a leader that is about to leave needs somebody beside it to hand over to
	}
	order := slices.Clone(candidates)
	rank := func(c candidate) int {
		switch {
		case c.leader:
			return 0
		case c.alive && c.voter:
			return 1
		case c.alive && c.witness:
			return 2
		case c.alive:
			return 3
		case c.voter:
			return 4
		}
		return 5
	}
	slices.SortFunc(order, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.node, b.node))
	})
	var chosen []shard.NodeID
	for _, c := range order {
		if len(chosen) < want && rank(c) < 5 {
			chosen = append(chosen, c.node)
		}
	}
	return chosen
}
