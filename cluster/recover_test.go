package cluster

import (
	"errors"
	"testing"
	"testing/synctest"

	"polynode/shard"
)

// Two of three voters are lost for good: the third goes on alone with all that was agreed on, in a new generation, and lets others in again.
func TestRecover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t)
		dirs := map[shard.NodeID]string{}
		for _, id := range []shard.NodeID{"a", "b", "c"} {
			dirs[id] = t.TempDir()
			m.up(id, dirs[id])
		}
		m.eventually("three voters, as all know", func() bool {
			for _, p := range m.peers {
				if voters, err := p.cluster.Voters(); err != nil || len(voters) != 3 {
					return false
				}
			}
			return true
		})
		if _, err := m.leader().Propose(t.Context(), PutModel(Model{Digest: "digest", Name: "kept", Shape: testShape})); err != nil {
			t.Fatal(err)
		}
		m.eventually("the model on c", func() bool { return m.peers["c"].cluster.State().Models["digest"].Name == "kept" })
		for _, id := range []shard.NodeID{"a", "b", "c"} {
			m.kill(id)
		}
		if err := Recover(Config{Node: "c", Dir: t.TempDir()}); !errors.Is(err, ErrState) {
			t.Errorf("an empty folder was recovered: %v", err)
		}
		if state, voters, err := Look(Config{Node: "c", Dir: dirs["c"]}); err != nil || len(voters) != 3 || len(state.Nodes) != 3 || state.Models["digest"].Name != "kept" {
			t.Errorf("before recovery: %+v, voters %v, %v", state, voters, err)
		}
		if err := Recover(Config{Node: "c", Dir: dirs["c"]}); err != nil {
			t.Fatal(err)
		}
		c := m.up("c", dirs["c"])
		m.leader()
		state := c.cluster.State()
		if state.Generation != 2 || state.ID != "mesh" || state.Models["digest"].Name != "kept" || len(state.Nodes) != 1 ||
			!state.Revoked("a", "") || !state.Revoked("b", "") || state.Revoked("c", "") {
			t.Errorf("state after recovery: %+v", state)
		}
		if voters, err := c.cluster.Voters(); err != nil || len(voters) != 1 || voters[0] != "c" {
			t.Errorf("voters %v, %v", voters, err)
		}
		m.up("d", "")
		m.up("e", "")
		m.eventually("three voters again", func() bool { return len(m.voters()) == 3 })
	})
}
