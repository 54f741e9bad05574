package node

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"polynode/configs"
	"polynode/kernels"
	"polynode/model/demo"
)

// quantised puts the demo model into the library of a data folder in q4, under a name.
func quantised(t *testing.T, data, name string) {
	t.Helper()
	library, err := OpenLibrary(data)
	if err != nil {
		t.Fatal(err)
	}
	defer library.Close()
	options := ImportOptions{Name: name, Format: kernels.Q4, EOS: -1}
	if _, err := library.Import(t.Context(), filepath.Join("..", "model", "demo", "checkpoint"), options); err != nil {
		t.Fatal(err)
	}
}

// serves asks a node for another model, and waits until it is served.
func serves(t *testing.T, asked *Node, name string) {
	t.Helper()
	var served ServedModel
	if status := control(t, asked, http.MethodPost, "model", `{"model": "`+name+`"}`, &served); status != http.StatusOK {
		t.Fatalf("serve %s: %d", name, status)
	}
	await(t, name+" is served", func() bool {
		if status := control(t, asked, http.MethodGet, "model", "", &served); status != http.StatusOK || served.Change == nil {
			t.Fatalf("status %d, %+v", status, served)
		}
		if served.Change.Stage == changeFailed {
			t.Fatalf("change failed: %s", served.Change.Cause)
		}
		return served.Change.Stage == changeDone && served.Model == name
	})
}

// The model of a running cluster is changed through a node that does not coordinate, to one that only this node has. An answer that runs
// ends on the model before; requests that come meanwhile wait and get the next one; none is lost.
func TestChangeOfModelLosesNothing(t *testing.T) {
	const tokens, few = 300, 20
	alone := start(t, nil)
	wantOld, wantOldFew := complete(t, alone, tokens), complete(t, alone, few)
	data := t.TempDir()
	quantised(t, data, "small")
	wantNew := complete(t, start(t, func(c *configs.Config) { c.Data, c.Model = data, "small" }), few)

	j := &joined{t: t}
	first := j.up("one", together(2))
	j.change = func(c *configs.Config) { c.Data = data }
	second := j.up("two", together(2))
	j.awaitPlan(2)

	running := make(chan string, 1)
	go func() { running <- complete(t, first, tokens) }()
	await(t, "the answer has begun", func() bool { return first.serving().engine.Stats().Running > 0 })
	if status := control(t, second, http.MethodPost, "model", `{"model": "small"}`, nil); status != http.StatusOK {
		t.Fatal(status)
	}
	during := make(chan string, 4)
	for i := range 4 {
		go func() { during <- complete(t, []*Node{first, second}[i%2], few) }()
	}
	if got := <-running; got != wantOld {
		t.Errorf("the running answer: %q\nwant %q", got, wantOld)
	}
	serves(t, second, "small")
	for range 4 {
		if got := <-during; got != wantNew && got != wantOldFew {
			t.Errorf("an answer meanwhile: %q\nwant %q\nor   %q", got, wantNew, wantOldFew)
		}
	}
	for _, asked := range []*Node{first, second} {
		if got := complete(t, asked, few); got != wantNew {
			t.Errorf("afterwards: %q\nwant %q", got, wantNew)
		}
	}
	serves(t, first, demo.Name)
	if status := control(t, second, http.MethodPost, "model", `{"model": "demo"}`, nil); status != http.StatusOK {
		t.Errorf("what is served already: %d", status)
	}
	if got := complete(t, second, few); got != wantOldFew {
		t.Errorf("back again: %q\nwant %q", got, wantOldFew)
	}
}

// A model that nobody has, one that is known but has no holder any more, and one that does not fit: each is refused with what to do, and
// what is served goes on.
func TestChangeOfModelIsRefused(t *testing.T) {
	data := t.TempDir()
	quantised(t, data, "small")
	n := start(t, func(c *configs.Config) { c.Data = data })
	want := complete(t, n, 10)
	if status := control(t, n, http.MethodPost, "model", `{"model": "absent"}`, nil); status != http.StatusNotFound {
		t.Errorf("a model that nobody has: %d", status)
	}
	if status := control(t, n, http.MethodPost, "model", `{}`, nil); status != http.StatusBadRequest {
		t.Errorf("no model: %d", status)
	}
	memory := n.available
	n.available = func() (int64, error) { return 1 << 20, nil }
	if status := control(t, n, http.MethodPost, "model", `{"model": "small"}`, nil); status != http.StatusOK {
		t.Fatal(status)
	}
	var served ServedModel
	await(t, "the change has failed", func() bool {
		control(t, n, http.MethodGet, "model", "", &served)
		return served.Change.Stage == changeFailed
	})
	if !strings.Contains(served.Change.Cause, "memory") {
		t.Errorf("cause: %s", served.Change.Cause)
	}
	n.available = memory
	if got := complete(t, n, 10); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
