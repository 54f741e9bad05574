package node

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"polynode/cluster"
	"polynode/configs"
	"polynode/kernels"
	"polynode/shard"
	"polynode/shard/planner"
)

// joined is nodes of one cluster in this process, over real QUIC on loopback.
type joined struct {
	t      testing.TB
	change func(*configs.Config) // of the next node's settings; may be nil
	facts  *cluster.Facts        // of the next node; nil measures them
	nodes  []*Node
}

// logger of a node: silent, unless the test is verbose.
func loggerOf(name string) *slog.Logger {
	if !testing.Verbose() {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, nil)).With("on", name)
}

func clusterConfig(t testing.TB, name string) configs.Config {
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	config := configs.Default()
	config.Data, config.Name, config.HTTP, config.Listen = t.TempDir(), name, "", conn.LocalAddr().String()
	config.Threads, config.KVMemory = 1, 64<<20
	return config
}

// up starts a node: the first founds the cluster, the others join it.
func (j *joined) up(name string, plan plannerFunc) *Node {
	t := j.t
	t.Helper()
	config := clusterConfig(t, name)
	if j.change != nil {
		j.change(&config)
	}
	if len(j.nodes) > 0 {
		token, err := j.await("coordinates", func(n *Node) bool { return n.Info().Coordinates }).NewToken(t.Context(), false, time.Hour, 1)
		if err != nil {
			t.Fatal(err)
		}
		if err := Join(t.Context(), config, token.Address, token.Text, loggerOf(name)); err != nil {
			t.Fatal(err)
		}
	}
	n, err := startFrom(t.Context(), config, loggerOf(name), parts{models: newModels(config), plan: plan, facts: j.facts})
	if err != nil {
		t.Fatal(err)
	}
	j.nodes = append(j.nodes, n)
	t.Cleanup(func() { j.stop(n) })
	return n
}

func (j *joined) stop(n *Node) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(j.t.Context()), 5*time.Second)
	defer cancel()
	if err := n.Stop(ctx); err != nil {
		j.t.Log(err)
	}
}

// coordinator waits for the node that serves.
func (j *joined) coordinator() *Node {
	j.t.Helper()
	return j.await("serves", func(n *Node) bool { return n.serving() != nil })
}

// await waits for a node that is or does something.
func (j *joined) await(what string, is func(*Node) bool) *Node {
	j.t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		for _, n := range j.nodes {
			if is(n) {
				return n
			}
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-deadline:
			j.t.Fatalf("no node %s", what)
		}
	}
}

// awaitPlan waits until the active plan has so many ranks.
func (j *joined) awaitPlan(ranks int) {
	j.t.Helper()
	n := j.coordinator()
	deadline := time.After(20 * time.Second)
	for {
		if plan := n.Info().plan; plan != nil && len(plan.Nodes()) == ranks {
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-deadline:
			j.t.Fatalf("no plan of %d ranks; status %+v", ranks, n.Status())
		}
	}
}

// together is a planner that uses all nodes, in so many stages.
func together(stages int) plannerFunc {
	return func(p planner.Problem) (planner.Report, error) {
		members := make([][]shard.Member, min(stages, len(p.Nodes)))
		for i, node := range p.Nodes {
			members[i%len(members)] = append(members[i%len(members)], shard.Member{Node: node.ID})
		}
		plan, err := shard.Build(p.Model.Shape, p.Model.Digest, members)
		return planner.Report{Plan: plan}, err
	}
}

// complete asks a node for a text.
func complete(t *testing.T, n *Node, tokens int) string {
	t.Helper()
	body := `{"prompt": "Alle Menschen sind frei und", "max_tokens": ` + jsonOf(t, tokens) + `, "temperature": 0, "ignore_eos": true}`
	client := n.Client()
	defer client.CloseIdleConnections()
	response, err := client.Post("http://localhost/v1/completions", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s %s %v", response.Status, text, err)
	}
	var answer struct {
		Choices []struct{ Text string } `json:"choices"`
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		t.Fatal(err)
	}
	return answer.Choices[0].Text
}

func jsonOf(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// Machines join one after the other, the plan grows, and the text stays the same, on whichever node a client asks.
func TestMachinesJoin(t *testing.T) {
	alone := start(t, nil)
	want := complete(t, alone, 40)
	for _, stages := range []int{1, 2} {
		j := &joined{t: t}
		first := j.up("one", together(stages))
		if got := complete(t, first, 40); got != want {
			t.Errorf("one node: %q\nwant %q", got, want)
		}
		for i, name := range []string{"two", "three"} {
			n := j.up(name, together(stages))
			j.awaitPlan(i + 2)
			for _, asked := range []*Node{first, n} {
				if got := complete(t, asked, 40); got != want {
					t.Errorf("%d nodes, %d stages: %q\nwant %q", i+2, stages, got, want)
				}
			}
		}
	}
}

// Machines without the model get their slices from one that has it, and only these; then it may go, because they have everything together
// with what they hold for each other.
func TestSlicesComeFromOtherNodes(t *testing.T) {
	data := t.TempDir()
	library, err := OpenLibrary(data)
	if err != nil {
		t.Fatal(err)
	}
	defer library.Close()
	options := ImportOptions{Name: "m", Format: kernels.Q4, EOS: -1}
	if _, err := library.Import(t.Context(), filepath.Join("..", "model", "demo", "checkpoint"), options); err != nil {
		t.Fatal(err)
	}
	use := func(c *configs.Config) { c.Data, c.Model = data, "m" }
	want := complete(t, start(t, use), 40)
	j := &joined{t: t, change: use}
	first := j.up("one", together(1))
	j.change = nil
	second := j.up("two", together(1))
	j.awaitPlan(2)
	for _, asked := range []*Node{first, second} {
		if got := complete(t, asked, 40); got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
	fetched, spares := second.models.fetched()
	if whole := first.serving().model.Size(); fetched.done != fetched.total || fetched.done+spares.done == 0 || fetched.done >= whole*9/10 {
		t.Errorf("fetched %+v of %d bytes", fetched, whole)
	}
}

// A machine that joins in the middle of an answer, and one that dies in the middle of it, change nothing in it.
func TestAnAnswerSurvivesJoinAndDeath(t *testing.T) {
	alone := start(t, nil)
	const tokens = 600
	want := complete(t, alone, tokens)
	j := &joined{t: t}
	first := j.up("one", together(1))
	second := j.up("two", together(1))
	j.awaitPlan(2)
	answer := make(chan string, 1)
	go func() { answer <- complete(t, first, tokens) }()
	j.up("three", together(1))
	j.awaitPlan(3)
	second.die()
	j.awaitPlan(2)
	if got := <-answer; got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// die ends a node without a word to the others, as when its power goes.
func (n *Node) die() {
	_ = n.member.Network().Close()
}
