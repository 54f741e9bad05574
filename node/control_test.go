package node

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"testing"

	"polynode/engine"
	"polynode/engine/worker"
)

// control asks a node about its cluster, and returns the status of the answer.
func control(t *testing.T, n *Node, method, path, body string, into any) int {
	t.Helper()
	client := n.Client()
	defer client.CloseIdleConnections()
	request, err := http.NewRequestWithContext(t.Context(), method, "http://localhost"+controlPath+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var text bytes.Buffer
	if _, err := text.ReadFrom(response.Body); err != nil {
		t.Fatal(err)
	}
	if into != nil && response.StatusCode == http.StatusOK {
		if err := json.Unmarshal(text.Bytes(), into); err != nil {
			t.Fatalf("%s %s: %v: %s", method, path, err, &text)
		}
	}
	if response.StatusCode != http.StatusOK {
		t.Logf("%s %s: %s", method, path, &text)
		var failure struct {
			Error struct{ Message, Type string }
		}
		if err := json.Unmarshal(text.Bytes(), &failure); err != nil || failure.Error.Message == "" || failure.Error.Type == "" {
			t.Errorf("%s %s: %s is no error in OpenAI's form", method, path, &text)
		}
	}
	return response.StatusCode
}

// drainFully drains a node and waits until it has no place.
func drainFully(t *testing.T, asked *Node, name string) {
	t.Helper()
	if status := control(t, asked, http.MethodPost, "nodes/"+name+"/drain", "", nil); status != http.StatusOK {
		t.Fatalf("drain: %d", status)
	}
	await(t, name+" has no place", func() bool {
		var list NodeList
		control(t, asked, http.MethodGet, "nodes", "", &list)
		for _, node := range list.Nodes {
			if node.Name == name || strings.HasPrefix(node.ID, name) {
				return node.Place == nil && node.Phase == "draining"
			}
		}
		return false
	})
}

// A node is drained in the middle of an answer, comes back, and leaves; nothing changes in the answer.
func TestDrainAndLeaveLoseNothing(t *testing.T) {
	alone := start(t, nil)
	const tokens = 600
	want := complete(t, alone, tokens)
	j := &joined{t: t}
	first := j.up("one", together(2))
	second := j.up("two", together(2))
	j.awaitPlan(2)
	answer := make(chan string, 1)
	go func() { answer <- complete(t, second, tokens) }()
	drainFully(t, second, "two")
	if status := control(t, first, http.MethodPost, "nodes/one/drain", "", nil); status != http.StatusConflict {
		t.Errorf("the last worker drained: %d", status)
	}
	if status := control(t, first, http.MethodPost, "nodes/two/undrain", "", nil); status != http.StatusOK {
		t.Errorf("undrain: %d", status)
	}
	j.awaitPlan(2)
	if status := control(t, second, http.MethodPost, "leave", "", nil); status != http.StatusConflict {
		t.Errorf("a node left with its place: %d", status)
	}
	drainFully(t, first, string(second.self)[:8])
	if got := <-answer; got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	var departure Departure
	if status := control(t, second, http.MethodPost, "leave", "", &departure); status != http.StatusOK || departure.ID != string(second.self) {
		t.Fatalf("leave: %d, %+v", status, departure)
	}
	<-second.Left()
	j.stop(second)
	if _, err := os.Stat(second.stateDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the state of a node that left: %v", err)
	}
	if nodes := first.Status().Nodes; len(nodes) != 1 {
		t.Errorf("after leaving: %+v", nodes)
	}
}

// A coordinator that leaves hands everything over first: the other one serves, and lets machines in.
func TestTheCoordinatorLeaves(t *testing.T) {
	j := &joined{t: t}
	first := j.up("one", together(1))
	second := j.up("two", together(1))
	j.awaitPlan(2)
	want := complete(t, first, 20)
	drainFully(t, second, "one")
	if status := control(t, first, http.MethodPost, "leave", "", nil); status != http.StatusOK {
		t.Fatalf("leave: %d", status)
	}
	<-first.Left()
	j.stop(first)
	j.nodes = []*Node{second}
	if n := j.coordinator(); n != second {
		t.Fatal("nobody took over")
	}
	j.awaitPlan(1)
	third := j.up("three", together(1))
	j.awaitPlan(2)
	if got := complete(t, third, 20); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if nodes := second.Status().Nodes; len(nodes) != 2 {
		t.Errorf("after leaving: %+v", nodes)
	}
}

// A dead node can be removed, and an own name may be used for it only where it names one node.
func TestRemove(t *testing.T) {
	j := &joined{t: t}
	first := j.up("one", together(1))
	second := j.up("two", together(1))
	third := j.up("two", together(1))
	j.awaitPlan(3)
	if status := control(t, first, http.MethodDelete, "nodes/two", "", nil); status != http.StatusConflict {
		t.Errorf("which of two: %d", status)
	}
	if status := control(t, third, http.MethodDelete, "nodes/"+string(second.self), "", nil); status != http.StatusConflict {
		t.Errorf("removed a living node: %d", status)
	}
	leader := j.coordinator()
	if status := control(t, third, http.MethodDelete, "nodes/"+string(leader.self)+"?force=true", "", nil); status != http.StatusConflict {
		t.Errorf("removed the coordinator: %d", status)
	}
	var removal Removal
	if status := control(t, third, http.MethodDelete, "nodes/"+string(second.self)+"?force=true", "", &removal); status != http.StatusOK || !removal.Forgotten {
		t.Fatalf("removed by force: %d, %+v", status, removal)
	}
	if !first.cluster.State().Revoked(second.self, "") {
		t.Error("its certificates still hold")
	}
	await(t, "one vote is enough", func() bool {
		voters, err := first.cluster.Voters()
		return err == nil && len(voters) == 1
	})
	j.lose(third)
	await(t, "a death is seen", func() bool { return !first.alive(third.self) })
	if status := control(t, first, http.MethodDelete, "nodes/two", "", &removal); status != http.StatusOK || !removal.Forgotten {
		t.Fatalf("removed: %d, %+v", status, removal)
	}
	if nodes := first.Status().Nodes; len(nodes) != 1 {
		t.Errorf("after removals: %+v", nodes)
	}
}

// Bodies and paths that nobody should send are refused in OpenAI's form, also by a node that nobody can join.
func TestControlRefuses(t *testing.T) {
	n := start(t, nil)
	for _, c := range []struct {
		method, path, body string
		want               int
	}{
		{"GET", "self", "", 200},
		{"GET", "nodes", "", 200},
		{"GET", "plan", "", 200},
		{"GET", "tokens", "", 200},
		{"GET", "nonsense", "", 404},
		{"PUT", "nodes", "", 404},
		{"POST", "tokens", "{}", 409},
		{"POST", "tokens", "{", 400},
		{"POST", "tokens", `{"forever": true}`, 400},
		{"POST", "tokens", `{"ttl_seconds": -1}`, 400},
		{"POST", "tokens", `{"uses": 100000}`, 400},
		{"POST", "tokens", `{"x": "` + strings.Repeat("x", 1<<17) + `"}`, 413},
		{"DELETE", "tokens/none", "", 404},
		{"POST", "nodes/none/drain", "", 404},
		{"POST", "leave", "", 409},
	} {
		if got := control(t, n, c.method, c.path, c.body, nil); got != c.want {
			t.Errorf("%s %s: %d, want %d", c.method, c.path, got, c.want)
		}
	}
}

// Only steps that decode are timed, and only under the plan that they ran on.
func TestStopwatch(t *testing.T) {
	one := []int32{1}
	decoding := &engine.Step{Epoch: 1, Chunks: []engine.Chunk{{Sequence: 1, Tokens: one}, {Sequence: 2, Tokens: one}}}
	for _, step := range []*engine.Step{
		{Epoch: 1}, {Chunks: []engine.Chunk{{Sequence: 1, Tokens: []int32{1, 2}}}}, {Chunks: []engine.Chunk{{Tokens: one}}},
	} {
		if step.Decodes() {
			t.Errorf("%+v decodes", step)
		}
	}
	s := &stopwatch{usage: func() worker.Usage { return worker.Usage{} }}
	if !decoding.Decodes() {
		t.Error("a step that decodes is not timed")
	}
	used := worker.Usage{Steps: 1}
	used.Traffic.BytesSent, used.Traffic.FramesSent = 1000, 4
	s.add(1, 10, 2, worker.Usage{})
	s.add(1, 20, 2, used)
	if got := s.of(1); got != (Measured{Steps: 2, StepMS: 15, LastMS: 20, Sequences: 2, SentBytes: 500, Frames: 2}) {
		t.Errorf("%+v", got)
	}
	if got := s.of(2); got != (Measured{}) {
		t.Errorf("of a plan that did not run: %+v", got)
	}
}

// Whoever scrapes the coordinator sees the cluster and what its ranks say to each other.
func TestMetricsOfACluster(t *testing.T) {
	j := &joined{t: t}
	n := j.up("one", together(1))
	j.up("two", together(1))
	j.awaitPlan(2)
	complete(t, n, 4)
	client := n.Client()
	defer client.CloseIdleConnections()
	response, err := client.Get("http://localhost/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`polynode_nodes{alive="true"} 2`, `polynode_nodes{alive="false"} 0`, "polynode_plan_nodes 2"} {
		if !strings.Contains(string(text), want+"\n") {
			t.Errorf("no %s", want)
		}
	}
	for _, grown := range []string{"polynode_plan_epoch", "polynode_rank_sent_bytes_total", "polynode_rank_received_bytes_total", "polynode_rank_step_seconds_total"} {
		if !strings.Contains(string(text), "\n"+grown+" ") || strings.Contains(string(text), "\n"+grown+" 0\n") {
			t.Errorf("%s does not count", grown)
		}
	}
}
