package worker

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"polynode/engine"
	"polynode/engine/pipeline"
	"polynode/engine/sample"
	"polynode/kernels"
	"polynode/kernels/pool"
	"polynode/model"
	"polynode/shard"
	"polynode/transport"
)

// lent is workers of several nodes that a coordinator on one of them uses.
type lent struct {
	hub      *transport.Memory
	networks map[shard.NodeID]transport.Network
	servers  map[shard.NodeID]*Server
	running  sync.WaitGroup
}

// lend starts a server on each node. What it starts ends with the test.
func lend(t *testing.T, nodes ...shard.NodeID) *lent {
	t.Helper()
	src := source(t, kernels.Q8)
	l := &lent{hub: transport.NewMemory(), networks: map[shard.NodeID]transport.Network{}, servers: map[shard.NodeID]*Server{}}
	ctx, cancel := context.WithCancel(t.Context())
	threads := pool.New(1)
	for _, node := range nodes {
		network, err := l.hub.Node(string(node))
		if err != nil {
			t.Fatal(err)
		}
		l.networks[node] = network
		server := NewServer(New(Options{
			Node: node, Open: func(string) (model.Source, error) { return src, nil }, Network: network, Pool: threads, StepTimeout: testTimeout,
		}))
		l.servers[node] = server
		l.running.Go(func() {
			for {
				conn, err := network.Accept(ctx, transport.ClassControl)
				if err != nil {
					return
				}
				l.running.Go(func() { _ = server.Serve(ctx, conn) })
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		for _, network := range l.networks {
			network.Close()
		}
		l.running.Wait()
		threads.Close()
	})
	return l
}

// use makes a pipeline of a coordinator: its own rank is near, the others are far.
func (l *lent) use(t *testing.T, coordinator shard.NodeID, epoch shard.Epoch, stages ...[]shard.NodeID) (*pipeline.Pipeline, error) {
	t.Helper()
	var members [][]shard.Member
	var ranks [][]pipeline.Rank
	for _, stage := range stages {
		var group []shard.Member
		var rank []pipeline.Rank
		for _, node := range stage {
			group = append(group, shard.Member{Node: node})
			if node == coordinator {
				rank = append(rank, l.servers[node].Near())
			} else {
				rank = append(rank, pipeline.NewFar(l.networks[coordinator], node))
			}
		}
		members, ranks = append(members, group), append(ranks, rank)
	}
	plan, err := shard.Build(model.Shape(source(t, kernels.Q8)), "test", members)
	if err != nil {
		t.Fatal(err)
	}
	plan.Epoch = epoch
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	return pipeline.New(ctx, engine.Place{Generation: 1, Plan: plan, Blocks: 24, KVFormat: "f16"}, ranks)
}

// generate decodes greedily and by chance, with log-probabilities, and returns all that came.
func generate(t *testing.T, p *pipeline.Pipeline, epoch shard.Epoch) []engine.Result {
	t.Helper()
	var all []engine.Result
	tokens := []int32{5, 9, 100, 42, 7}
	for position := 0; position < 12; {
		step := engine.Step{ID: uint64(position + 1), Epoch: epoch, Chunks: []engine.Chunk{{
			Sequence: 3, Tokens: tokens[position:], Start: position, Blocks: []engine.BlockID{1, 2}, Sample: true, Logprobs: true, Top: 3,
			Params: &sample.Params{Temperature: float32(position % 2), TopP: 0.9, Seed: 77, FrequencyPenalty: 1}, History: tokens, Prompt: 5,
		}}}
		var out engine.Output
		if err := p.Execute(t.Context(), &step, &out); err != nil {
			t.Fatal(err)
		}
		position = len(tokens)
		tokens = append(tokens, out.Results[0].Token)
		all = append(all, out.Results[0])
	}
	return all
}

func sameResults(a, b []engine.Result) bool {
	return slices.EqualFunc(a, b, func(x, y engine.Result) bool {
		return x.Token == y.Token && x.Logprob == y.Logprob && slices.Equal(x.Top, y.Top)
	})
}

// Ranks behind connections give what a single one gives, wherever the coordinator stands and whether it has a rank of its own or not.
func TestFarRanksGiveTheSameTokens(t *testing.T) {
	l := lend(t, "a", "b", "c")
	alone, err := l.use(t, "a", 1, []shard.NodeID{"a"})
	if err != nil {
		t.Fatal(err)
	}
	want := generate(t, alone, 1)
	alone.Close()
	epoch := shard.Epoch(1)
	for _, c := range []struct {
		coordinator shard.NodeID
		stages      [][]shard.NodeID
	}{
		{"a", [][]shard.NodeID{{"a", "b"}}},
		{"a", [][]shard.NodeID{{"b", "a", "c"}}},
		{"a", [][]shard.NodeID{{"a"}, {"b"}, {"c"}}},
		{"a", [][]shard.NodeID{{"a", "b"}, {"c"}}},
		{"a", [][]shard.NodeID{{"c"}, {"b"}}},
		{"b", [][]shard.NodeID{{"c", "a"}}},
	} {
		epoch++
		p, err := l.use(t, c.coordinator, epoch, c.stages...)
		if err != nil {
			t.Fatal(err)
		}
		if got := generate(t, p, epoch); !sameResults(got, want) {
			t.Errorf("%v: got %+v\nwant %+v", c.stages, got, want)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A newer plan takes ranks from an older one without asking, near and far; an older one cannot take them back.
func TestTheNewerPlanTakesTheRanks(t *testing.T) {
	l := lend(t, "a", "b")
	stages := [][]shard.NodeID{{"a", "b"}}
	old, err := l.use(t, "a", 5, stages...)
	if err != nil {
		t.Fatal(err)
	}
	want := generate(t, old, 5)
	next, err := l.use(t, "b", 6, stages...)
	if err != nil {
		t.Fatal(err)
	}
	if got := generate(t, next, 6); !sameResults(got, want) {
		t.Errorf("the newer plan gave %+v\nwant %+v", got, want)
	}
	step := engine.Step{ID: 1, Epoch: 5, Chunks: []engine.Chunk{{Tokens: []int32{5}, Blocks: []engine.BlockID{1}}}}
	if err := old.Execute(t.Context(), &step, new(engine.Output)); err == nil {
		t.Error("the older plan still runs steps")
	}
	if err := old.Close(); err != nil {
		t.Error(err)
	}
	if again, err := l.use(t, "a", 5, stages...); err == nil {
		again.Close()
		t.Error("the older plan took its ranks back")
	} else if !errors.Is(err, transport.ErrStaleEpoch) && !errors.Is(err, pipeline.ErrFar) {
		t.Errorf("the older plan was refused with %v", err)
	}
	if got := generate(t, next, 6); !sameResults(got, want) {
		t.Errorf("afterwards the newer plan gave %+v\nwant %+v", got, want)
	}
	next.Close()
}

// A rank that is cut off in the middle of a step ends the step for all when the coordinator gives it up, and the survivors work on.
func TestALostRankEndsTheStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lend(t, "a", "b", "c")
		p, err := l.use(t, "a", 1, []shard.NodeID{"a", "b", "c"})
		if err != nil {
			t.Fatal(err)
		}
		want := generate(t, p, 1)
		for _, other := range []string{"a", "b"} {
			l.hub.Cut("c", other)
		}
		ctx, giveUp := context.WithCancel(t.Context())
		failed := make(chan error)
		go func() {
			step := engine.Step{ID: 99, Epoch: 1, Chunks: []engine.Chunk{{Tokens: []int32{5}, Blocks: []engine.BlockID{1}, Sample: true, Params: &sample.Params{}}}}
			failed <- p.Execute(ctx, &step, new(engine.Output))
		}()
		synctest.Wait() // all wait for the rank that is cut off
		giveUp()
		if err := <-failed; err == nil {
			t.Error("a step without one of its ranks succeeded")
		}
		p.Close()
		rest, err := l.use(t, "a", 2, []shard.NodeID{"a", "b"})
		if err != nil {
			t.Fatal(err)
		}
		if got := generate(t, rest, 2); !sameResults(got, want) {
			t.Errorf("the survivors gave %+v\nwant %+v", got, want)
		}
		rest.Close()
		for _, other := range []string{"a", "b"} {
			l.hub.Heal("c", other)
		}
	})
}
