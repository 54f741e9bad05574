package planner

import (
	"cmp"
	"math"
	"slices"

	"polynode/shard"
)

// machine is a usable node in the units that times are computed in.
type machine struct {
	id      shard.NodeID
	node    int     // in Problem.Nodes
	memory  float64 // bytes
	readS   float64 // seconds for a byte of weights
	kvS     float64 // for a byte of keys and values
	opS     float64 // for an operation of a product
	attendS float64 // for an operation of attention
}

// facts are the usable machines of one numeric class and their links, in an order that does not depend on how the
// problem lists them: fast machines first.
type facts struct {
	problem  *Problem
	machines []machine
	delay    []float64 // (n, n) seconds one way; infinite where there is no link
	byteS    []float64 // (n, n) seconds a byte, the sender's and the receiver's work included
	handOut  []float64 // (n) seconds one way from the coordinator; nil if it is not known
	headUnit int       // heads between two borders
	inUnit   int       // FFN columns between two borders
	voUnit   int       // vocabulary rows between two borders
	sizes    sizes
}

// usable says whether a node may compute.
func (n *Node) usable() bool { return !n.Witness && !n.Draining && !n.Unreachable }

// classes lists the numeric classes of usable nodes in order of name.
func (p *Problem) classes() []string {
	var classes []string
	for i := range p.Nodes {
		if p.Nodes[i].usable() {
			classes = append(classes, p.Nodes[i].Class)
		}
	}
	slices.Sort(classes)
	return slices.Compact(classes)
}

// newFacts prepares the usable nodes of a class.
func newFacts(p *Problem, class string) *facts {
	return factsOf(p, func(n *Node) bool { return n.usable() && n.Class == class })
}

// factsOf prepares the nodes that may be used.
func factsOf(p *Problem, use func(*Node) bool) *facts {
	shape := p.Model.Shape
	f := &facts{problem: p, headUnit: shape.HeadUnit(), inUnit: shape.InnerUnit(), voUnit: shape.VocabUnit(), sizes: sizesOf(p)}
	for i := range p.Nodes {
		n := &p.Nodes[i]
		if !use(n) {
			continue
		}
		f.machines = append(f.machines, machine{
			id: n.ID, node: i, memory: float64(n.MemoryBytes),
			readS:   1 / (n.ReadGBs * 1e9 * p.Costs.ReadShare),
			kvS:     1 / (n.ReadGBs * 1e9 * p.Costs.KVReadShare),
			opS:     1 / (n.MultiplyGOPs * 1e9 * p.Costs.MultiplyShare),
			attendS: 1 / (n.MultiplyGOPs * 1e9 * p.Costs.AttentionShare),
		})
	}
	slices.SortFunc(f.machines, func(a, b machine) int {
		return cmp.Or(cmp.Compare(a.readS, b.readS), cmp.Compare(a.opS, b.opS), cmp.Compare(b.memory, a.memory), cmp.Compare(a.id, b.id))
	})
	f.link()
	return f
}

// link fills in the links between the machines and to the coordinator.
func (f *facts) link() {
	n, links := len(f.machines), &f.problem.Links
	f.delay, f.byteS = make([]float64, n*n), make([]float64, n*n)
	delay, byteS := f.linkCost(links.Default)
	at := make(map[shard.NodeID]int, n) // only looked up
	for i, m := range f.machines {
		at[m.id] = i
		for j := range n {
			if i != j {
				f.delay[i*n+j], f.byteS[i*n+j] = delay, byteS
			}
		}
	}
	if _, ok := at[f.problem.Coordinator]; f.problem.Coordinator != "" || ok {
		f.handOut = slices.Repeat([]float64{delay}, n)
		if ok {
			f.handOut[at[f.problem.Coordinator]] = 0
		}
	}
	for _, pair := range links.Pairs {
		delay, byteS := f.linkCost(pair.Link)
		i, okA := at[pair.A]
		j, okB := at[pair.B]
		if okA && okB {
			f.delay[i*n+j], f.byteS[i*n+j] = delay, byteS
			f.delay[j*n+i], f.byteS[j*n+i] = delay, byteS
		}
		if okA && pair.B == f.problem.Coordinator {
			f.handOut[i] = delay
		}
		if okB && pair.A == f.problem.Coordinator {
			f.handOut[j] = delay
		}
	}
}

// linkCost is what a link costs: seconds one way, and seconds a byte.
func (f *facts) linkCost(l Link) (delay, byteS float64) {
	if l == (Link{}) {
		return math.Inf(1), math.Inf(1)
	}
	return l.RoundTripS / 2, 1/l.BytesPerS + f.problem.Costs.ByteS
}

// sizes are the bytes that shares take. What a rank needs is a sum of so many of each.
type sizes struct {
	base      float64 // of any rank
	baseFirst float64 // of a rank of the first stage, in addition
	headLayer float64 // a head of a layer: its weights, and keys and values of a full context
	inLayer   float64 // an FFN column of a layer
	inOnce    float64 // an FFN column, in buffers, whatever the number of layers
	vocab     float64 // a row of the head
	kvHead    float64 // keys and values of one token of a head of a layer
	kvTokens  float64 // tokens of a full context
}

// kvSlack is the room for keys and values beside one full context: a block for probes and one begun.
const kvSlack = 32

func sizesOf(p *Problem) sizes {
	m, tokens := &p.Model, float64(p.Workload.StepTokens)
	embed, dim := float64(m.Shape.Embed()), float64(m.Shape.HeadDim)
	s := sizes{
		base:      4*8*tokens*embed + 64, // residual streams, activations and sums of a step; and rounding
		baseFirst: 4 * float64(m.Positions) * embed,
		inLayer:   2 * embed * m.BytesPerWeight,
		inOnce:    4 * 3 * tokens,
		vocab:     embed*m.BytesPerWeight + 4*64, // and logits of a few rows
		kvHead:    2 * dim * m.BytesPerKV,
		kvTokens:  float64(m.Positions + kvSlack),
	}
	s.headLayer = 4*dim*embed*m.BytesPerWeight + s.kvHead*s.kvTokens
	return s
}

// need is what a rank takes of its node's memory.
func (s *sizes) need(layers int, r rank, first bool) float64 {
	base := s.base
	if first {
		base += s.baseFirst
	}
	return base + float64(layers*r.heads)*s.headLayer + float64(r.inner)*(float64(layers)*s.inLayer+s.inOnce) + float64(r.vocab)*s.vocab
}
