package node

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"polynode/configs"
	"polynode/shard"
	"polynode/shard/planner"
)

// The environment of BenchmarkTandem and of the processes that it starts.
const (
	tandemModel   = "POLYNODE_BENCH_MODEL"  // name of a model in the store; the demo model without
	tandemStore   = "POLYNODE_BENCH_STORE"  // data directory whose model store is used
	tandemBatch   = "POLYNODE_BENCH_BATCH"  // sequences that run together; 1 without
	tandemPrompt  = "POLYNODE_BENCH_PROMPT" // tokens of each prompt; 32 without
	tandemOutput  = "POLYNODE_BENCH_OUTPUT" // tokens of each answer; 32 without
	tandemRounds  = "POLYNODE_BENCH_ROUNDS" // of which the best counts; 3 without
	tandemNetwork = "POLYNODE_BENCH_NETWORK_THREADS"
	tandemData    = "POLYNODE_TANDEM_DATA" // the rest is for the second process
	tandemListen  = "POLYNODE_TANDEM_LISTEN"
	tandemAddress = "POLYNODE_TANDEM_ADDRESS"
	tandemToken   = "POLYNODE_TANDEM_TOKEN"
)

func tandemConfig(b testing.TB, name string) configs.Config {
	config := clusterConfig(b, name)
	config.Model, config.KVMemory = os.Getenv(tandemModel), 512<<20
	if threads, err := strconv.Atoi(os.Getenv(tandemNetwork)); err == nil {
		config.NetworkThreads = threads
	}
	if store := os.Getenv(tandemStore); store != "" {
		models := filepath.Join(config.Data, "models")
		for _, folder := range []string{"blobs", "names"} {
			if err := os.MkdirAll(filepath.Join(models, folder), 0o700); err != nil {
				b.Fatal(err)
			}
			files, _ := filepath.Glob(filepath.Join(store, "models", folder, "*"))
			for _, file := range files {
				if err := os.Link(file, filepath.Join(models, folder, filepath.Base(file))); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
	return config
}

// tandemNumber is a number from the environment.
func tandemNumber(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil && n > 0 {
		return n
	}
	return otherwise
}

// BenchmarkTandem compares one node with one thread with two of them, in two processes on this machine, that split every layer or that
// take half of the layers each. It tells something where arithmetic and not memory is the limit, and where there are two idle cores:
//
//	POLYNODE_TIERS_OFF=avx512,avx2 POLYNODE_BENCH_STORE=DATA POLYNODE_BENCH_MODEL=synthetic-polylm-1.7b-q4 go test -run '^$' -bench Tandem -benchtime 1x ./node
func BenchmarkTandem(b *testing.B) {
	for _, c := range []struct {
		name          string
		nodes, stages int
	}{{"solo", 1, 1}, {"tensor", 2, 1}, {"pipeline", 2, 2}} {
		b.Run(c.name, func(b *testing.B) { benchTandem(b, c.nodes, c.stages) })
	}
}

// even plans stages of one node each that take about as long as each other: the last one has the head too, which is worth some layers.
func even(stages int) plannerFunc {
	if stages == 1 {
		return together(1)
	}
	return func(p planner.Problem) (planner.Report, error) {
		shape := p.Model.Shape
		layer := 4*shape.Embed() + 2*shape.Inner // rows of embed weights each, like those of the head
		share := float64(shape.Layers*layer+shape.Vocab) / float64(min(stages, len(p.Nodes)))
		var members [][]shard.Member
		for i, node := range p.Nodes[:min(stages, len(p.Nodes))] {
			weight := share
			if i == stages-1 {
				weight -= float64(shape.Vocab)
			}
			members = append(members, []shard.Member{{Node: node.ID, Heads: weight, Inner: weight, Vocab: 1}})
		}
		plan, err := shard.Build(shape, p.Model.Digest, members)
		return planner.Report{Plan: plan}, err
	}
}

func benchTandem(b *testing.B, nodes, stages int) {
	j := &joined{t: b}
	config := tandemConfig(b, "one")
	n, err := startWith(b.Context(), config, loggerOf("one"), newModels(config), even(stages))
	if err != nil {
		b.Fatal(err)
	}
	j.nodes = append(j.nodes, n)
	defer j.stop(n)
	j.coordinator()
	if nodes == 2 {
		token, err := n.NewToken(b.Context(), false, time.Hour, 1)
		if err != nil {
			b.Fatal(err)
		}
		other := tandemConfig(b, "two")
		second := exec.CommandContext(b.Context(), os.Args[0], "-test.run=^TestTandemSecond$", "-test.v")
		second.Env = append(os.Environ(), tandemData+"="+other.Data, tandemListen+"="+other.Listen, tandemAddress+"="+token.Address, tandemToken+"="+token.Text)
		if testing.Verbose() {
			second.Stdout, second.Stderr = os.Stderr, os.Stderr
		}
		if err := second.Start(); err != nil {
			b.Fatal(err)
		}
		defer func() { _ = second.Wait() }()
		defer func() { _ = second.Process.Kill() }()
	}
	j.awaitPlan(nodes)
	batch, most := tandemNumber(tandemBatch, 1), tandemNumber(tandemRounds, 3)
	options := BenchOptions{Prompt: tandemNumber(tandemPrompt, 32), Output: tandemNumber(tandemOutput, 32)}
	if _, err := n.benchRun(b.Context(), BenchOptions{Prompt: 2, Output: 2}, 1, 0); err != nil {
		b.Fatal(err)
	}
	var best BenchRun
	before, rounds := n.rank.Usage(), 0
	for b.Loop() {
		for range most {
			rounds++
			run, err := n.benchRun(b.Context(), options, batch, rounds)
			if err != nil {
				b.Fatal(err)
			}
			best.Decode, best.Prefill = max(best.Decode, run.Decode), max(best.Prefill, run.Prefill)
		}
	}
	used := n.rank.Usage().Minus(before)
	tokens := float64(rounds * batch * (options.Prompt + options.Output - 1))
	b.ReportMetric(best.Decode, "tokens/s")
	b.ReportMetric(best.Prefill, "prompt-tokens/s")
	b.ReportMetric(float64(used.Traffic.BytesSent)/tokens, "B-sent/token")
	b.ReportMetric(float64(used.Traffic.FramesSent)/float64(used.Steps), "frames/step")
	b.ReportMetric(100*used.NetworkShare(), "%waiting")
	b.ReportMetric(0, "ns/op")
}

// TestTandemSecond is the second process of BenchmarkTandem, and nothing otherwise.
func TestTandemSecond(t *testing.T) {
	data := os.Getenv(tandemData)
	if data == "" {
		t.Skip("only BenchmarkTandem runs this")
	}
	config := configs.Default()
	config.Data, config.Name, config.HTTP, config.Listen = data, "two", "", os.Getenv(tandemListen)
	config.Threads, config.KVMemory, config.Model = 1, 512<<20, os.Getenv(tandemModel)
	if threads, err := strconv.Atoi(os.Getenv(tandemNetwork)); err == nil {
		config.NetworkThreads = threads
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	if err := Join(ctx, config, os.Getenv(tandemAddress), os.Getenv(tandemToken), loggerOf("two")); err != nil {
		t.Fatal(err)
	}
	n, err := startWith(ctx, config, loggerOf("two"), newModels(config), together(1))
	if err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-n.Failed():
		t.Error(err)
	case <-ctx.Done():
	}
	if err := n.Stop(context.WithoutCancel(ctx)); err != nil {
		t.Error(err)
	}
}
