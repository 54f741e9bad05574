package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"polynode/cluster/trust"
	"polynode/shard"
)

var testShape = shard.Shape{Layers: 4, Heads: 4, HeadDim: 32, Inner: 512, Vocab: 1000, Leaf: 32, PanelRows: 16}

func readyNode(id shard.NodeID) Node {
	return Node{ID: id, Phase: Ready, Facts: Facts{Version: "v1", Cores: 4, MemoryBytes: 8 << 30, BytesPerSecond: 20e9, OpsPerSecond: 1e12}}
}

// founded is a state with nodes a and b and one model; its last index is 4.
func founded(t testing.TB) *State {
	t.Helper()
	s := &State{}
	for i, command := range []Command{
		Found("cluster"), PutNode(readyNode("a")), PutNode(readyNode("b")),
		PutModel(Model{Digest: "digest", Name: "model", Shape: testShape}),
	} {
		if result := s.Apply(uint64(i+1), command); result.Err != nil || result.Index != uint64(i+1) {
			t.Fatalf("command %d: %+v", i, result)
		}
	}
	return s
}

func split(t testing.TB, nodes ...shard.NodeID) *shard.Plan {
	t.Helper()
	var stages [][]shard.Member
	for _, node := range nodes {
		stages = append(stages, []shard.Member{{Node: node}})
	}
	plan, err := shard.Build(testShape, "digest", stages)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

func TestLifeOfAPlan(t *testing.T) {
	s := founded(t)
	if s.Epoch() != 0 {
		t.Errorf("epoch %d before the first plan", s.Epoch())
	}
	plan := split(t, "a", "b")
	plan.Epoch = 99 // not for the proposer to choose
	if r := s.Apply(10, PreparePlan(plan, 0)); r.Err != nil {
		t.Fatal(r.Err)
	}
	if s.Plan != nil || s.Prepared.Index != 10 || s.Prepared.Plan.Epoch != 0 {
		t.Errorf("after preparing: plan %+v, prepared %+v", s.Plan, s.Prepared)
	}
	if r := s.Apply(12, ActivatePlan(10)); r.Err != nil {
		t.Fatal(r.Err)
	}
	if s.Epoch() != 12 || s.Prepared != nil || !reflect.DeepEqual(s.Plan.Stages, plan.Stages) {
		t.Errorf("after activating: plan %+v, prepared %+v", s.Plan, s.Prepared)
	}
	if r := s.Apply(13, PreparePlan(shard.Solo("a", testShape, "digest"), 12)); r.Err != nil {
		t.Fatal(r.Err)
	}
	if r := s.Apply(14, AbandonPlan(13)); r.Err != nil || s.Prepared != nil || s.Epoch() != 12 {
		t.Errorf("after abandoning: %v, epoch %d, prepared %+v", r.Err, s.Epoch(), s.Prepared)
	}
}

// refusals are commands that a founded state refuses.
var refusals = []struct {
	name    string
	command func(*State) Command
	want    error
}{
	{"version", func(*State) Command { return Command{Version: 2, Kind: KindFound, ID: "x"} }, ErrCommand},
	{"no version", func(*State) Command { return Command{Kind: KindFound, ID: "x"} }, ErrCommand},
	{"unknown kind", func(*State) Command { return Command{Version: 1, Kind: "reboot"} }, ErrCommand},
	{"found twice", func(*State) Command { return Found("again") }, ErrConflict},
	{"found without an id", func(*State) Command { return Found("") }, ErrCommand},
	{"node missing", func(*State) Command { return Command{Version: 1, Kind: KindNode} }, ErrCommand},
	{"node without an id", func(*State) Command { return PutNode(Node{Phase: Ready}) }, ErrCommand},
	{"node with a long id", func(*State) Command { return PutNode(readyNode(shard.NodeID(strings.Repeat("x", NameMax+1)))) }, ErrCommand},
	{"node with a broken id", func(*State) Command { return PutNode(readyNode("\xff")) }, ErrCommand},
	{"node in no phase", func(*State) Command { return PutNode(Node{ID: "c", Phase: "asleep"}) }, ErrCommand},
	{"node that is there", func(*State) Command { return PutNode(readyNode("a")) }, ErrConflict},
	{"node that is not there", func(*State) Command { return PutNode(Node{ID: "c", Phase: Ready, Index: 2}) }, ErrConflict},
	{"forget nobody", func(*State) Command { return ForgetNode(Node{ID: "c"}) }, ErrUnknown},
	{"forget what was not seen", func(*State) Command { return ForgetNode(Node{ID: "a", Index: 1}) }, ErrConflict},
	{"model missing", func(*State) Command { return Command{Version: 1, Kind: KindModel} }, ErrCommand},
	{"model without a name", func(*State) Command { return PutModel(Model{Digest: "d", Shape: testShape}) }, ErrCommand},
	{"model without a digest", func(*State) Command { return PutModel(Model{Name: "n", Shape: testShape}) }, ErrCommand},
	{"model without a shape", func(*State) Command { return PutModel(Model{Digest: "d", Name: "n"}) }, ErrCommand},
	{"model that is there", func(*State) Command { return PutModel(Model{Digest: "digest", Name: "n", Shape: testShape}) }, ErrConflict},
	{"model of another shape", func(s *State) Command {
		_, model := storedIn(s)
		model.Shape.Layers++
		return PutModel(model)
	}, ErrConflict},
	{"drop no model", func(*State) Command { return DropModel(Model{Digest: "d"}) }, ErrUnknown},
	{"drop what was not seen", func(*State) Command { return DropModel(Model{Digest: "digest", Index: 1}) }, ErrConflict},
	{"plan missing", func(*State) Command { return Command{Version: 1, Kind: KindPrepare} }, ErrCommand},
	{"plan after another one", func(*State) Command { return PreparePlan(shard.Solo("a", testShape, "digest"), 3) }, ErrConflict},
	{"plan of an unknown model", func(*State) Command { return PreparePlan(shard.Solo("a", testShape, "d"), 0) }, ErrUnknown},
	{"plan with an unknown node", func(*State) Command { return PreparePlan(shard.Solo("c", testShape, "digest"), 0) }, ErrUnknown},
	{"plan with holes", func(*State) Command { return PreparePlan(&shard.Plan{Model: "digest"}, 0) }, shard.ErrPlan},
	{"plan with a draining node", func(s *State) Command {
		node, _ := storedIn(s)
		node.Phase = Draining
		s.Apply(5, PutNode(node))
		return PreparePlan(shard.Solo("a", testShape, "digest"), 0)
	}, ErrNotReady},
	{"activate nothing", func(*State) Command { return ActivatePlan(0) }, ErrConflict},
	{"activate another plan", func(s *State) Command {
		s.Apply(5, PreparePlan(shard.Solo("a", testShape, "digest"), 0))
		s.Apply(6, PreparePlan(shard.Solo("b", testShape, "digest"), 0))
		return ActivatePlan(5)
	}, ErrConflict},
	{"activate a plan whose node left", func(s *State) Command {
		s.Apply(5, PreparePlan(shard.Solo("a", testShape, "digest"), 0))
		node, _ := storedIn(s)
		node.Phase = Gone
		s.Apply(6, PutNode(node))
		return ActivatePlan(5)
	}, ErrNotReady},
	{"abandon nothing", func(*State) Command { return AbandonPlan(0) }, ErrConflict},
	{"forget a node that is planned", func(s *State) Command {
		s.Apply(5, PreparePlan(shard.Solo("a", testShape, "digest"), 0))
		node, _ := storedIn(s)
		return ForgetNode(node)
	}, ErrInUse},
	{"drop a model that runs", func(s *State) Command {
		s.Apply(5, PreparePlan(shard.Solo("a", testShape, "digest"), 0))
		s.Apply(6, ActivatePlan(5))
		_, model := storedIn(s)
		return DropModel(model)
	}, ErrInUse},
}

func storedIn(s *State) (Node, Model) { return s.Nodes["a"], s.Models["digest"] }

func TestApplyRefuses(t *testing.T) {
	for _, test := range refusals {
		s := founded(t)
		command := test.command(s)
		before := s.Clone()
		if r := s.Apply(20, command); !errors.Is(r.Err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, r.Err, test.want)
		}
		if !reflect.DeepEqual(before, s) {
			t.Errorf("%s: a refused command changed the state", test.name)
		}
	}
	if r := new(State).Apply(1, PutNode(readyNode("a"))); !errors.Is(r.Err, ErrConflict) {
		t.Errorf("before the founding: %v", r.Err)
	}
}

func TestChangeAndRemove(t *testing.T) {
	s := founded(t)
	node := s.Nodes["b"]
	node.Phase = Draining
	for i, command := range []Command{PutNode(node), DropModel(s.Models["digest"])} {
		if r := s.Apply(uint64(10+i), command); r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	if got := s.Nodes["b"]; got.Phase != Draining || got.Index != 10 || len(s.Models) != 0 {
		t.Errorf("node %+v, models %v", got, s.Models)
	}
	if r := s.Apply(12, ForgetNode(s.Nodes["b"])); r.Err != nil || len(s.Nodes) != 1 {
		t.Errorf("forget: %v, nodes %v", r.Err, s.Nodes)
	}
}

func TestLimits(t *testing.T) {
	s := &State{}
	s.Apply(1, Found("cluster"))
	index := uint64(1)
	for i := range NodesMax + 1 {
		index++
		r := s.Apply(index, PutNode(readyNode(shard.NodeID(fmt.Sprint("n", i)))))
		if full := i >= NodesMax; full != errors.Is(r.Err, ErrFull) {
			t.Fatalf("node %d: %v", i, r.Err)
		}
	}
	for i := range ModelsMax + 1 {
		index++
		r := s.Apply(index, PutModel(Model{Digest: fmt.Sprint("d", i), Name: "m", Shape: testShape}))
		if full := i >= ModelsMax; full != errors.Is(r.Err, ErrFull) {
			t.Fatalf("model %d: %v", i, r.Err)
		}
	}
	if data, err := s.Snapshot(); err != nil || len(data) > SnapshotMax/4 {
		t.Errorf("a full state is %d bytes, %v", len(data), err)
	}
	plan := shard.Solo("n0", testShape, strings.Repeat("x", CommandMax))
	command := PreparePlan(plan, 0)
	if _, err := command.Encode(); !errors.Is(err, ErrCommand) {
		t.Errorf("a large command: %v", err)
	}
	if _, err := DecodeCommand(make([]byte, CommandMax+1)); !errors.Is(err, ErrCommand) {
		t.Errorf("a large command: %v", err)
	}
	if _, err := Restore(bytes.NewReader(make([]byte, SnapshotMax+1))); !errors.Is(err, ErrSnapshot) {
		t.Errorf("a large snapshot: %v", err)
	}
}

func TestCloneSharesNothing(t *testing.T) {
	s := founded(t)
	s.Apply(5, PreparePlan(split(t, "a", "b"), 0))
	s.Apply(6, ActivatePlan(5))
	s.Apply(7, PreparePlan(split(t, "b", "a"), 6))
	before, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	c := s.Clone()
	c.Nodes["z"], c.Models["z"] = Node{}, Model{}
	c.Plan.Stages[0].Group[0].Node = "z"
	c.Prepared.Plan.Stages[0].Group[0].Node = "z"
	c.Prepared.Index = 1
	if after, err := s.Snapshot(); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the clone changed the state: %s", after)
	}
}

// drawCommand makes commands that often fit the state and often do not.
func drawCommand(t *rapid.T, s *State) Command {
	ids := []shard.NodeID{"a", "b", "c", "d"}
	id := rapid.SampledFrom(ids).Draw(t, "node")
	digest := rapid.SampledFrom([]string{"d1", "d2"}).Draw(t, "digest")
	node, model := s.Nodes[id], s.Models[digest]
	node.ID, model.Digest = id, digest
	var prepared uint64
	if s.Prepared != nil {
		prepared = s.Prepared.Index
	}
	var c Command
	switch rapid.IntRange(0, 8).Draw(t, "kind") {
	case 0:
		c = Found("cluster")
	case 1, 2:
		node.Phase = rapid.SampledFrom([]Phase{Ready, Ready, Ready, Joining, Draining, Gone, "?"}).Draw(t, "phase")
		node.Facts.MemoryBytes = rapid.Int64().Draw(t, "memory")
		c = PutNode(node)
	case 3:
		c = ForgetNode(node)
	case 4:
		model.Name, model.Shape = "m", testShape
		c = PutModel(model)
	case 5:
		c = DropModel(model)
	case 6:
		members := [][]shard.Member{{{Node: id, Heads: 1}, {Node: rapid.SampledFrom(ids).Draw(t, "second"), Heads: 2}}}
		plan, err := shard.Build(testShape, digest, members)
		if err != nil {
			plan = shard.Solo(id, testShape, digest)
		}
		c = PreparePlan(plan, s.Epoch())
	case 7:
		c = ActivatePlan(prepared)
	case 8:
		c = AbandonPlan(prepared)
	}
	if rapid.IntRange(0, 9).Draw(t, "late") == 0 {
		c.Expect += uint64(rapid.IntRange(-2, 2).Draw(t, "by"))
	}
	return c
}

// Two replicas with the same log agree, also when one of them starts from a snapshot in the middle, and what a plan
// promises always holds.
func TestReplicasAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		first, second := &State{}, &State{}
		restart := rapid.IntRange(0, 60).Draw(t, "restart")
		epoch := shard.Epoch(0)
		for i := range rapid.IntRange(1, 60).Draw(t, "commands") {
			index := uint64(2*i + 3)
			command := drawCommand(t, first)
			data, err := command.Encode()
			if err != nil {
				t.Fatal(err)
			}
			decoded, err := DecodeCommand(data)
			if err != nil {
				t.Fatalf("%s: %v", data, err)
			}
			a, b := first.Apply(index, command), second.Apply(index, decoded)
			if fmt.Sprint(a) != fmt.Sprint(b) {
				t.Fatalf("%s: answers %v and %v", data, a, b)
			}
			if i == restart {
				second = restored(t, second)
			}
			if hash(t, first) != hash(t, second) {
				t.Fatalf("%s: states differ", data)
			}
			checkInvariants(t, first)
			if first.Epoch() < epoch {
				t.Fatalf("epoch went from %d to %d", epoch, first.Epoch())
			}
			epoch = first.Epoch()
		}
	})
}

func restored(t *rapid.T, s *State) *State {
	data, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	back, err := Restore(bytes.NewReader(data))
	if err != nil {
		t.Fatalf("%s: %v", data, err)
	}
	return back
}

func hash(t *rapid.T, s *State) [32]byte {
	h, err := s.Hash()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func checkInvariants(t *rapid.T, s *State) {
	for _, plan := range s.plans() {
		model, ok := s.Models[plan.Model]
		if !ok {
			t.Fatalf("plan of model %q, which is not there", plan.Model)
		}
		if err := plan.Validate(model.Shape); err != nil {
			t.Fatal(err)
		}
		for _, node := range plan.Nodes() {
			if _, ok := s.Nodes[node]; !ok {
				t.Fatalf("plan with node %q, which is not there", node)
			}
		}
	}
}

func TestSnapshotRefused(t *testing.T) {
	for _, data := range []string{"", "{}", "null", `{"version":2,"state":{}}`, `{"version":1}`, `{"version":1,"state":{},"x":1}`, `{"version":1,"state":{}} x`} {
		if _, err := Restore(strings.NewReader(data)); !errors.Is(err, ErrSnapshot) {
			t.Errorf("%q: %v", data, err)
		}
	}
}

// What is read as a snapshot is written as one that reads the same; nothing else gets further than ErrSnapshot.
func FuzzSnapshot(f *testing.F) {
	data, err := founded(f).Snapshot()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	if data, err = withTokens(f).Snapshot(); err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"version":1,"state":{"id":"x","nodes":{"a":{}},"models":null,"active":{"stages":[{}]}}}`))
	f.Add([]byte(`{"version":1,"state":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		state, err := Restore(bytes.NewReader(data))
		if err != nil {
			if !errors.Is(err, ErrSnapshot) {
				t.Fatal(err)
			}
			return
		}
		once, err := state.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		again, err := Restore(bytes.NewReader(once))
		if err != nil {
			t.Fatalf("%s: %v", once, err)
		}
		if twice, err := again.Snapshot(); err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("%s came back as %s, %v", once, twice, err)
		}
	})
}

// No bytes in the log make Apply panic, and what decodes encodes to the same again.
func FuzzCommand(f *testing.F) {
	plan := shard.Solo("a", testShape, "digest")
	huge := testShape
	huge.Leaf, huge.HeadDim = 4096, 1<<24
	for _, c := range []Command{
		Found("cluster"), PutNode(readyNode("c")), ForgetNode(Node{ID: "a", Index: 2}), PreparePlan(plan, 0), ActivatePlan(5), AbandonPlan(5),
		PutModel(Model{Digest: "d", Name: "n", Shape: huge}), DropModel(Model{Digest: "digest", Index: 4}),
		PutToken(testToken(3, 2), testMade), UseToken(trust.TokenRecord{ID: tokenID(2), Index: 6}, joiner("c"), testMade),
		RevokeToken(trust.TokenRecord{ID: tokenID(1), Index: 5}), Revoke("a", "1f", testMade), Revoke("a", "", testMade),
		PutKeys(Keys{Keys: trust.Keys{Roots: trust.Ring{{1}}, Gossip: ringOf(1, 2)}, Index: 7}),
	} {
		data, err := c.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(fmt.Sprintf(`{"version":1,"kind":"plan.prepare","plan":{"model":"digest","stages":[{"layers":{"lo":-1,"hi":%d}}]}}`, math.MaxInt)))
	f.Fuzz(func(t *testing.T, data []byte) {
		command, err := DecodeCommand(data)
		if err != nil {
			if !errors.Is(err, ErrCommand) {
				t.Fatal(err)
			}
			return
		}
		again, err := command.Encode()
		if err != nil {
			return // longer than what came, by escapes
		}
		decoded, err := DecodeCommand(again)
		if err != nil || !reflect.DeepEqual(command, decoded) {
			t.Fatalf("%s came back as %s, %v", data, again, err)
		}
		s := withTokens(t)
		for index := range uint64(3) {
			s.Apply(8+index, command)
		}
		s.Apply(11, ActivatePlan(8))
		if _, err := s.Hash(); err != nil {
			t.Fatal(err)
		}
	})
}
