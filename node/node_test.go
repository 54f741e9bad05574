package node

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"polynode/configs"
	"polynode/engine"
	"polynode/engine/pipeline"
	"polynode/engine/sample"
	"polynode/engine/worker"
	"polynode/kernels/pool"
	"polynode/model"
	"polynode/model/demo"
	"polynode/shard"
	"polynode/transport"
)

// start runs a node with the demo model and no port until the test ends.
func start(t *testing.T, change func(*configs.Config)) *Node {
	t.Helper()
	config := configs.Default()
	config.Data, config.HTTP, config.Listen = t.TempDir(), "", ""
	if change != nil {
		change(&config)
	}
	n, err := Start(t.Context(), config, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Second)
		defer cancel()
		if err := n.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return n
}

func TestStartAndStopLeaveNothingBehind(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	for range 3 {
		config := configs.Default()
		config.Data, config.HTTP, config.Listen = t.TempDir(), "127.0.0.1:0", ""
		n, err := Start(t.Context(), config, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		client := n.Client()
		response, err := client.Get("http://localhost/readyz")
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		client.CloseIdleConnections()
		if err := n.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := n.Stop(t.Context()); err != nil {
			t.Errorf("stopped again: %v", err)
		}
	}
}

func TestAFailedStartLeavesNothingBehind(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, c := range []struct {
		change func(*configs.Config)
		want   string
	}{
		{func(c *configs.Config) { c.HTTP = taken.Addr().String() }, "--http"},
		{func(c *configs.Config) { c.Model = "absent" }, "polynode model ls"},
		{func(c *configs.Config) { c.KVMemory = 1 << 50 }, "missing"},
	} {
		config := configs.Default()
		config.Data, config.HTTP, config.Listen = t.TempDir(), "", ""
		c.change(&config)
		_, err := Start(t.Context(), config, slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want one that says %q", err, c.want)
		}
	}
}

// A whole step on a packed model, from the pipeline down, allocates nothing once it is warm. There is no node around it,
// because raft allocates at its own pace.
func TestStepsAllocateNothing(t *testing.T) {
	m, err := demo.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	plan := shard.Solo("solo", model.Shape(m), m.Digest().String())
	plan.Epoch = 1
	network, err := transport.NewMemory().Node("solo")
	if err != nil {
		t.Fatal(err)
	}
	defer network.Close()
	threads := pool.New(2)
	defer threads.Close()
	rank := worker.New(worker.Options{
		Node: "solo", Open: func(string) (model.Source, error) { return m, nil }, Network: network, Pool: threads, StepTimeout: time.Minute,
	})
	line, err := pipeline.New(t.Context(), engine.Place{Plan: plan, Blocks: 8, KVFormat: "f16"}, [][]pipeline.Rank{{rank}})
	if err != nil {
		t.Fatal(err)
	}
	defer line.Close()
	step := engine.Step{ID: 1, Epoch: 1, Chunks: []engine.Chunk{
		{Tokens: []int32{5}, Start: 20, Blocks: []int32{1, 2}, Sample: true, Params: &sample.Params{}},
		{Tokens: []int32{6}, Start: 3, Blocks: []int32{3}, Sample: true, Params: &sample.Params{Temperature: 1, TopP: 0.9, Seed: 4}},
		{Tokens: []int32{7, 8, 9, 10}, Start: 0, Blocks: []int32{4}},
	}}
	var out engine.Output
	run := func() {
		if err := line.Execute(t.Context(), &step, &out); err != nil {
			t.Fatal(err)
		}
	}
	run()
	// What is counted is the whole process, and a goroutine of an earlier test may still be ending in it; it cannot
	// spoil every round, and a step that allocates does.
	allocs := 1.0
	for round := 0; round < 10 && allocs != 0; round++ {
		allocs = testing.AllocsPerRun(3, run)
	}
	if allocs != 0 {
		t.Errorf("a step allocates %.0f times", allocs)
	}
}

// Draining lets a running answer end and refuses the next request.
func TestStopLetsRunningAnswersEnd(t *testing.T) {
	n := start(t, nil)
	body := `{"prompt": "Alle Menschen sind frei und", "max_tokens": 200, "ignore_eos": true, "stream": true}`
	response, err := n.Client().Post("http://localhost/v1/completions", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	first := make([]byte, 6)
	if _, err := io.ReadFull(response.Body, first); err != nil {
		t.Fatal(err)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- n.Stop(context.WithoutCancel(t.Context())) }()
	rest, err := io.ReadAll(response.Body)
	if err != nil || !strings.Contains(string(rest), `"finish_reason":"length"`) || !strings.Contains(string(rest), "[DONE]") {
		t.Errorf("the answer ended with %v and ...%.200s", err, string(rest[max(0, len(rest)-200):]))
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestStatusTellsThePlan(t *testing.T) {
	n := start(t, nil)
	response, err := n.Client().Get("http://localhost/cluster/v1/status")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var status struct{ Cluster Status }
	if err := json.NewDecoder(response.Body).Decode(&status); err != nil {
		t.Fatal(err)
	}
	if status.Cluster.Epoch == 0 || status.Cluster.Model.Parameters != 5918720 || status.Cluster.KV.Tokens == 0 {
		t.Errorf("status %+v", status.Cluster)
	}
}

func TestBenchMeasures(t *testing.T) {
	if testing.Short() {
		t.Skip("reads half a gigabyte several times")
	}
	n := start(t, nil)
	result, err := n.Bench(t.Context(), BenchOptions{Prompt: 8, Output: 4, Batches: []int{1, 2}}, func(BenchRun) {})
	if err != nil {
		t.Fatal(err)
	}
	for _, run := range result.Runs {
		if !(run.Prefill > 0 && run.Decode > 0 && run.FirstMS > 0 && run.ReadShare > 0) {
			t.Errorf("run %+v", run)
		}
	}
	if len(result.Runs) != 2 || !(result.ReadGBs > 0) || result.Resident == 0 {
		t.Errorf("result %+v", result)
	}
}

func TestLibraryImportsTheDemoCheckpoint(t *testing.T) {
	library, err := OpenLibrary(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer library.Close()
	var findings []string
	options := ImportOptions{Name: "udhr", Format: 4, EOS: -1, Found: func(f []string) { findings = f }}
	report, err := library.Import(t.Context(), filepath.Join("..", "model", "demo", "checkpoint"), options)
	if err != nil {
		t.Fatal(err)
	}
	if report.Manifest.Config.Pieces != 4096 || report.Manifest.Config.EOS != 2 || len(findings) < 3 {
		t.Errorf("config %+v, findings %q", report.Manifest.Config, findings)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	options.Name = "second"
	if _, err := library.Import(ctx, filepath.Join("..", "model", "demo", "checkpoint"), options); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled import ended with %v", err)
	}
	if entries, err := library.List(); err != nil || len(entries) != 1 {
		t.Errorf("after a cancelled import there are %d models, %v", len(entries), err)
	}
}
