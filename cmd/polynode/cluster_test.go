package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"polynode/node"
)

// small are settings of a node that shares a machine with others.
var small = []string{"--threads", "1", "--kv-memory", "64MiB"}

// with is a command line of a node in a test.
func with(args ...string) []string { return append(args, small...) }

// verb runs a verb that asks a cluster, and returns what it printed.
func verb(t *testing.T, url string, args ...string) string {
	t.Helper()
	out, err := polynode(t, t.TempDir(), "", append(args, "--url", url)...)
	if err != nil {
		t.Fatalf("polynode %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// refused runs a verb that should fail with an error that says something.
func refused(t *testing.T, want string, args ...string) {
	t.Helper()
	out, err := polynode(t, t.TempDir(), "", args...)
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("polynode %s: %v, want an error that says %q\n%s", strings.Join(args, " "), err, want, out)
	}
}

func newTokenOf(t *testing.T, url string, args ...string) node.Token {
	t.Helper()
	var token node.Token
	out := verb(t, url, append([]string{"token", "create", "--json"}, args...)...)
	if err := json.Unmarshal([]byte(out), &token); err != nil || token.Text == "" {
		t.Fatalf("%v: %s", err, out)
	}
	return token
}

// says waits until a verb prints something.
func says(t *testing.T, url, want string, args ...string) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		out := verb(t, url, args...)
		if strings.Contains(out, want) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("polynode %s does not say %q:\n%s", strings.Join(args, " "), want, out)
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-t.Context().Done():
			t.Fatal("too late")
		}
	}
}

// A person forms a cluster of two, looks at it from both sides, drains and leaves.
func TestAClusterByItsVerbs(t *testing.T) {
	first := startVerb(t, with("up", "--name", "one", "--data", t.TempDir())...)
	if text := first.greeting(t); !strings.Contains(text, "--listen :7946") {
		t.Errorf("a node on loopback greets with\n%s", text)
	}
	refused(t, "only node of its cluster", "leave", "--url", first.url)
	refused(t, "Nobody else is here", "drain", "one", "--url", first.url)

	token := newTokenOf(t, first.url)
	data := t.TempDir()
	second := startVerb(t, with("join", token.Address, "--token", token.Text, "--name", "two", "--data", data)...)
	if text := second.greeting(t); !strings.Contains(text, "joined the cluster of one") || !strings.Contains(text, "one of 2 nodes") || !strings.Contains(text, "model   udhr") {
		t.Errorf("a node that joined greets with\n%s", text)
	}
	for _, url := range []string{first.url, second.url} {
		says(t, url, "ready", "nodes")
		out := verb(t, url, "status")
		for _, want := range []string{"2 nodes, all are here; one coordinates", "tokens/s", "two"} {
			if !strings.Contains(out, want) {
				t.Errorf("status lacks %q:\n%s", want, out)
			}
		}
		if out := verb(t, url, "token", "ls"); !strings.Contains(out, token.ID) || !strings.Contains(out, "1 of 1") || strings.Contains(out, token.Text) {
			t.Errorf("tokens:\n%s", out)
		}
		if out := verb(t, url, "plan", "--explain"); !strings.Contains(out, "STAGE") || !strings.Contains(out, "measured") {
			t.Errorf("plan:\n%s", out)
		}
	}
	refused(t, "token used up", append([]string{"join", token.Address, "--token", token.Text, "--data", t.TempDir(), "--http", "127.0.0.1:0", "--listen", freeUDP(t)}, small...)...)

	says(t, second.url, "udhr is served", "serve", "demo")
	refused(t, "polynode model import", "serve", "absent", "--url", second.url)
	says(t, second.url, "UNTIL", "cert", "ls")
	before := verb(t, first.url, "cert", "ls", "--json")
	if after := verb(t, second.url, "cert", "rotate", "--root", "--json"); !strings.Contains(after, `"root"`) || after == before {
		t.Errorf("cert rotate:\n%s", after)
	}
	says(t, second.url, "drained", "drain", "two")
	says(t, second.url, "draining", "nodes")
	verb(t, second.url, "undrain", "two")
	says(t, first.url, "ready", "nodes")
	refused(t, "is alive", "remove", "two", "--url", first.url)
	refused(t, "No node", "remove", "three", "--url", second.url)

	if out := verb(t, second.url, "leave"); !strings.Contains(out, "has left") {
		t.Errorf("leave: %s", out)
	}
	select {
	case <-second.ended:
	case <-time.After(20 * time.Second):
		t.Fatal("a node that left goes on running")
	}
	says(t, first.url, "1 node, all are here", "status")
	again := newTokenOf(t, first.url)
	third := startVerb(t, with("join", again.Address, "--token", again.Text, "--name", "three", "--data", data)...)
	says(t, third.url, "three", "nodes")
}

// What a person gets wrong has a cause and a next step.
func TestBadJoins(t *testing.T) {
	data := t.TempDir()
	first := startVerb(t, with("up", "--name", "one", "--data", data)...)
	token := newTokenOf(t, first.url)
	join := func(address, token, data string) []string {
		return with("join", address, "--token", token, "--data", data, "--http", "127.0.0.1:0", "--listen", freeUDP(t))
	}
	nobody := freeUDP(t)
	revoked := newTokenOf(t, first.url)
	verb(t, first.url, "token", "revoke", revoked.ID)
	other := startVerb(t, with("up", "--name", "other", "--data", t.TempDir())...)
	foreign := newTokenOf(t, other.url)
	for _, c := range []struct {
		name, want string
		args       []string
	}{
		{"no token", "polynode token create", []string{"join", token.Address}},
		{"half a token", "copy it whole", join(token.Address, token.Text[:20], t.TempDir())},
		{"no port", "HOST:PORT", join("127.0.0.1", token.Text, t.TempDir())},
		{"nobody there", "nothing listens on UDP", join(nobody, token.Text, t.TempDir())},
		{"no such host", "no-such-host.invalid", join("no-such-host.invalid:7946", token.Text, t.TempDir())},
		{"HTTP instead of UDP", "nothing listens on UDP", join(strings.TrimPrefix(first.url, "http://"), token.Text, t.TempDir())},
		{"revoked", "revoked", join(token.Address, revoked.Text, t.TempDir())},
		{"another cluster's token", "another cluster", join(token.Address, foreign.Text, t.TempDir())},
		{"itself", "--data", join(token.Address, token.Text, data)},
		{"the same folder twice", "--data", with("up", "--data", data, "--http", "127.0.0.1:0", "--listen", freeUDP(t))},
		{"a member of another cluster", "polynode leave", join(other.address(t), foreign.Text, data)},
		{"no node at the address", "polynode up", []string{"status", "--url", "http://" + nobody}},
		{"no address", "--url", []string{"status", "--url", "http://"}},
		{"a token for ever", "ttl_seconds", []string{"token", "create", "--ttl", "100000h", "--url", first.url}},
		{"a token for nobody", "--uses", []string{"token", "create", "--uses", "0", "--url", first.url}},
		{"unknown token", "polynode token ls", []string{"token", "revoke", "none", "--url", first.url}},
		{"what-if flags", "--what-if", []string{"plan", "--quant", "q8", "--url", first.url}},
	} {
		t.Run(c.name, func(t *testing.T) { refused(t, c.want, c.args...) })
	}
}

// greeting waits for all of what a node says when it is up.
func (r *running) greeting(t *testing.T) string {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		if text := r.out.String(); strings.Contains(text, "Ctrl-C") {
			return text
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-deadline:
			t.Fatalf("no whole greeting:\n%s", r.out.String())
		}
	}
}

// address is where other nodes reach this one.
func (r *running) address(t *testing.T) string { return newTokenOf(t, r.url).Address }

// The private routes of the cluster want the key, on the coordinator and on nodes that pass requests on.
func TestControlWantsTheKey(t *testing.T) {
	const key = "a-long-secret"
	first := startVerb(t, with("up", "--name", "one", "--data", t.TempDir(), "--api-key", key)...)
	refused(t, "API key", "token", "create", "--url", first.url)
	token := newTokenOf(t, first.url, "--key", key)
	second := startVerb(t, with("join", token.Address, "--token", token.Text, "--name", "two", "--data", t.TempDir(), "--api-key", key)...)
	for _, args := range [][]string{{"status"}, {"nodes"}, {"plan"}, {"leave"}, {"drain", "two"}, {"remove", "two", "--force"}} {
		refused(t, "API key", append(args, "--url", second.url)...)
	}
	says(t, second.url, "two", "nodes", "--key", key)
}
