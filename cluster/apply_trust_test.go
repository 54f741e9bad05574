package cluster

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"polynode/cluster/trust"
	"polynode/shard"
)

const (
	testMade  = int64(1_000_000)
	testUntil = testMade + 3600
)

// tokenIDs are of the form that trust makes.
func tokenID(i int) string {
	const digits = "abcdefghijklmnopqrstuvwxyz234567"
	id := []byte("aaaaaaaa")
	for d := len(id) - 1; i > 0; d-- {
		id[d] = digits[i%32]
		i /= 32
	}
	return string(id)
}

func testToken(i, uses int) trust.TokenRecord {
	key := make([]byte, 32)
	binary.BigEndian.PutUint64(key, uint64(i))
	return trust.TokenRecord{
		ID: tokenID(i), Key: base64.RawStdEncoding.EncodeToString(key), Role: trust.Worker, Uses: uses, Made: testMade, Until: testUntil,
	}
}

func joiner(id shard.NodeID) Node {
	node := readyNode(id)
	node.Role, node.Name, node.Address, node.Serial = trust.Worker, "desk "+string(id), "10.0.0.1:7946", "1f"
	return node
}

func gossipKey(i byte) []byte { return bytes.Repeat([]byte{i}, trust.GossipKeyBytes) }

func ringOf(keys ...byte) trust.Ring {
	var ring trust.Ring
	for _, k := range keys {
		ring = append(ring, gossipKey(k))
	}
	return ring
}

// withTokens is a founded state with a token for one node, one for two, and keys; its last index is 7.
func withTokens(t testing.TB) *State {
	t.Helper()
	s := founded(t)
	must(t, s, 5, PutToken(testToken(1, 1), testMade))
	must(t, s, 6, PutToken(testToken(2, 2), testMade))
	must(t, s, 7, PutKeys(Keys{Keys: trust.Keys{Roots: trust.Ring{{1}}, Gossip: ringOf(1)}}))
	return s
}

func must(t testing.TB, s *State, index uint64, c Command) {
	t.Helper()
	if r := s.Apply(index, c); r.Err != nil {
		t.Fatal(r.Err)
	}
}

func TestJoinByToken(t *testing.T) {
	s := withTokens(t)
	must(t, s, 10, UseToken(s.Tokens[tokenID(2)], joiner("c"), testMade))
	c := s.Nodes["c"]
	if c.Phase != Joining || c.Index != 10 || c.Token != tokenID(2) || c.Name != "desk c" || !s.Joined("c", tokenID(2)) {
		t.Errorf("joined as %+v", c)
	}
	if token := s.Tokens[tokenID(2)]; token.Used != 1 || token.Index != 10 {
		t.Errorf("token %+v", token)
	}

	// It asks again, since the answer was lost: another certificate, no other use.
	c.Serial, c.Phase = "20", Ready
	must(t, s, 11, PutNode(c))
	c = s.Nodes["c"]
	c.Serial, c.Phase = "21", Gone
	must(t, s, 12, UseToken(s.Tokens[tokenID(2)], c, testUntil))
	if c := s.Nodes["c"]; c.Serial != "21" || c.Phase != Ready || s.Tokens[tokenID(2)].Used != 1 {
		t.Errorf("joined again as %+v, token %+v", c, s.Tokens[tokenID(2)])
	}

	must(t, s, 13, UseToken(s.Tokens[tokenID(2)], joiner("d"), testUntil))
	r := s.Apply(14, UseToken(s.Tokens[tokenID(2)], joiner("e"), testUntil))
	if !errors.Is(r.Err, trust.ErrTokenUsed) || !strings.Contains(r.Err.Error(), "2 of 2") {
		t.Errorf("a third node: %v", r.Err)
	}

	// A node that is gone comes back with another token, as joining.
	d := s.Nodes["d"]
	d.Phase = Gone
	must(t, s, 15, PutNode(d))
	must(t, s, 16, UseToken(s.Tokens[tokenID(1)], s.Nodes["d"], testMade))
	if d := s.Nodes["d"]; d.Phase != Joining || d.Token != tokenID(1) || s.Tokens[tokenID(1)].Used != 1 {
		t.Errorf("back as %+v", d)
	}
}

func TestRevokeNode(t *testing.T) {
	s := withTokens(t)
	must(t, s, 10, Revoke("a", "1f", testMade))
	if !s.Revoked("a", "1f") || s.Revoked("a", "20") || s.Revoked("a", "") || s.Revoked("b", "1f") || s.Nodes["a"].Phase != Ready {
		t.Errorf("after one certificate: %+v, node %+v", s.Revocations, s.Nodes["a"])
	}
	seen := s.Nodes["a"]
	must(t, s, 11, Revoke("a", "", testMade))
	if !s.Revoked("a", "20") || !s.Revoked("a", "") || s.Nodes["a"].Phase != Gone || s.Nodes["a"].Index != 11 {
		t.Errorf("after all: %+v, node %+v", s.Revocations, s.Nodes["a"])
	}
	if r := s.Apply(12, PutNode(seen)); !errors.Is(r.Err, trust.ErrRevoked) {
		t.Errorf("a node back from the dead: %v", r.Err)
	}
	must(t, s, 13, ForgetNode(s.Nodes["a"]))
	a := joiner("a")
	if r := s.Apply(14, UseToken(s.Tokens[tokenID(1)], a, testMade)); !errors.Is(r.Err, trust.ErrRevoked) {
		t.Errorf("a revoked node with a good token: %v", r.Err)
	}
	must(t, s, 15, Revoke("stranger", "", testMade)) // one that nobody knows any more
}

func TestRotateKeys(t *testing.T) {
	s := withTokens(t)
	for i, ring := range []trust.Ring{ringOf(1, 2), ringOf(2, 1), ringOf(2)} {
		keys := *s.Clone().Keys
		keys.Gossip = ring
		must(t, s, uint64(10+i), PutKeys(keys))
		if !reflect.DeepEqual(s.Keys.Gossip, ring) || s.Keys.Index != uint64(10+i) {
			t.Errorf("step %d: %+v", i, s.Keys)
		}
	}
}

// A witness votes and computes nothing.
func TestWitnessIsInNoPlan(t *testing.T) {
	s := founded(t)
	a := s.Nodes["a"]
	a.Role = trust.Witness
	must(t, s, 5, PutNode(a))
	if r := s.Apply(6, PreparePlan(shard.Solo("a", testShape, "digest"), 0)); !errors.Is(r.Err, ErrNotReady) || !strings.Contains(r.Err.Error(), "witness") {
		t.Errorf("plan with a witness: %v", r.Err)
	}
}

// refusalsOfTrust are commands that a state with tokens refuses.
var refusalsOfTrust = []struct {
	name    string
	command func(*State) Command
	want    error
}{
	{"token missing", func(*State) Command { return Command{Version: 1, Kind: KindToken, At: 1} }, ErrCommand},
	{"token without a time", func(*State) Command { return PutToken(testToken(3, 1), 0) }, ErrCommand},
	{"token for nobody", func(*State) Command { return PutToken(testToken(3, 0), 1) }, trust.ErrToken},
	{"token that is there", func(*State) Command { return PutToken(testToken(1, 1), 1) }, ErrConflict},
	{"token changed", func(s *State) Command {
		record := testToken(1, 2)
		record.Index = s.Tokens[record.ID].Index
		return PutToken(record, 1)
	}, ErrConflict},
	{"token that should be there", func(*State) Command {
		record := testToken(3, 2)
		record.Index = 5
		return PutToken(record, 1)
	}, ErrConflict},
	{"use without a node", func(s *State) Command {
		return Command{Version: 1, Kind: KindTokenUse, ID: tokenID(1), Expect: 5, At: testMade}
	}, ErrCommand},
	{"use without a time", func(s *State) Command { return UseToken(s.Tokens[tokenID(1)], joiner("c"), 0) }, ErrCommand},
	{"unknown token", func(*State) Command { return UseToken(testToken(9, 1), joiner("c"), testMade) }, ErrUnknown},
	{"unknown token, in words of trust", func(*State) Command { return UseToken(testToken(9, 1), joiner("c"), testMade) }, trust.ErrTokenUnknown},
	{"expired token", func(s *State) Command { return UseToken(s.Tokens[tokenID(1)], joiner("c"), testUntil+1) }, trust.ErrTokenExpired},
	{"revoked token", func(s *State) Command {
		s.Apply(8, RevokeToken(s.Tokens[tokenID(1)]))
		return UseToken(s.Tokens[tokenID(1)], joiner("c"), testMade)
	}, trust.ErrTokenRevoked},
	{"used token", func(s *State) Command {
		s.Apply(8, UseToken(s.Tokens[tokenID(1)], joiner("c"), testMade))
		return UseToken(s.Tokens[tokenID(1)], joiner("d"), testMade)
	}, trust.ErrTokenUsed},
	{"token that somebody used meanwhile", func(s *State) Command {
		seen := s.Tokens[tokenID(2)]
		s.Apply(8, UseToken(seen, joiner("c"), testMade))
		return UseToken(seen, joiner("d"), testMade)
	}, ErrConflict},
	{"the same join twice", func(s *State) Command {
		c := UseToken(s.Tokens[tokenID(2)], joiner("c"), testMade)
		s.Apply(8, c)
		return c
	}, ErrConflict},
	{"another role", func(s *State) Command {
		node := joiner("c")
		node.Role = trust.Witness
		return UseToken(s.Tokens[tokenID(1)], node, testMade)
	}, trust.ErrRole},
	{"node that is there", func(s *State) Command { return UseToken(s.Tokens[tokenID(1)], joiner("a"), testMade) }, ErrConflict},
	{"impossible facts", func(s *State) Command {
		node := joiner("c")
		node.Facts.Cores = -1
		return UseToken(s.Tokens[tokenID(1)], node, testMade)
	}, ErrCommand},
	{"node without an id", func(s *State) Command { return UseToken(s.Tokens[tokenID(1)], joiner(""), testMade) }, ErrCommand},
	{"revoked certificate", func(s *State) Command {
		s.Apply(8, Revoke("c", "1f", testMade))
		return UseToken(s.Tokens[tokenID(1)], joiner("c"), testMade)
	}, trust.ErrRevoked},
	{"revoke an unknown token", func(*State) Command { return RevokeToken(testToken(9, 1)) }, ErrUnknown},
	{"revoke a token that was not seen", func(*State) Command { return RevokeToken(testToken(1, 1)) }, ErrConflict},
	{"revocation missing", func(*State) Command { return Command{Version: 1, Kind: KindRevoke, At: 1} }, ErrCommand},
	{"revocation without a time", func(*State) Command { return Revoke("a", "", 0) }, ErrCommand},
	{"revocation that is over", func(*State) Command {
		return Command{Version: 1, Kind: KindRevoke, At: 5, Revocation: &Revocation{Node: "a", Until: 5}}
	}, ErrCommand},
	{"revoke nobody", func(*State) Command { return Revoke("", "1f", 1) }, ErrCommand},
	{"revoke a node with a slash", func(*State) Command { return Revoke("a/1f", "", 1) }, ErrCommand},
	{"revoke no number", func(*State) Command { return Revoke("a", "1F", 1) }, ErrCommand},
	{"revoke a long number", func(*State) Command { return Revoke("a", strings.Repeat("1", SerialMax+1), 1) }, ErrCommand},
	{"keys missing", func(*State) Command { return Command{Version: 1, Kind: KindKeys, Expect: 7} }, ErrCommand},
	{"keys not seen", func(s *State) Command { return PutKeys(Keys{Keys: s.Keys.Keys, Index: 6}) }, ErrConflict},
	{"keys replaced at once", func(s *State) Command {
		return PutKeys(Keys{Keys: trust.Keys{Roots: s.Keys.Roots, Gossip: ringOf(2)}, Index: 7})
	}, trust.ErrKeys},
	{"keys used before they are installed", func(s *State) Command {
		return PutKeys(Keys{Keys: trust.Keys{Roots: s.Keys.Roots, Gossip: ringOf(2, 1)}, Index: 7})
	}, trust.ErrKeys},
	{"root replaced at once", func(s *State) Command {
		return PutKeys(Keys{Keys: trust.Keys{Roots: trust.Ring{{2}}, Gossip: s.Keys.Gossip}, Index: 7})
	}, trust.ErrKeys},
	{"too many roots", func(s *State) Command {
		return PutKeys(Keys{Keys: trust.Keys{Roots: trust.Ring{{1}, {2}, {3}}, Gossip: s.Keys.Gossip}, Index: 7})
	}, trust.ErrKeys},
	{"too many gossip keys", func(s *State) Command {
		return PutKeys(Keys{Keys: trust.Keys{Roots: s.Keys.Roots, Gossip: ringOf(1, 2, 3, 4)}, Index: 7})
	}, trust.ErrKeys},
	{"node of no role", func(s *State) Command {
		node := s.Nodes["a"]
		node.Role = "king"
		return PutNode(node)
	}, ErrCommand},
	{"node with a long name", func(s *State) Command {
		node := s.Nodes["a"]
		node.Name = strings.Repeat("x", NameMax+1)
		return PutNode(node)
	}, ErrCommand},
	{"node with a broken address", func(s *State) Command {
		node := s.Nodes["a"]
		node.Address = "\xff"
		return PutNode(node)
	}, ErrCommand},
	{"node with a broken number", func(s *State) Command {
		node := s.Nodes["a"]
		node.Serial = "xyz"
		return PutNode(node)
	}, ErrCommand},
}

func TestTrustRefuses(t *testing.T) {
	for _, test := range refusalsOfTrust {
		s := withTokens(t)
		command := test.command(s)
		before := s.Clone()
		if r := s.Apply(20, command); !errors.Is(r.Err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, r.Err, test.want)
		}
		if !reflect.DeepEqual(before, s) {
			t.Errorf("%s: a refused command changed the state", test.name)
		}
	}
}

func TestLimitsOfTrust(t *testing.T) {
	s := founded(t)
	index := uint64(10)
	apply := func(c Command) error {
		index++
		return s.Apply(index, c).Err
	}
	long := strings.Repeat("x", NameMax-4)
	for i := range NodesMax - 2 {
		node := joiner(shard.NodeID(fmt.Sprint(long, i)))
		node.Name, node.Address, node.Token, node.Serial = long, long, long, strings.Repeat("f", SerialMax)
		if err := apply(PutNode(node)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range TokensMax + 1 {
		if err := apply(PutToken(testToken(i, 1), testMade)); i >= TokensMax != errors.Is(err, ErrFull) {
			t.Fatalf("token %d: %v", i, err)
		}
	}
	if err := apply(UseToken(s.Tokens[tokenID(0)], joiner("one more"), testMade)); !errors.Is(err, ErrFull) || !errors.Is(err, trust.ErrFull) {
		t.Errorf("one node more: %v", err)
	}
	if err := apply(RevokeToken(s.Tokens[tokenID(5)])); err != nil {
		t.Fatal(err)
	}
	if err := apply(PutToken(testToken(TokensMax, 1), testMade)); err != nil || len(s.Tokens) != TokensMax {
		t.Errorf("with one revoked: %v, %d tokens", err, len(s.Tokens))
	}
	for i := range RevokedMax + 1 {
		if err := apply(Revoke(shard.NodeID(fmt.Sprint(long, i)), strings.Repeat("f", SerialMax), testMade+int64(i))); i >= RevokedMax != errors.Is(err, ErrFull) {
			t.Fatalf("revocation %d: %v", i, err)
		}
	}
	if err := apply(Revoke(shard.NodeID(long+"0"), strings.Repeat("f", SerialMax), testMade)); err != nil {
		t.Errorf("one that is there already: %v", err)
	}
	root := trust.Ring{make([]byte, trust.CertificateMax), append(make([]byte, trust.CertificateMax-1), 1)}
	if err := apply(PutKeys(Keys{Keys: trust.Keys{Roots: root, Gossip: ringOf(1, 2, 3)}})); err != nil {
		t.Fatal(err)
	}
	if data, err := s.Snapshot(); err != nil || len(data) > SnapshotMax/4 {
		t.Errorf("a full state is %d bytes, %v", len(data), err)
	}
	later := s.Revocations[Revocation{Node: shard.NodeID(long + "9"), Serial: strings.Repeat("f", SerialMax)}.key()].Until
	if err := apply(Revoke("late", "", later)); err != nil || len(s.Revocations) != RevokedMax-9+1 {
		t.Errorf("after some expired: %v, %d revocations", err, len(s.Revocations))
	}
	if err := apply(PutToken(testToken(TokensMax+1, 1), testUntil+1)); err != nil || len(s.Tokens) != 1 {
		t.Errorf("after all expired: %v, %d tokens", err, len(s.Tokens))
	}
}

func TestCloneSharesNoTrust(t *testing.T) {
	s := withTokens(t)
	must(t, s, 8, Revoke("c", "", testMade))
	before, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	c := s.Clone()
	c.Tokens["x"], c.Revocations["x"] = trust.TokenRecord{}, Revocation{}
	c.Keys.Gossip[0][0], c.Keys.Index = 99, 99
	if after, err := s.Snapshot(); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the clone changed the state: %s", after)
	}
}

// A snapshot from before there were tokens reads as a state without any, and is written as it was.
func TestSnapshotWithoutTrust(t *testing.T) {
	old := `{"version":1,"state":{"id":"cluster","generation":1,"nodes":{"a":{"id":"a","phase":"ready","facts":{"version":"v1","cores":4,` +
		`"memory_bytes":1,"bytes_per_second":2,"ops_per_second":3},"index":2}},"models":{}}}`
	s, err := Restore(strings.NewReader(old))
	if err != nil {
		t.Fatal(err)
	}
	if data, err := s.Snapshot(); err != nil || string(data) != old {
		t.Errorf("came back as %s, %v", data, err)
	}
	must(t, s, 3, PutToken(testToken(1, 1), testMade))
	must(t, s, 4, Revoke("a", "", testMade))
}

// drawTrust makes commands about tokens, certificates and keys that often fit the state and often do not.
func drawTrust(t *rapid.T, s *State) Command {
	id := rapid.SampledFrom([]shard.NodeID{"a", "b", "c", "d", "e"}).Draw(t, "node")
	record := s.Tokens[tokenID(rapid.IntRange(0, 3).Draw(t, "token"))]
	at := testMade + int64(rapid.IntRange(0, 4000).Draw(t, "at"))
	var c Command
	switch rapid.IntRange(0, 7).Draw(t, "kind") {
	case 0, 1:
		c = PutToken(testToken(rapid.IntRange(0, 3).Draw(t, "new"), rapid.IntRange(0, 2).Draw(t, "uses")), at)
	case 2, 3, 4:
		node := joiner(id)
		node.Index = s.Nodes[id].Index
		node.Serial = rapid.SampledFrom([]string{"1", "2", "x"}).Draw(t, "serial")
		c = UseToken(record, node, at)
	case 5:
		c = RevokeToken(record)
	case 6:
		c = Revoke(id, rapid.SampledFrom([]string{"", "1", "2"}).Draw(t, "serial"), at)
	case 7:
		keys := Keys{Keys: trust.Keys{Roots: trust.Ring{{1}}}}
		if s.Keys != nil {
			keys = *s.Clone().Keys
		}
		keys.Gossip = nil
		for _, k := range rapid.SliceOfN(rapid.ByteRange(1, 3), 0, 3).Draw(t, "ring") {
			keys.Gossip = append(keys.Gossip, gossipKey(k))
		}
		c = PutKeys(keys)
	}
	if rapid.IntRange(0, 9).Draw(t, "late") == 0 {
		c.Expect += uint64(rapid.IntRange(-2, 2).Draw(t, "by"))
	}
	return c
}

// history is what the checker remembers of a state, apart from the code.
type history struct {
	joined  map[string]map[shard.NodeID]bool // by token
	revoked map[string]bool                  // tokens
	ring    trust.Ring
}

// Whatever the commands: no token lets in more nodes than it is for, or any after its end; nobody who was revoked is in the cluster; and keys
// change by steps that all understand.
func TestTrustHolds(t *testing.T) {
	joins := 0
	rapid.Check(t, func(t *rapid.T) {
		first, second := &State{}, &State{}
		h := history{joined: map[string]map[shard.NodeID]bool{}, revoked: map[string]bool{}}
		restart := rapid.IntRange(0, 80).Draw(t, "restart")
		for i := range rapid.IntRange(1, 80).Draw(t, "commands") {
			index := uint64(2*i + 3)
			command := Found("cluster")
			if i > 0 && rapid.IntRange(0, 3).Draw(t, "other") == 0 {
				command = drawCommand(t, first)
			} else if i > 0 {
				command = drawTrust(t, first)
			}
			again := command.Kind == KindTokenUse && first.Joined(command.Node.ID, command.ID)
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
			if a.Err == nil {
				h.note(t, first, command, again)
				if command.Kind == KindTokenUse {
					joins++
				}
			}
			h.check(t, first)
			checkInvariants(t, first)
		}
	})
	if joins == 0 {
		t.Error("no command let a node in: the test shows nothing")
	}
}

func (h *history) note(t *rapid.T, s *State, c Command, again bool) {
	switch c.Kind {
	case KindTokenUse:
		if h.revoked[c.ID] || c.At > testUntil {
			t.Fatalf("node %s joined at %d by a token that was over: %+v", c.Node.ID, c.At, s.Tokens[c.ID])
		}
		if h.joined[c.ID] == nil {
			h.joined[c.ID] = map[shard.NodeID]bool{}
		}
		if again && !h.joined[c.ID][c.Node.ID] {
			t.Fatalf("node %s was taken for one that had joined", c.Node.ID)
		}
		h.joined[c.ID][c.Node.ID] = true
	case KindTokenRevoke:
		h.revoked[c.ID] = true
	case KindKeys:
		if len(h.ring) > 0 && (!h.ring.Has(c.Keys.Gossip[0]) || !c.Keys.Gossip.Has(h.ring[0])) {
			t.Fatalf("keys went from %x to %x", h.ring, c.Keys.Gossip)
		}
		h.ring = c.Keys.Gossip.Clone()
	}
}

func (h *history) check(t *rapid.T, s *State) {
	for id, token := range s.Tokens {
		if token.Used > token.Uses || len(h.joined[id]) > token.Used || token.Revoked != h.revoked[id] {
			t.Fatalf("token %+v let in %v", token, h.joined[id])
		}
	}
	for id, node := range s.Nodes {
		if s.Revoked(id, "") && node.Phase != Gone {
			t.Fatalf("revoked and %s: %+v", node.Phase, node)
		}
	}
}
