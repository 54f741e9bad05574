package worker

import (
	"context"
	"flag"
	"fmt"
	"math"
	"os"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"polynode/engine"
	"polynode/engine/pipeline"
	"polynode/engine/sample"
	"polynode/internal/memsource"
	"polynode/internal/refmath"
	"polynode/kernels"
	"polynode/kernels/pool"
	"polynode/model"
	"polynode/shard"
	"polynode/transport"
)

// A check of this package is several models in exchange, so few are enough unless the command line asks for more.
func TestMain(m *testing.M) {
	checks := "12"
	if slices.Contains(os.Args, "-test.short=true") {
		checks = "2"
	}
	_ = flag.Set("rapid.checks", checks)
	flag.Parse()
	os.Exit(m.Run())
}

func testConfig() model.Config {
	return model.Config{
		Layers: 4, Heads: 6, Embed: 192, Inner: 320, Vocab: 179, Pieces: 170, Positions: 128,
		Activation: model.GELUFast, Epsilon: 1e-5, EOS: 2, TiedHead: true,
	}
}

func source(t testing.TB, format kernels.Format) *memsource.Source {
	t.Helper()
	c := testConfig()
	src, err := memsource.Pack(c, refmath.Random(c, 3), format)
	if err != nil {
		t.Fatal(err)
	}
	return src
}

// cluster is the ranks of a plan in this process.
type cluster struct {
	pipeline *pipeline.Pipeline
	workers  [][]*Worker
}

const testTimeout = 20 * time.Second

func start(t testing.TB, src model.Source, members [][]shard.Member) *cluster {
	t.Helper()
	shape := model.Shape(src)
	plan, err := shard.Build(shape, "test", members)
	if err != nil {
		t.Fatal(err)
	}
	if err := plan.Validate(shape); err != nil {
		t.Fatal(err)
	}
	plan.Epoch = 5
	hub := transport.NewMemory()
	threads := pool.New(2)
	t.Cleanup(threads.Close)
	c := &cluster{}
	ranks := make([][]pipeline.Rank, len(plan.Stages))
	for stage := range plan.Stages {
		c.workers = append(c.workers, nil)
		for _, r := range plan.Stages[stage].Group {
			network, err := hub.Node(string(r.Node))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { network.Close() })
			w := New(Options{Node: r.Node, Open: func(string) (model.Source, error) { return src, nil }, Network: network, Pool: threads, StepTimeout: testTimeout})
			c.workers[stage] = append(c.workers[stage], w)
			ranks[stage] = append(ranks[stage], w)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	if c.pipeline, err = pipeline.New(ctx, engine.Place{Plan: plan, Blocks: 24, KVFormat: "f16"}, ranks); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.pipeline.Close() })
	return c
}

// outcome is what a step gave, in bits.
type outcome struct {
	Token   int32
	Logprob uint32
	Top     []sample.Candidate
	Targets []engine.Target
	Logits  []float32 // of all rows and the whole vocabulary
}

func (c *cluster) step(t testing.TB, step *engine.Step) []outcome {
	t.Helper()
	var out engine.Output
	if err := c.pipeline.Execute(context.Background(), step, &out); err != nil {
		t.Fatal(err)
	}
	logits := c.logits(t, step)
	var outcomes []outcome
	for i, r := range out.Results {
		o := outcome{r.Token, math.Float32bits(r.Logprob), slices.Clone(r.Top), slices.Clone(r.Targets), nil}
		if i == 0 {
			o.Logits = logits
		}
		outcomes = append(outcomes, o)
	}
	return outcomes
}

// logits joins the vocabulary slices of the last stage.
func (c *cluster) logits(t testing.TB, step *engine.Step) []float32 {
	t.Helper()
	var rows []int32
	for i := range step.Chunks {
		for range step.Chunks[i].Tokens {
			rows = append(rows, int32(len(rows)))
		}
	}
	config := testConfig()
	all := make([]float32, len(rows)*config.Vocab)
	for _, w := range c.workers[len(c.workers)-1] {
		if err := w.stage.Head(w.hidden, rows, &collector{all, len(rows), config.Vocab}); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// collector keeps all logits, (rows, vocab).
type collector struct {
	logits      []float32
	rows, vocab int
}

func (c *collector) Look(logits []float32, stride, lo, n int) {
	for i := range c.rows {
		copy(c.logits[i*c.vocab+lo:i*c.vocab+lo+n], logits[i*stride:i*stride+n])
	}
}

// script is a short life of three sequences: a prompt in chunks beside others' tokens, a copied block, sampling of
// every kind, log-probabilities.
func script() []engine.Step {
	greedy := &sample.Params{}
	sampled := &sample.Params{Temperature: 0.9, Seed: 11}
	filtered := &sample.Params{Temperature: 1.3, TopK: 20, TopP: 0.9, MinP: 0.01, RepetitionPenalty: 1.2, Seed: 12}
	nucleus := &sample.Params{Temperature: 1, TopP: 0.7, FrequencyPenalty: 0.3, Bias: []sample.Bias{{Token: 9, Value: 3}}, Seed: 13}
	prompt := make([]int32, 50)
	for i := range prompt {
		prompt[i] = int32((i*i + 3*i + 1) % 170)
	}
	targets := append(slices.Clone(prompt[1:]), -1)
	tables := [][]int32{{0, 1, 2, 3}, {4, 9}, {7, 6}}
	return []engine.Step{
		{ID: 1, Epoch: 5, Chunks: []engine.Chunk{
			{Tokens: prompt[:33], Start: 0, Blocks: tables[0], Targets: targets[:33], Top: 3},
			{Tokens: prompt[:5], Start: 0, Blocks: tables[1], Sample: true, Params: sampled, Logprobs: true, Top: 5},
		}},
		{ID: 2, Epoch: 5, Chunks: []engine.Chunk{
			{Tokens: []int32{17}, Start: 5, Blocks: tables[1], Sample: true, Params: nucleus, History: append(slices.Clone(prompt[:5]), 17), Prompt: 5, Logprobs: true},
			{Tokens: prompt[33:], Start: 33, Blocks: tables[0], Sample: true, Params: filtered, History: prompt, Prompt: 50, Targets: targets[33:], Top: 2, Logprobs: true},
			{Tokens: prompt[20:40], Start: 0, Blocks: tables[2], Sample: true, Params: greedy},
		}},
		{ID: 3, Epoch: 5, Copies: []engine.BlockCopy{{Source: 4, Target: 12}}, Chunks: []engine.Chunk{
			{Tokens: []int32{3}, Start: 6, Blocks: []int32{12}, Sample: true, Params: greedy, Top: 20, Logprobs: true},
			{Tokens: []int32{4}, Start: 6, Blocks: tables[1], Sample: true, Params: sampled},
			{Tokens: []int32{5}, Start: 50, Blocks: tables[0], Sample: true, Params: sampled},
		}},
	}
}

// Contract 1: a model cut into any plan gives the tokens, log-probabilities and logits of the uncut one, bit for bit.
func TestEveryPlanGivesTheSameBits(t *testing.T) {
	for _, format := range []kernels.Format{kernels.F32, kernels.BF16, kernels.Q8, kernels.Q4} {
		t.Run(format.String(), func(t *testing.T) {
			src := source(t, format)
			var want [][]outcome
			whole := start(t, src, [][]shard.Member{{{Node: "solo", Heads: 1, Inner: 1, Vocab: 1}}})
			for _, step := range script() {
				want = append(want, whole.step(t, &step))
			}
			rapid.Check(t, func(rt *rapid.T) {
				members := drawMembers(rt)
				cut := start(t, src, members)
				for i, step := range script() {
					compare(rt, fmt.Sprintf("%v step %d", members, i), cut.step(t, &step), want[i])
				}
			})
		})
	}
}

func drawMembers(t *rapid.T) [][]shard.Member {
	var members [][]shard.Member
	weight := rapid.SampledFrom([]float64{0, 0.3, 1, 1, 2.5})
	for stage := range rapid.IntRange(1, 3).Draw(t, "stages") {
		var group []shard.Member
		for rank := range rapid.IntRange(1, 3).Draw(t, "ranks") {
			m := shard.Member{Node: shard.NodeID(fmt.Sprintf("n%d%d", stage, rank))}
			m.Heads, m.Inner, m.Vocab = weight.Draw(t, "heads"), weight.Draw(t, "inner"), weight.Draw(t, "vocab")
			if rank == 0 { // somebody has to do it
				m.Heads, m.Inner, m.Vocab = m.Heads+0.5, m.Inner+0.5, m.Vocab+0.5
			}
			group = append(group, m)
		}
		members = append(members, group)
	}
	return members
}

func compare(t *rapid.T, where string, got, want []outcome) {
	for i := range want {
		g, w := got[i], want[i]
		if g.Token != w.Token || g.Logprob != w.Logprob || !slices.Equal(g.Top, w.Top) {
			t.Fatalf("%s: chunk %d: got %+v, want %+v", where, i, g, w)
		}
		if !slices.EqualFunc(g.Targets, w.Targets, func(a, b engine.Target) bool {
			return a.Logprob == b.Logprob && a.Rank == b.Rank && slices.Equal(a.Top, b.Top)
		}) {
			t.Fatalf("%s: chunk %d: targets differ", where, i)
		}
		for j := range w.Logits {
			if math.Float32bits(g.Logits[j]) != math.Float32bits(w.Logits[j]) {
				t.Fatalf("%s: logit %d differs: %g, want %g", where, j, g.Logits[j], w.Logits[j])
			}
		}
	}
}

func TestRunRefusesAnotherEpoch(t *testing.T) {
	c := start(t, source(t, kernels.Q8), [][]shard.Member{{{Node: "solo", Heads: 1, Inner: 1, Vocab: 1}}})
	step := script()[0]
	step.Epoch = 4
	if err := c.pipeline.Execute(context.Background(), &step, new(engine.Output)); err == nil {
		t.Error("a step of an older epoch ran")
	}
}

// A rank that cannot compute a step must not leave the others waiting.
func TestOneFailingRankEndsTheStep(t *testing.T) {
	c := start(t, source(t, kernels.Q8), [][]shard.Member{
		{{Node: "a", Heads: 1, Inner: 1, Vocab: 1}, {Node: "b", Heads: 1, Inner: 1, Vocab: 1}},
		{{Node: "c", Heads: 1, Inner: 1, Vocab: 1}},
	})
	c.workers[0][1].Close()
	step := script()[0]
	began := time.Now()
	if err := c.pipeline.Execute(context.Background(), &step, new(engine.Output)); err == nil {
		t.Error("the step succeeded without one of its ranks")
	}
	if took := time.Since(began); took > testTimeout/2 {
		t.Errorf("it took %v to notice", took)
	}
}

func TestDecodeAllocatesNothing(t *testing.T) {
	c := start(t, source(t, kernels.Q4), [][]shard.Member{{{Node: "solo", Heads: 1, Inner: 1, Vocab: 1}}})
	var out engine.Output
	params := &sample.Params{Temperature: 0.8, TopK: 30, TopP: 0.9}
	step := engine.Step{ID: 1, Epoch: 5, Chunks: []engine.Chunk{
		{Tokens: []int32{1}, Start: 3, Blocks: []int32{0}, Sample: true, Params: params},
		{Tokens: []int32{2}, Start: 7, Blocks: []int32{1}, Sample: true, Params: &sample.Params{}},
	}}
	ctx := context.Background()
	run := func() {
		if err := c.pipeline.Execute(ctx, &step, &out); err != nil {
			t.Fatal(err)
		}
	}
	run()
	if n := testing.AllocsPerRun(50, run); n != 0 {
		t.Errorf("a step allocates %.0f times", n)
	}
}
