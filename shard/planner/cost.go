package planner

import (
	"math"

	"polynode/shard"
)

// layout is a plan as the search sees it: how much each machine gets, but not yet which.
type layout []stage

// stage is a run of layers and who shares them.
type stage struct {
	layers int
	ranks  []rank
}

// rank is what a machine gets of a stage.
type rank struct {
	machine             int
	heads, inner, vocab int
}

// pass is the work of a stage in one step.
type pass struct {
	rows   float64 // tokens
	kv     float64 // tokens whose keys and values are read
	keys   float64 // keys that all rows together look at
	logits float64 // rows that ask for a token
}

// decoding is a pass of so many sequences that take one token each.
func (f *facts) decoding(sequences int) pass {
	n := float64(sequences)
	kv := n * float64(f.problem.Workload.Context)
	return pass{rows: n, kv: kv, keys: kv, logits: n}
}

// prompting is a pass of one prompt.
func (f *facts) prompting() pass {
	n := float64(f.problem.Workload.Prompt)
	return pass{rows: n, kv: n, keys: n * (n + 1) / 2, logits: 1}
}

// unit is what one head, FFN column (of a layer) and vocabulary row cost a machine in a pass, in seconds.
type unit struct{ weights, attention, inner, vocab float64 }

func (f *facts) unit(i int, p pass) unit {
	m, model := &f.machines[i], &f.problem.Model
	embed, dim := float64(model.Shape.Embed()), float64(model.Shape.HeadDim)
	// Weights are read once for all rows and multiplied with each; reading and multiplying overlap.
	product := func(weights, rows float64) float64 {
		return max(weights*model.BytesPerWeight*m.readS, 2*weights*rows*m.opS)
	}
	return unit{
		weights:   product(4*dim*embed, p.rows),
		attention: max(p.kv*2*dim*model.BytesPerKV*m.kvS, 4*dim*p.keys*m.attendS),
		inner:     product(2*embed, p.rows),
		vocab:     product(embed, p.logits),
	}
}

// seconds are the terms of a time, in seconds.
type seconds struct{ weights, attention, head, sync, hop, other float64 }

func (s seconds) sum() float64 { return s.weights + s.attention + s.head + s.sync + s.hop + s.other }

func (s seconds) plus(o seconds) seconds {
	return seconds{s.weights + o.weights, s.attention + o.attention, s.head + o.head, s.sync + o.sync, s.hop + o.hop, s.other + o.other}
}

// stageTime is how long a stage takes for a pass. Ranks meet twice a layer, so each phase takes as long as its slowest rank.
func (f *facts) stageTime(st *stage, p pass, mesh mesh) seconds {
	var t seconds
	var heads, inner float64
	for _, r := range st.ranks {
		u := f.unit(r.machine, p)
		n := float64(r.heads)
		if s := n * (u.weights + u.attention); s > heads {
			heads, t.weights, t.attention = s, n*u.weights, n*u.attention
		}
		inner = max(inner, float64(r.inner)*u.inner)
		t.head = max(t.head, float64(r.vocab)*u.vocab)
	}
	layers := float64(st.layers)
	t.weights, t.attention = layers*(t.weights+inner), layers*t.attention
	t.other = layers * f.problem.Costs.LayerS
	if len(st.ranks) > 1 {
		embed := float64(f.problem.Model.Shape.Embed())
		t.sync = 2 * layers * mesh.allReduce(p.rows*embed*f.problem.Costs.SumBytes)
		if t.head > 0 {
			t.sync += mesh.exchange(p.logits * f.problem.Costs.RowBytes)
		}
	}
	return t
}

// mesh sums up the links of a group: what its slowest rank needs to send to all others.
type mesh struct {
	size     float64
	messages float64 // seconds to handle a message of each other rank
	delays   []float64
	bytes    []float64 // by rank: seconds for one byte to each other rank
}

// meshOf looks at all links within a group.
func (f *facts) meshOf(ranks []rank) mesh {
	n := len(f.machines)
	m := mesh{size: float64(len(ranks)), messages: float64(len(ranks)-1) * f.problem.Costs.MessageS}
	if len(ranks) == 1 {
		return m
	}
	m.delays, m.bytes = make([]float64, len(ranks)), make([]float64, len(ranks))
	for i, a := range ranks {
		for _, b := range ranks {
			if a.machine == b.machine {
				continue
			}
			at := a.machine*n + b.machine
			m.delays[i] = max(m.delays[i], f.delay[at])
			m.bytes[i] += f.byteS[at]
		}
	}
	return m
}

// exchange is the time in which every rank sends so many bytes to every other one.
func (m *mesh) exchange(bytes float64) float64 {
	slowest := 0.0
	for i, delay := range m.delays {
		slowest = max(slowest, delay+bytes*m.bytes[i])
	}
	return slowest + m.messages
}

// allReduce is the time in which ranks add up vectors of so many bytes: at once, each sending all it has to all others,
// or in two steps, each adding up its part and sending that around.
func (m *mesh) allReduce(bytes float64) float64 {
	return min(m.exchange(bytes), 2*m.exchange(bytes/m.size))
}

// delayBytes is what a link of the mesh carries in the time that a message takes beside its bytes, where that is most.
func (m *mesh) delayBytes() int64 {
	most := 0.0
	for i, delay := range m.delays {
		if m.bytes[i] > 0 {
			most = max(most, (delay+m.messages)*(m.size-1)/m.bytes[i])
		}
	}
	return int64(min(most, shard.DelayBytesMax))
}

// hop is the time from a stage to the next one for a pass.
func (f *facts) hop(from, to []rank, p pass) float64 {
	n := len(f.machines)
	delay, byteS := 0.0, 0.0
	for _, a := range from {
		for _, b := range to {
			at := a.machine*n + b.machine
			delay, byteS = max(delay, f.delay[at]), max(byteS, f.byteS[at])
		}
	}
	copies := float64((len(to) + len(from) - 1) / len(from)) // that one sender makes
	bytes := 4 * p.rows * float64(f.problem.Model.Shape.Embed())
	return delay + copies*(bytes*byteS+f.problem.Costs.MessageS)
}

// control is the time that steps need from the coordinator to the first stage and that tokens need back from the last. If
// the coordinator is not known it is one of the first stage.
func (f *facts) control(l layout) float64 {
	first, last := l[0].ranks, l[len(l)-1].ranks
	out, back := 0.0, math.Inf(1)
	n := len(f.machines)
	for _, a := range first {
		if f.handOut != nil {
			out = max(out, f.handOut[a.machine])
			continue
		}
		for _, b := range first {
			out = max(out, f.delay[a.machine*n+b.machine])
		}
	}
	for _, b := range last {
		if f.handOut != nil {
			back = min(back, f.handOut[b.machine])
			continue
		}
		for _, a := range first {
			back = min(back, f.delay[a.machine*n+b.machine])
		}
	}
	messages := 0.0
	for _, way := range []float64{out, back} {
		if way > 0 {
			messages += f.problem.Costs.MessageS
		}
	}
	return out + back + messages
}

// price is what a layout should cost.
type price struct {
	score   float64 // seconds for each generated token, prompts included; what is minimised
	step    seconds // of one pass through all stages
	round   float64 // seconds in which every sequence gets a token
	prompt  float64 // seconds for each token of a prompt
	running int     // sequences that have room
	batches int
	kv      float64 // tokens of keys and values that have room
}

// priceLayout predicts a layout that fits.
func (f *facts) priceLayout(l layout, meshes []mesh) price {
	w := &f.problem.Workload
	out := price{running: w.Sequences, score: math.Inf(1), kv: f.kvTokens(l)}
	if w.Objective == Throughput {
		out.running = int(max(1, min(float64(w.Sequences), math.Floor(out.kv/float64(w.Context)))))
	}
	control := f.control(l)
	out.prompt = f.promptTime(l, meshes, control) / float64(w.Prompt)
	for batches := 1; batches <= min(len(l), out.running); batches = nextBatches(batches, len(l), out.running) {
		if batches > 1 && w.Objective == Latency {
			break
		}
		p := f.decoding((out.running + batches - 1) / batches)
		step, slowest := f.through(l, meshes, p)
		step.hop += control
		step.other += f.problem.Costs.StepS
		round := max(step.sum(), float64(batches)*slowest)
		score := round
		if w.Objective == Throughput {
			score /= float64(out.running)
		}
		if score += w.PromptShare * out.prompt; score < out.score {
			out.score, out.step, out.round, out.batches = score, step, round, batches
		}
	}
	return out
}

// nextBatches goes through 1, 2, 4 … and the number of stages.
func nextBatches(batches, stages, running int) int {
	most := min(stages, running)
	if batches < most && 2*batches > most {
		return most
	}
	return 2 * batches
}

// through is the time of a pass through all stages, and that of the slowest stage alone.
func (f *facts) through(l layout, meshes []mesh, p pass) (all seconds, slowest float64) {
	for s := range l {
		t := f.stageTime(&l[s], p, meshes[s])
		if s > 0 {
			t.hop = f.hop(l[s-1].ranks, l[s].ranks, p)
		}
		slowest = max(slowest, t.sum()-t.hop)
		all = all.plus(t)
	}
	return all, slowest
}

// promptPieceLeast is how many tokens of a prompt the engine gives to a step at least, when it cuts the prompt for several stages.
const promptPieceLeast = 64

// promptPiece is a pass of one of the pieces into which a prompt is cut for so many stages, and how many pieces there are.
func (f *facts) promptPiece(stages int) (p pass, pieces int) {
	whole := f.prompting()
	n := f.problem.Workload.Prompt
	if stages == 1 {
		return whole, 1
	}
	rows := max((n+stages-1)/stages, promptPieceLeast)
	if pieces = (n + rows - 1) / rows; pieces == 1 {
		return whole, 1
	}
	k := float64(pieces)
	return pass{rows: whole.rows / k, kv: whole.kv * (k + 1) / (2 * k), keys: whole.keys / k, logits: 1}, pieces
}

// promptTime is that of one prompt: alone for latency, when its pieces follow each other through the stages, and one of many that do so for
// throughput.
func (f *facts) promptTime(l layout, meshes []mesh, control float64) float64 {
	if f.problem.Workload.Objective == Throughput && len(l) > 1 {
		_, slowest := f.through(l, meshes, f.prompting())
		return slowest + f.problem.Costs.StepS
	}
	p, pieces := f.promptPiece(len(l))
	all, slowest := f.through(l, meshes, p)
	return all.sum() + float64(pieces-1)*slowest + control + f.problem.Costs.StepS
}

// kvTokens is how many tokens of keys and values have room on every rank.
func (f *facts) kvTokens(l layout) float64 {
	tokens := float64(tokensMax)
	for s := range l {
		for _, r := range l[s].ranks {
			if token := float64(l[s].layers*r.heads) * f.sizes.kvHead; token > 0 {
				free := f.machines[r.machine].memory - f.sizes.need(l[s].layers, r, s == 0)
				tokens = min(tokens, f.sizes.kvTokens+max(0, free)/token)
			}
		}
	}
	return tokens
}
