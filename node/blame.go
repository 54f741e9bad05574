package node

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"polynode/engine/worker"
	"polynode/shard"
)

// When a rank that answers is to blame all the same.
const (
	idleAfter  = 30 * time.Second       // without any piece of work done: its disk may hesitate so long
	slowMin    = 10 * time.Second       // a step that takes many times what is expected, and at least this, is too slow
	slowMany   = 32                     // times
	stuckAfter = 700 * time.Millisecond // in which all wait and nobody works: messages that are under way arrive sooner
)

// silentWhy is said of who does not answer.
const silentWhy = "does not answer"

// inquest finds out who is to blame for a step that takes too long. It is pure arithmetic over what it is given, and belongs to one goroutine.
type inquest struct {
	self     shard.NodeID // is never left out: it coordinates
	begun    time.Time    // the step
	expected time.Duration
	cold     bool // weights are used for the first time

	moved map[shard.NodeID]movement
	still time.Time // since when nobody works; zero if somebody did
}

// movement is how far a rank was, and since when.
type movement struct {
	done  uint64
	since time.Time
}

// verdict is what comes of an inquest. Nodes may be empty though the step has to end: then nobody in particular is to blame.
type verdict struct {
	end   bool
	nodes []shard.NodeID
	why   string
}

// judge looks at what the ranks of the plan say of themselves. A node without an account did not answer.
func (q *inquest) judge(now time.Time, nodes []shard.NodeID, accounts map[shard.NodeID]worker.Progress) verdict {
	if silent := q.silent(nodes, accounts); len(silent) > 0 {
		return verdict{true, silent, silentWhy}
	}
	var working []shard.NodeID
	for _, id := range slices.Sorted(maps.Keys(accounts)) {
		a := accounts[id]
		q.note(now, id, a.Done)
		if a.Running && a.Waits == "" {
			working = append(working, id)
		}
	}
	if len(working) == 0 {
		return q.stuck(now, accounts)
	}
	q.still = time.Time{}
	for _, id := range working {
		switch still := now.Sub(q.moved[id].since); {
		case id == q.self:
		case still > idleAfter:
			return verdict{true, []shard.NodeID{id}, fmt.Sprintf("has done nothing for %v", still.Round(time.Second))}
		case !q.cold && now.Sub(q.begun) > max(slowMin, slowMany*q.expected):
			return verdict{true, []shard.NodeID{id}, fmt.Sprintf("computes for %v what takes %v", now.Sub(q.begun).Round(time.Second), q.expected.Round(time.Millisecond))}
		}
	}
	return verdict{}
}

func (q *inquest) silent(nodes []shard.NodeID, accounts map[shard.NodeID]worker.Progress) []shard.NodeID {
	return slices.DeleteFunc(slices.Clone(nodes), func(id shard.NodeID) bool {
		_, answered := accounts[id]
		return answered || id == q.self
	})
}

func (q *inquest) note(now time.Time, id shard.NodeID, done uint64) {
	if q.moved == nil {
		q.moved = map[shard.NodeID]movement{}
	}
	if m, known := q.moved[id]; !known || m.done != done {
		q.moved[id] = movement{done, now}
		q.still = time.Time{}
	}
}

// stuck is the verdict where all wait or have nothing to do. When that lasts something was lost on the way, and whoever is waited for most is to blame.
func (q *inquest) stuck(now time.Time, accounts map[shard.NodeID]worker.Progress) verdict {
	if q.still.IsZero() {
		q.still = now
	}
	if now.Sub(q.still) < stuckAfter {
		return verdict{}
	}
	return verdict{true, mostNamed(q.self, accounts, func(a worker.Progress) shard.NodeID { return a.Waits }), "is waited for by others, and does nothing"}
}

// mostNamed is the node that most accounts name, other than one; of several the last. Nobody if none is named.
func mostNamed(but shard.NodeID, accounts map[shard.NodeID]worker.Progress, names func(worker.Progress) shard.NodeID) []shard.NodeID {
	votes := map[shard.NodeID]int{}
	for _, a := range accounts {
		if id := names(a); id != "" && id != but {
			votes[id]++
		}
	}
	if len(votes) == 0 {
		return nil
	}
	return []shard.NodeID{slices.MaxFunc(slices.Sorted(maps.Keys(votes)), func(a, b shard.NodeID) int {
		return cmp.Or(cmp.Compare(votes[a], votes[b]), cmp.Compare(a, b))
	})}
}

// autopsy says who is to blame for a step, or a plan, that failed: who does not answer, or else whom the others lost.
func autopsy(self shard.NodeID, nodes []shard.NodeID, accounts map[shard.NodeID]worker.Progress) verdict {
	q := inquest{self: self}
	if silent := q.silent(nodes, accounts); len(silent) > 0 {
		return verdict{true, silent, silentWhy}
	}
	return verdict{true, mostNamed(self, accounts, func(a worker.Progress) shard.NodeID { return a.Lost }), "is not heard by others"}
}
