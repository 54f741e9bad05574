package planner

import (
	"fmt"
	"math"

	"polynode/shard"
)

// Predict prices a plan that exists, for example the one that runs, so that it can be compared with what is measured. Whatever the
// nodes' memory and state, the figures are given; a node that the problem does not have gives ErrProblem.
func Predict(p Problem, plan *shard.Plan) (Prediction, []RankReport, error) {
	if err := p.Validate(); err != nil {
		return Prediction{}, nil, err
	}
	in := make(map[shard.NodeID]bool, len(p.Nodes)) // only looked up
	for _, id := range plan.Nodes() {
		in[id] = true
	}
	f := factsOf(&p, func(n *Node) bool { return in[n.ID] && positive(n.ReadGBs) && positive(n.MultiplyGOPs) })
	for i := range f.machines {
		f.machines[i].memory = math.MaxInt64
	}
	l, reason := f.layoutOf(plan)
	if reason != "" {
		return Prediction{}, nil, fmt.Errorf("%w: predict plan: %s", ErrProblem, reason)
	}
	for i := range f.machines {
		f.machines[i].memory = float64(p.Nodes[f.machines[i].node].MemoryBytes)
	}
	price := f.priceOf(l)
	return f.prediction(&price), f.ranks(plan, l, &price), nil
}

// describe fills in what the report says of the chosen plan.
func (f *facts) describe(report *Report, c choice) {
	report.Times = f.prediction(&c.price)
	report.Ranks = f.ranks(c.plan, c.layout, &c.price)
	report.MoveBytes = c.move
}

// prediction is a price in milliseconds.
func (f *facts) prediction(c *price) Prediction {
	terms := c.step.terms()
	terms.Wait = max(0, 1e3*(c.round-c.step.sum()))
	return Prediction{
		Score: 1e3 * c.score, StepMS: 1e3 * c.round, TokensPerS: float64(c.running) / c.round, PromptTokensPerS: 1 / c.prompt,
		Terms: terms, Sequences: c.running, Batches: c.batches, KVTokens: int(c.kv),
	}
}

func (s seconds) terms() Terms {
	return Terms{Weights: 1e3 * s.weights, Attention: 1e3 * s.attention, Head: 1e3 * s.head, Sync: 1e3 * s.sync, Hop: 1e3 * s.hop, Other: 1e3 * s.other}
}

// ranks describes each place of the plan. Terms are those of one pass of decoding, as all ranks of the stage see it: what a rank
// does not compute itself it waits for.
func (f *facts) ranks(plan *shard.Plan, l layout, c *price) []RankReport {
	var reports []RankReport
	pass := f.decoding((c.running + c.batches - 1) / c.batches)
	holds := f.problem.holdsOf()
	control := f.control(l)
	for s := range l {
		whole := f.stageTime(&l[s], pass, f.meshOf(l[s].ranks))
		if s > 0 {
			whole.hop = f.hop(l[s-1].ranks, l[s].ranks, pass)
		} else {
			whole.hop = control
		}
		layers := float64(l[s].layers)
		for i, r := range l[s].ranks {
			u := f.unit(r.machine, pass)
			own := whole
			own.weights = layers * (float64(r.heads)*u.weights + float64(r.inner)*u.inner)
			own.attention = layers * float64(r.heads) * u.attention
			own.head = float64(r.vocab) * u.vocab
			terms := own.terms()
			terms.Wait = max(0, 1e3*(whole.sum()-own.sum()))
			cut := plan.Stages[s].Group[i]
			reports = append(reports, RankReport{
				Node: cut.Node, Stage: s, Rank: i, Layers: plan.Stages[s].Layers, Heads: cut.Heads, Inner: cut.Inner, Vocab: cut.Vocab,
				Terms: terms, Memory: f.memory(plan, s, i, r),
				Move: f.problem.Model.MissingBytes(HoldingOf(plan, s, i), holds(cut.Node)),
			})
		}
	}
	return reports
}

// memory is what a rank needs.
func (f *facts) memory(plan *shard.Plan, stage, i int, r rank) Memory {
	m := &f.problem.Model
	out := Memory{
		Weights:   plan.WeightBytes(m.Shape, stage, i, m.BytesPerWeight),
		KV:        plan.KVBytes(m.Shape, stage, i, m.BytesPerKV) * int64(f.sizes.kvTokens),
		Available: int64(f.machines[r.machine].memory),
	}
	need := f.sizes.need(plan.Stages[stage].Layers.Len(), r, stage == 0)
	out.Buffers = max(0, int64(math.Ceil(need))-out.Weights-out.KV)
	return out
}

// bestSolo is the fastest node that can do without the others.
func bestSolo(searches []*search) *Alternative {
	var found *Alternative
	for _, s := range searches {
		for i := range s.machines {
			c, ok := s.arrange([][]int{{i}})
			if !ok {
				continue
			}
			if times := s.prediction(&c.price); found == nil || times.Score < found.Times.Score {
				found = &Alternative{Node: s.machines[i].id, Times: times}
			}
		}
	}
	return found
}

// bytesText writes bytes for people.
func bytesText(bytes float64) string {
	for _, unit := range []struct {
		name string
		size float64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if bytes >= unit.size {
			return fmt.Sprintf("%.1f %s", bytes/unit.size, unit.name)
		}
	}
	return fmt.Sprintf("%.0f B", math.Ceil(bytes))
}
