package planner

import (
	"fmt"
	"math"

	"polynode/shard"
)

// Validate refuses problems from which no plan can be made, wrapping ErrProblem.
func (p *Problem) Validate() error {
	if len(p.Nodes) == 0 {
		return fmt.Errorf("%w: no nodes", ErrProblem)
	}
	if len(p.Nodes) > NodesMax {
		return fmt.Errorf("%w: %d nodes, limit %d", ErrProblem, len(p.Nodes), NodesMax)
	}
	if err := p.Model.validate(); err != nil {
		return err
	}
	if err := p.Workload.validate(p.Model.Positions); err != nil {
		return err
	}
	if err := p.Costs.validate(); err != nil {
		return err
	}
	if !(p.Gain >= 0 && p.Gain < 1) {
		return fmt.Errorf("%w: gain %v, want 0 or more and below 1", ErrProblem, p.Gain)
	}
	seen := make(map[shard.NodeID]bool, len(p.Nodes))
	for i := range p.Nodes {
		n := &p.Nodes[i]
		if n.ID == "" {
			return fmt.Errorf("%w: node %d has no name", ErrProblem, i)
		}
		if seen[n.ID] {
			return fmt.Errorf("%w: two nodes are called %s", ErrProblem, n.ID)
		}
		seen[n.ID] = true
		if err := n.validate(); err != nil {
			return err
		}
	}
	if p.Coordinator != "" && !seen[p.Coordinator] {
		return fmt.Errorf("%w: coordinator %s is no node", ErrProblem, p.Coordinator)
	}
	return p.Links.validate(seen)
}

func (n *Node) validate() error {
	if n.MemoryBytes < 0 || n.DiskBytes < 0 || n.MemoryBytes > bytesMax || n.DiskBytes > bytesMax {
		return fmt.Errorf("%w: node %s: memory of %d and disk of %d bytes, want 0 to %d", ErrProblem, n.ID, n.MemoryBytes, n.DiskBytes, int64(bytesMax))
	}
	// A witness has nothing to compute with, and need not have been measured.
	if (!positive(n.ReadGBs) || !positive(n.MultiplyGOPs)) && !n.Witness {
		return fmt.Errorf("%w: node %s: reads %v GB/s, multiplies %v GOP/s, want more than 0", ErrProblem, n.ID, n.ReadGBs, n.MultiplyGOPs)
	}
	return nil
}

func (l Links) validate(nodes map[shard.NodeID]bool) error {
	if err := l.Default.validate("the default"); err != nil {
		return err
	}
	for _, pair := range l.Pairs {
		name := fmt.Sprintf("%s to %s", pair.A, pair.B)
		switch {
		case !nodes[pair.A] || !nodes[pair.B]:
			return fmt.Errorf("%w: link %s: no such node", ErrProblem, name)
		case pair.A == pair.B:
			return fmt.Errorf("%w: link %s: to itself", ErrProblem, name)
		}
		if err := pair.Link.validate(name); err != nil {
			return err
		}
	}
	return nil
}

func (l Link) validate(name string) error {
	if l == (Link{}) {
		return nil
	}
	if !(l.RoundTripS >= 0) || math.IsInf(l.RoundTripS, 0) || !positive(l.BytesPerS) {
		return fmt.Errorf("%w: link %s: round trip %v s, %v bytes/s, want a time and more than 0", ErrProblem, name, l.RoundTripS, l.BytesPerS)
	}
	return nil
}

func (m *Model) validate() error {
	if err := m.Shape.Validate(); err != nil {
		return err
	}
	if m.Positions < 1 || m.Positions > tokensMax {
		return fmt.Errorf("%w: %d positions, want 1 to %d", ErrProblem, m.Positions, tokensMax)
	}
	if !positive(m.BytesPerWeight) || !positive(m.BytesPerKV) {
		return fmt.Errorf("%w: %v bytes a weight, %v a key or value, want more than 0", ErrProblem, m.BytesPerWeight, m.BytesPerKV)
	}
	return nil
}

func (w Workload) validate(positions int) error {
	if w.Objective != Latency && w.Objective != Throughput {
		return fmt.Errorf("%w: objective %q, there are %s and %s", ErrProblem, w.Objective, Latency, Throughput)
	}
	for _, count := range []struct {
		name       string
		value, max int
	}{
		{"context", w.Context, positions}, {"sequences", w.Sequences, tokensMax},
		{"prompt", w.Prompt, tokensMax}, {"step tokens", w.StepTokens, tokensMax},
	} {
		if count.value < 1 || count.value > count.max {
			return fmt.Errorf("%w: %s is %d, want 1 to %d", ErrProblem, count.name, count.value, count.max)
		}
	}
	if !(w.PromptShare >= 0) || math.IsInf(w.PromptShare, 0) {
		return fmt.Errorf("%w: prompt share is %v, want 0 or more", ErrProblem, w.PromptShare)
	}
	return nil
}

func (c Costs) validate() error {
	for _, share := range []float64{c.ReadShare, c.KVReadShare, c.MultiplyShare, c.AttentionShare} {
		if !positive(share) {
			return fmt.Errorf("%w: costs %+v: shares have to be more than 0", ErrProblem, c)
		}
	}
	for _, cost := range []float64{c.SumBytes, c.RowBytes, c.MessageS, c.ByteS, c.LayerS, c.StepS} {
		if !(cost >= 0) || math.IsInf(cost, 0) {
			return fmt.Errorf("%w: costs %+v: all have to be 0 or more", ErrProblem, c)
		}
	}
	return nil
}

func positive(v float64) bool { return v > 0 && !math.IsInf(v, 0) }

// Limits of a problem. They keep sums of bytes exact in a float64.
const (
	bytesMax  = 1 << 50
	tokensMax = 1 << 20
)
