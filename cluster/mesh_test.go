package cluster

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"polynode/shard"
	"polynode/transport"
)

// mesh is a cluster of several nodes over a network in memory.
type mesh struct {
	t     *testing.T
	hub   *transport.Memory
	peers map[shard.NodeID]*peer
	keys  [][]byte
}

// peer is one node of it.
type peer struct {
	network *transport.MemoryNode
	members *Members
	cluster *Cluster
}

func newMesh(t *testing.T) *mesh {
	m := &mesh{t: t, hub: transport.NewMemory(), peers: map[shard.NodeID]*peer{}, keys: [][]byte{make([]byte, 32)}}
	t.Cleanup(func() {
		for id := range m.peers {
			m.kill(id)
		}
		time.Sleep(time.Minute) // timers of gossip end
	})
	return m
}

// up starts a node: the first founds the cluster, others are let in by the coordinator and join.
func (m *mesh) up(id shard.NodeID, dir string) *peer {
	m.t.Helper()
	network, err := m.hub.Node(string(id))
	if err != nil {
		m.t.Fatal(err)
	}
	p := &peer{network: network}
	p.members, err = NewMembers(m.t.Context(), MembersConfig{Node: id, Network: network, Packets: network, Keys: m.keys})
	if err != nil {
		m.t.Fatal(err)
	}
	var known []netip.AddrPort
	for _, other := range m.peers {
		known = append(known, other.network.Address())
	}
	if len(known) > 0 {
		leader := m.leader()
		if _, there := leader.State().Nodes[id]; !there {
			if _, err := leader.Propose(m.t.Context(), PutNode(Node{ID: id, Phase: Joining, Facts: readyNode(id).Facts})); err != nil {
				m.t.Fatal(err)
			}
		}
		if _, err := p.members.Meet(known); err != nil {
			m.t.Fatal(err)
		}
	}
	p.cluster, err = Start(m.t.Context(), Config{
		Node: id, Facts: readyNode(id).Facts, ID: "mesh", Network: network, Dir: dir, Join: len(known) > 0, Members: p.members,
	})
	if err != nil {
		m.t.Fatal(err)
	}
	m.peers[id] = p
	return p
}

// kill ends a node without a word to the others.
func (m *mesh) kill(id shard.NodeID) {
	p := m.peers[id]
	delete(m.peers, id)
	p.network.Close() // first, so that nothing of what follows reaches anybody
	if err := p.cluster.Close(); err != nil {
		m.t.Error(err)
	}
	if err := p.members.Close(); err != nil {
		m.t.Error(err)
	}
}

// leader waits for the one coordinator of the nodes that are up.
func (m *mesh) leader() *Cluster {
	m.t.Helper()
	var found *Cluster
	m.eventually("a coordinator", func() bool {
		found = nil
		for id, p := range m.peers {
			if leader, known := p.cluster.Leader(); known && leader == id {
				found = p.cluster
			}
		}
		return found != nil
	})
	return found
}

// eventually waits in virtual time until something is so.
func (m *mesh) eventually(what string, so func() bool) time.Duration {
	m.t.Helper()
	began := time.Now()
	for range 2000 {
		if so() {
			return time.Since(began)
		}
		time.Sleep(10 * time.Millisecond)
	}
	m.t.Fatalf("not within 20 s: %s", what)
	return 0
}

func (m *mesh) voters() []shard.NodeID {
	voters, _ := m.leader().Voters()
	return voters
}

func TestNodesJoinAndVote(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t)
		ids := []shard.NodeID{"a", "b", "c", "d", "e", "f"}
		for i, id := range ids {
			m.up(id, "")
			want := VotersFor(i + 1)
			m.eventually(fmt.Sprintf("%d voters of %d nodes", want, i+1), func() bool { return len(m.voters()) == want })
			m.eventually("everybody knows everybody as ready", func() bool {
				for _, p := range m.peers {
					s := p.cluster.State()
					for _, other := range ids[:i+1] {
						if s.Nodes[other].Phase != Ready || len(p.members.Alive()) != i+1 {
							return false
						}
					}
				}
				return true
			})
		}
	})
}

// Killing the coordinator costs about a second, a voter less, and the votes go to the living.
func TestTheCoordinatorDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t)
		for _, id := range []shard.NodeID{"a", "b", "c", "d"} {
			m.up(id, "")
		}
		m.eventually("three voters, as all know: what only the coordinator knows dies with it", func() bool {
			for _, p := range m.peers {
				if voters, err := p.cluster.Voters(); err != nil || len(voters) != 3 {
					return false
				}
			}
			return true
		})
		m.kill("a")
		took := m.eventually("another coordinator", func() bool {
			for id, p := range m.peers {
				if leader, known := p.cluster.Leader(); known && leader == id {
					return true
				}
			}
			return false
		})
		if took > 6*time.Second {
			t.Errorf("a new coordinator after %v", took)
		}
		dead := m.eventually("gossip misses the dead", func() bool {
			for _, p := range m.peers {
				if _, alive := p.members.Alive()["a"]; alive {
					return false
				}
			}
			return true
		})
		if took+dead > 6*time.Second {
			t.Errorf("gossip took %v", took+dead)
		}
		m.eventually("the living vote", func() bool { return slices.Equal(m.voters(), []shard.NodeID{"b", "c", "d"}) })
		if _, err := m.leader().Propose(t.Context(), PutModel(Model{Digest: "digest", Name: "model", Shape: testShape})); err != nil {
			t.Error(err)
		}
	})
}

// A node that was removed is no server any more.
func TestARemovedNodeIsNoServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t)
		for _, id := range []shard.NodeID{"a", "b", "c"} {
			m.up(id, "")
		}
		m.eventually("three voters", func() bool { return len(m.voters()) == 3 })
		m.kill("c")
		node := m.leader().State().Nodes["c"]
		if _, err := m.leader().Propose(t.Context(), ForgetNode(node)); err != nil {
			t.Fatal(err)
		}
		m.eventually("one voter of two", func() bool { return len(m.voters()) == 1 })
	})
}

// Nodes that all stop come back as the cluster that they were, from their folders. In real time: the log is on a disk.
func TestAClusterComesBackFromDisk(t *testing.T) {
	dirs := map[shard.NodeID]string{"a": t.TempDir(), "b": t.TempDir(), "c": t.TempDir()}
	first := newRealMesh(t)
	for _, id := range []shard.NodeID{"a", "b", "c"} {
		first.up(id, dirs[id])
	}
	first.eventually("three voters, as all know", func() bool {
		for _, p := range first.peers {
			if voters, err := p.cluster.Voters(); err != nil || len(voters) != 3 {
				return false
			}
		}
		return true
	})
	if _, err := first.leader().Propose(t.Context(), PutModel(Model{Digest: "digest", Name: "model", Shape: testShape})); err != nil {
		t.Fatal(err)
	}
	want := first.leader().State().Models["digest"]
	for _, id := range []shard.NodeID{"a", "b", "c"} {
		first.kill(id)
	}
	again := newRealMesh(t)
	for _, id := range []shard.NodeID{"b", "c"} { // two of three are a majority
		network, err := again.hub.Node(string(id))
		if err != nil {
			t.Fatal(err)
		}
		p := &peer{network: network}
		if p.members, err = NewMembers(t.Context(), MembersConfig{Node: id, Network: network, Packets: network, Keys: again.keys}); err != nil {
			t.Fatal(err)
		}
		if p.cluster, err = Start(t.Context(), Config{Node: id, Facts: readyNode(id).Facts, Network: network, Dir: dirs[id], Members: p.members}); err != nil {
			t.Fatal(err)
		}
		again.peers[id] = p
	}
	if _, err := again.peers["b"].members.Meet([]netip.AddrPort{again.peers["c"].network.Address()}); err != nil {
		t.Fatal(err)
	}
	again.eventually("the model is known again", func() bool { return again.leader().State().Models["digest"] == want })
	if got := again.leader().State().ID; got != "mesh" {
		t.Errorf("cluster %q came back", got)
	}
	if entries, err := os.ReadDir(dirs["a"]); err != nil || len(entries) == 0 {
		t.Errorf("nothing was kept: %v", err)
	}
}

func newRealMesh(t *testing.T) *mesh {
	m := &mesh{t: t, hub: transport.NewMemory(), peers: map[shard.NodeID]*peer{}, keys: [][]byte{make([]byte, 32)}}
	t.Cleanup(func() {
		for id := range m.peers {
			m.kill(id)
		}
	})
	return m
}

func TestTheSameFolderTwice(t *testing.T) {
	dir := t.TempDir()
	store, err := openLogStore(dir + "/raft.db")
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if _, err := Start(context.WithoutCancel(t.Context()), Config{Node: "a", Dir: dir}); err == nil {
		t.Error("two nodes started in one folder")
	} else {
		t.Log(err)
	}
}
