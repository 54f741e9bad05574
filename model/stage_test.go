package model_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"polynode/internal/memsource"
	"polynode/internal/refmath"
	"polynode/kernels"
	"polynode/kernels/pool"
	"polynode/model"
)

// tiny has sizes that are no multiple of anything convenient but the head, two leaves in K, and more rows of
// vocabulary than pieces.
func tiny(activation model.Activation, tied bool) model.Config {
	return model.Config{
		Layers: 3, Heads: 2, Embed: 64, Inner: 96, Vocab: 83, Pieces: 80, Positions: 300,
		Activation: activation, Epsilon: 1e-5, EOS: 2, TiedHead: tied,
	}
}

// solo is a group of one.
type solo struct{}

func (solo) Rank() int                               { return 0 }
func (solo) Size() int                               { return 1 }
func (solo) AllReduce([]int32) error                 { return nil }
func (solo) AllGather(mine []byte) ([][]byte, error) { return [][]byte{mine}, nil }

// runner feeds one whole stage and keeps nothing between calls but the cache.
type runner struct {
	t     testing.TB
	stage *model.Stage
}

func newRunner(t testing.TB, src model.Source, format kernels.KVFormat, threads, blocks int) *runner {
	t.Helper()
	workers := pool.New(threads)
	t.Cleanup(workers.Close)
	share := model.WholeShare(src.Config())
	cache, err := model.NewCache(src.Config(), share, format, blocks)
	if err != nil {
		t.Fatal(err)
	}
	stage, err := model.NewStage(src, share, solo{}, workers, cache)
	if err != nil {
		t.Fatal(err)
	}
	return &runner{t, stage}
}

// piece is part of a sequence to compute: tokens at start, with keys and values in blocks.
type piece struct {
	tokens []int32
	start  int
	blocks []int32
}

// step computes the pieces together and returns the logits after each of their tokens.
func (r *runner) step(pieces ...piece) [][]float32 {
	r.t.Helper()
	var batch model.Batch
	for _, p := range pieces {
		batch.Append(p.tokens, p.start, p.blocks)
	}
	c := r.stage.Config()
	hidden := make([]float32, batch.Rows()*c.Embed)
	if err := r.stage.Embed(&batch, hidden); err != nil {
		r.t.Fatal(err)
	}
	if err := r.stage.Forward(&batch, hidden); err != nil {
		r.t.Fatal(err)
	}
	rows := make([]int32, batch.Rows())
	for i := range rows {
		rows[i] = int32(i)
	}
	flat := collector{make([]float32, batch.Rows()*c.Vocab), batch.Rows(), c.Vocab}
	if err := r.stage.Head(hidden, rows, flat); err != nil {
		r.t.Fatal(err)
	}
	r.checkTargets(hidden, rows, flat)
	if n := r.stage.Clamps(); n != 0 {
		r.t.Fatalf("%d leaves were clamped", n)
	}
	return slices.Collect(slices.Chunk(flat.logits, c.Vocab))
}

// checkTargets asks for single logits and wants the bits of the whole.
func (r *runner) checkTargets(hidden []float32, rows []int32, all collector) {
	r.t.Helper()
	targets, got := make([]int32, len(rows)), make([]float32, len(rows))
	for i := range targets {
		targets[i] = int32((i*37+5)%(all.vocab+1)) - 1
	}
	if err := r.stage.TargetLogits(got, hidden, rows, targets); err != nil {
		r.t.Fatal(err)
	}
	for i, token := range targets {
		if want := float32(0); token >= 0 {
			want = all.logits[i*all.vocab+int(token)]
			if math.Float32bits(got[i]) != math.Float32bits(want) {
				r.t.Fatalf("target %d of row %d has logit %g, want %g", token, i, got[i], want)
			}
		}
	}
}

// collector keeps all logits, (rows, vocab).
type collector struct {
	logits      []float32
	rows, vocab int
}

func (c collector) Look(logits []float32, stride, lo, n int) {
	for i := range c.rows {
		copy(c.logits[i*c.vocab+lo:i*c.vocab+lo+n], logits[i*stride:i*stride+n])
	}
}

func blocks(from, tokens int) []int32 {
	table := make([]int32, (tokens+kernels.BlockTokens-1)/kernels.BlockTokens)
	for i := range table {
		table[i] = int32(from + i)
	}
	return table
}

func tokensOf(c model.Config, n int, seed int) []int32 {
	tokens := make([]int32, n)
	for i := range tokens {
		tokens[i] = int32((i*i*7 + i*31 + seed*13 + 5) % c.Pieces)
	}
	return tokens
}

func pack(t testing.TB, c model.Config, format kernels.Format) *memsource.Source {
	t.Helper()
	src, err := memsource.Pack(c, refmath.Random(c, 7), format)
	if err != nil {
		t.Fatal(err)
	}
	return src
}

func sameBits(a, b []float32) bool {
	return slices.EqualFunc(a, b, func(x, y float32) bool { return math.Float32bits(x) == math.Float32bits(y) })
}

// Against the independent float64 forward pass: f32 within rounding, the other formats within what their weights and
// activations lose.
func TestLogitsAgainstFloat64(t *testing.T) {
	length := 200
	if testing.Short() {
		length = 20
	}
	bounds := map[kernels.Format]float64{kernels.F32: 2e-5, kernels.BF16: 2e-2, kernels.Q8: 5e-2, kernels.Q4: 0.35}
	for _, activation := range []model.Activation{model.GELUFast, model.GELUNew, model.GELUErf} {
		for _, tied := range []bool{true, false} {
			c := tiny(activation, tied)
			weights := refmath.Random(c, 7)
			reference, err := refmath.New(c, weights)
			if err != nil {
				t.Fatal(err)
			}
			tokens := tokensOf(c, length, 1)
			want, err := reference.Logits(tokens)
			if err != nil {
				t.Fatal(err)
			}
			for format, bound := range bounds {
				t.Run(fmt.Sprintf("%s/%s/tied=%v", format, activation, tied), func(t *testing.T) {
					kv := kernels.KVF16
					if format == kernels.F32 {
						kv = kernels.KVF32
					}
					r := newRunner(t, pack(t, c, format), kv, 2, 20)
					got := r.step(piece{tokens, 0, blocks(0, len(tokens))})
					if gap := relativeRMS(got, want, c.Pieces); !(gap < bound) {
						t.Errorf("relative RMS difference %.2g, want below %.2g", gap, bound)
					}
					for i, row := range got {
						for id := c.Pieces; id < c.Vocab; id++ {
							if !math.IsInf(float64(row[id]), -1) {
								t.Fatalf("row %d gives logit %g to id %d, which no piece has", i, row[id], id)
							}
						}
					}
				})
			}
		}
	}
}

func relativeRMS(got [][]float32, want [][]float64, pieces int) float64 {
	var gap, size float64
	for i := range want {
		for j := range pieces {
			d := float64(got[i][j]) - want[i][j]
			gap += d * d
			size += want[i][j] * want[i][j]
		}
	}
	return math.Sqrt(gap / size)
}

// Contract 1: neither the batch a row shares, nor how its prompt was cut, nor where its blocks lie, nor the number of
// threads changes one bit of its logits.
func TestBitsDoNotDependOnTheBatch(t *testing.T) {
	for _, format := range []kernels.Format{kernels.F32, kernels.BF16, kernels.Q8, kernels.Q4} {
		for _, kv := range []kernels.KVFormat{kernels.KVF16, kernels.KVQ8} {
			t.Run(format.String()+"/"+kv.String(), func(t *testing.T) { checkBatches(t, format, kv) })
		}
	}
}

func checkBatches(t *testing.T, format kernels.Format, kv kernels.KVFormat) {
	c := tiny(model.GELUFast, true)
	src := pack(t, c, format)
	tokens, other := tokensOf(c, 150, 1), tokensOf(c, 60, 2)
	whole := newRunner(t, src, kv, 1, 32).step(piece{tokens, 0, blocks(0, 150)})
	rapid.Check(t, func(rt *rapid.T) {
		threads := rapid.IntRange(1, 4).Draw(rt, "threads")
		r := newRunner(t, src, kv, threads, 64)
		table := rapid.Permutation(blocks(0, 64*kernels.BlockTokens)).Draw(rt, "blocks")
		mine, theirs := table[:10], table[10:14]
		otherAt := 0
		for at := 0; at < len(tokens); {
			n := rapid.SampledFrom([]int{1, 2, 7, 16, 17, 40, 150}).Draw(rt, "chunk")
			n = min(n, len(tokens)-at)
			pieces := []piece{{tokens[at : at+n], at, mine}}
			first := 0
			if m := rapid.IntRange(0, 9).Draw(rt, "other"); m > 0 && otherAt+m <= len(other) {
				together := piece{other[otherAt : otherAt+m], otherAt, theirs}
				if rapid.Bool().Draw(rt, "before") {
					pieces, first = []piece{together, pieces[0]}, m
				} else {
					pieces = append(pieces, together)
				}
				otherAt += m
			}
			for i, row := range r.step(pieces...)[first : first+n] {
				if !sameBits(row, whole[at+i]) {
					rt.Fatalf("logits of position %d differ", at+i)
				}
			}
			at += n
		}
	})
}

func TestStageRefusesBadRows(t *testing.T) {
	c := tiny(model.GELUFast, true)
	r := newRunner(t, pack(t, c, kernels.Q8), kernels.KVF16, 1, 4)
	hidden := make([]float32, 2*c.Embed)
	for name, p := range map[string]piece{
		"position":     {[]int32{1}, c.Positions, blocks(0, 400)},
		"negative":     {[]int32{1}, -1, []int32{0}},
		"token":        {[]int32{int32(c.Vocab)}, 0, []int32{0}},
		"few blocks":   {[]int32{1, 2}, 15, []int32{0}},
		"absent block": {[]int32{1}, 0, []int32{4}},
	} {
		var batch model.Batch
		batch.Append(p.tokens, p.start, p.blocks)
		if err := r.stage.Forward(&batch, hidden[:len(p.tokens)*c.Embed]); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestStepAllocatesNothing(t *testing.T) {
	c := tiny(model.GELUFast, true)
	r := newRunner(t, pack(t, c, kernels.Q4), kernels.KVF16, 2, 8)
	tokens, table := tokensOf(c, 20, 1), blocks(0, 64)
	var batch model.Batch
	hidden := make([]float32, 20*c.Embed)
	logits := &collector{make([]float32, c.Vocab), 1, c.Vocab}
	last, targets, logit := []int32{19}, []int32{3}, make([]float32, 1)
	step := func() {
		batch.Reset()
		batch.Append(tokens, 0, table)
		_ = r.stage.Embed(&batch, hidden)
		_ = r.stage.Forward(&batch, hidden)
		_ = r.stage.TargetLogits(logit, hidden, last, targets)
		_ = r.stage.Head(hidden, last, logits)
	}
	step()
	if n := testing.AllocsPerRun(20, step); n != 0 {
		t.Errorf("a step allocates %.0f times", n)
	}
}
