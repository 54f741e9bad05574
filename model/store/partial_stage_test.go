package store

import (
	"math"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"polynode/kernels"
	"polynode/kernels/pool"
	"polynode/model"
	"polynode/shard"
)

// ring is a group of ranks in this process: the last one to come adds up.
type ring struct {
	mu    sync.Mutex
	all   sync.Cond
	size  int
	came  int
	round int
	sums  []int32
	total []int32
}

// seat is one rank's side of a ring.
type seat struct {
	*ring
	rank int
}

func (s seat) Rank() int { return s.rank }
func (s seat) Size() int { return s.size }

func (s seat) AllReduce(sums []int32) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.came == 0 {
		s.sums = make([]int32, len(sums))
	}
	for i, v := range sums {
		s.sums[i] += v
	}
	if s.came++; s.came == s.size {
		s.came, s.total = 0, s.sums
		s.round++
		s.all.Broadcast()
	} else {
		for round := s.round; round == s.round; {
			s.all.Wait()
		}
	}
	copy(sums, s.total)
	return nil
}

func (s seat) AllGather(mine []byte) ([][]byte, error) { return [][]byte{mine}, nil }

// stageConfig has heads and columns that three ranks can share unevenly.
func stageConfig(tied bool) model.Config {
	return model.Config{
		Layers: 3, Heads: 4, Embed: 128, Inner: 288, Vocab: 203, Pieces: 200, Positions: 40,
		Activation: model.GELUFast, Epsilon: 1e-5, EOS: 2, TiedHead: tied,
	}
}

// logits runs some tokens through a plan whose ranks each have their own source, and gives the logits after each, (tokens, Vocab).
func logits(t rapid.TB, plan *shard.Plan, source func(node shard.NodeID, share model.Share) model.Source) []float32 {
	config := stageConfig(true)
	tokens := []int32{5, 17, 180, 3, 44, 99}
	hidden := make([]float32, len(tokens)*config.Embed)
	all := make([]float32, len(tokens)*config.Vocab)
	for stage := range plan.Stages {
		group := &ring{size: len(plan.Stages[stage].Group)}
		group.all.L = &group.mu
		errs := make([]error, group.size)
		results := make([][]float32, group.size)
		var ranks sync.WaitGroup
		for rank := range group.size {
			share, err := model.ShareOf(plan, stage, rank)
			if err != nil {
				t.Fatal(err)
			}
			src := source(plan.Stages[stage].Group[rank].Node, share)
			ranks.Go(func() {
				results[rank], errs[rank] = runRank(src, share, seat{group, rank}, tokens, hidden, all)
			})
		}
		ranks.Wait()
		for rank, err := range errs {
			if err != nil {
				t.Fatalf("stage %d rank %d: %v", stage, rank, err)
			}
		}
		hidden = results[0]
	}
	return all
}

// runRank takes the tokens through one stage on one rank.
func runRank(src model.Source, share model.Share, group model.Group, tokens []int32, before, all []float32) ([]float32, error) {
	config := src.Config()
	workers := pool.New(1)
	defer workers.Close()
	cache, err := model.NewCache(config, share, kernels.KVF16, 4)
	if err != nil {
		return nil, err
	}
	stage, err := model.NewStage(src, share, group, workers, cache)
	if err != nil {
		return nil, err
	}
	var batch model.Batch
	batch.Append(tokens, 0, []int32{0, 1, 2, 3})
	hidden := slices.Clone(before)
	if share.First {
		if err := stage.Embed(&batch, hidden); err != nil {
			return nil, err
		}
	}
	if err := stage.Forward(&batch, hidden); err != nil || !share.Last {
		return hidden, err
	}
	rows := make([]int32, len(tokens))
	for i := range rows {
		rows[i] = int32(i)
	}
	return hidden, stage.Head(hidden, rows, show{all, config.Vocab, len(tokens)})
}

// show copies logits to where they belong.
type show struct {
	all         []float32
	vocab, rows int
}

func (s show) Look(logits []float32, stride, lo, n int) {
	for i := range s.rows {
		copy(s.all[i*s.vocab+lo:i*s.vocab+lo+n], logits[i*stride:])
	}
}

// drawPlan draws a plan of up to three stages with up to three ranks each.
func drawPlan(t *rapid.T, shape shard.Shape) *shard.Plan {
	var stages [][]shard.Member
	weight := rapid.Float64Range(0, 4)
	for s := range rapid.IntRange(1, 3).Draw(t, "stages") {
		var members []shard.Member
		for r := range rapid.IntRange(1, 3).Draw(t, "ranks") {
			members = append(members, shard.Member{
				Node:  shard.NodeID(strconv.Itoa(s) + "-" + strconv.Itoa(r)),
				Heads: weight.Draw(t, "heads"), Inner: weight.Draw(t, "inner"), Vocab: weight.Draw(t, "vocab"),
			})
		}
		stages = append(stages, members)
	}
	plan, err := shard.Build(shape, "digest", stages)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// A rank needs no more than the units under its pieces: with them alone, in a file with holes everywhere else, it computes the same
// bits.
func TestStageRunsOnItsPiecesAlone(t *testing.T) {
	t.Run("tied", func(t *testing.T) { checkPiecesAlone(t, stageConfig(true)) })
	t.Run("own head", func(t *testing.T) { checkPiecesAlone(t, stageConfig(false)) })
}

func checkPiecesAlone(t *testing.T, config model.Config) {
	spec := tinySpec(kernels.Q4)
	spec.Config = config
	m, err := OpenBytes("whole.pn", pack(t, newFake(spec.Config, 3), spec))
	if err != nil {
		t.Fatal(err)
	}
	from, err := m.Describe()
	if err != nil {
		t.Fatal(err)
	}
	shape := model.Shape(m)
	want := logits(t, shard.Solo("solo", shape, "digest"), func(shard.NodeID, model.Share) model.Source { return m })
	rapid.Check(t, func(rt *rapid.T) {
		got := logits(rt, drawPlan(rt, shape), func(_ shard.NodeID, share model.Share) model.Source {
			return onlyPieces(rt, t, m, from, share)
		})
		for i := range want {
			if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
				rt.Fatalf("logit %d of row %d is %g, want %g", i%spec.Config.Vocab, i/spec.Config.Vocab, got[i], want[i])
			}
		}
	})
}

// onlyPieces makes a partial model with the units of a share and nothing else.
func onlyPieces(rt *rapid.T, t *testing.T, m *Model, from Description, share model.Share) model.Source {
	path, err := os.MkdirTemp(t.TempDir(), "")
	if err != nil {
		rt.Fatal(err)
	}
	d, err := OpenDir(path)
	if err != nil {
		rt.Fatal(err)
	}
	p := newPartialModel(t, d, from, m.Digest())
	pieces, err := model.PiecesOf(m.Config(), share)
	if err != nil {
		rt.Fatal(err)
	}
	numbers, err := p.Missing(pieces)
	if err != nil {
		rt.Fatal(err)
	}
	putUnits(t, p, m, numbers...)
	part, err := p.Open()
	if err != nil {
		rt.Fatal(err)
	}
	if n := part.Present().Len(); n != len(numbers) {
		rt.Fatalf("%d units are here, want %d", n, len(numbers))
	}
	rt.Cleanup(func() {
		for _, close := range []func() error{part.Close, p.Close, d.Close} {
			if err := close(); err != nil {
				t.Error(err)
			}
		}
	})
	return part
}
