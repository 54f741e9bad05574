package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"polynode/node"
)

// Two of three nodes that vote are lost for good. Recovering is refused while the node runs and where there is nothing to recover, explains
// what is lost, wants a confirmation, and leaves a cluster of one that others can join.
func TestRecoverByItsVerb(t *testing.T) {
	dirs := []string{t.TempDir(), t.TempDir(), t.TempDir()}
	first := startVerb(t, with("up", "--name", "one", "--data", dirs[0])...)
	nodes := []*running{first}
	for i, name := range []string{"two", "three"} {
		token := newTokenOf(t, first.url)
		nodes = append(nodes, startVerb(t, with("join", token.Address, "--token", token.Text, "--name", name, "--data", dirs[i+1])...))
	}
	deadline := time.Now().Add(30 * time.Second)
	for !ready(t, dirs[2], first.url) {
		if time.Now().After(deadline) {
			t.Fatalf("no vote and root on three:\n%s", verb(t, first.url, "nodes"))
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-t.Context().Done():
		}
	}
	refused(t, "in use", "recover", "--data", dirs[2])
	for i := range nodes {
		nodes[i].stop()
		<-nodes[i].ended
	}
	out, err := polynode(t, dirs[2], "no\n", "recover", "--data", dirs[2])
	if err == nil || !strings.Contains(err.Error(), "not confirmed") || !strings.Contains(out, "one (") || !strings.Contains(out, "join anew") {
		t.Errorf("not confirmed: %v\n%s", err, out)
	}
	refused(t, "folder of no node", "recover", "--data", t.TempDir())
	if out, err = polynode(t, dirs[2], "recover\n", "recover", "--data", dirs[2]); err != nil || !strings.Contains(out, "generation 2") {
		t.Fatalf("%v\n%s", err, out)
	}
	refused(t, "only one that votes", "recover", "--data", dirs[2])
	third := startVerb(t, with("up", "--name", "three", "--data", dirs[2])...)
	says(t, third.url, "1 node, all are here", "status")
	token := newTokenOf(t, third.url)
	fresh := startVerb(t, with("join", token.Address, "--token", token.Text, "--name", "two", "--data", t.TempDir())...)
	says(t, fresh.url, "2 nodes, all are here", "status")
}

// ready reports whether three nodes vote, and the one in a folder has the cluster's root.
func ready(t *testing.T, dir, url string) bool {
	var list []node.StatusNode
	if err := json.Unmarshal([]byte(verb(t, url, "nodes", "--json")), &list); err != nil {
		t.Fatal(err)
	}
	votes := 0
	for _, n := range list {
		if n.Votes && n.Alive {
			votes++
		}
	}
	_, err := os.Stat(filepath.Join(dir, "state", "ca.pem"))
	return votes == 3 && err == nil
}
