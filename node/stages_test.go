package node

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"polynode/engine"
	"polynode/engine/sample"
)

// crowd is a batch of eight, a sampled answer with choices, beams, and a long prompt.
func crowd(tokens int) []engine.Request {
	prompt := func(n, stream int) (ids []int32) {
		for i := range n {
			ids = append(ids, int32((i*37+stream*101+11)%900))
		}
		return ids
	}
	var requests []engine.Request
	for i := range 8 {
		requests = append(requests, engine.Request{ID: fmt.Sprintf("batch%d", i), Prompt: prompt(5+9*i, i%3), MaxTokens: tokens})
	}
	return append(requests,
		engine.Request{ID: "sampled", Prompt: prompt(20, 4), MaxTokens: tokens, Choices: 2, Params: sample.Params{Temperature: 1.2, TopP: 0.95, Seed: 5, FrequencyPenalty: 0.5}},
		engine.Request{ID: "beams", Prompt: prompt(30, 5), MaxTokens: tokens, Beams: 3, LengthPenalty: 1},
		engine.Request{ID: "long", Prompt: prompt(300, 6), MaxTokens: tokens},
	)
}

// submitAll hands all requests to the node's engine at once.
func submitAll(t *testing.T, n *Node, requests []engine.Request) (handles []*engine.Handle) {
	t.Helper()
	for _, r := range requests {
		h, err := n.serving().engine.Submit(r)
		if err != nil {
			t.Fatal(err)
		}
		handles = append(handles, h)
	}
	return handles
}

// readAll reads what they give: a line for each choice of each request.
func readAll(t *testing.T, requests []engine.Request, handles []*engine.Handle) string {
	t.Helper()
	var out strings.Builder
	for i, h := range handles {
		choices := map[int][]int32{}
		for {
			e, err := h.Next(t.Context())
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", requests[i].ID, err)
			}
			choices[e.Choice] = append(choices[e.Choice], e.Token)
		}
		for c := range len(choices) {
			fmt.Fprintf(&out, "%s.%d: %v\n", requests[i].ID, c, choices[c])
		}
	}
	return out.String()
}

// Many requests together, of every kind, give on stages with several steps under way what they give on one node.
func TestStagesTogether(t *testing.T) {
	const tokens = 24
	requests := crowd(tokens)
	alone := start(t, nil)
	want := readAll(t, requests, submitAll(t, alone, requests))
	for _, c := range []struct{ nodes, stages int }{{2, 2}, {3, 3}, {4, 2}} {
		t.Run(fmt.Sprintf("%d nodes, %d stages", c.nodes, c.stages), func(t *testing.T) {
			j := &joined{t: t}
			first := j.up("one", together(c.stages))
			for _, name := range []string{"two", "three", "four"}[:c.nodes-1] {
				j.up(name, together(c.stages))
			}
			j.awaitPlan(c.nodes)
			if got := readAll(t, requests, submitAll(t, first, requests)); got != want {
				t.Errorf("got\n%swant\n%s", got, want)
			}
			if s := first.serving().engine.Stats(); s.BlocksFree != s.BlocksTotal || s.Failed != 0 {
				t.Errorf("at the end: %+v", s)
			}
		})
	}
}

// A machine that joins while several steps are under way, and one that dies, change nothing in what they give.
func TestStagesSurviveJoinAndDeath(t *testing.T) {
	requests := crowd(400)
	requests = slices.DeleteFunc(requests, func(r engine.Request) bool { return r.ID == "long" }) // room for all in the context
	alone := start(t, nil)
	want := readAll(t, requests, submitAll(t, alone, requests))
	j := &joined{t: t}
	first := j.up("one", together(2))
	second := j.up("two", together(2))
	j.awaitPlan(2)
	handles := submitAll(t, first, requests)
	j.up("three", together(3))
	j.awaitPlan(3)
	t.Logf("%d requests run when a machine dies", first.serving().engine.Stats().Running)
	second.die()
	j.awaitPlan(2)
	if got := readAll(t, requests, handles); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
