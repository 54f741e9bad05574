package node

import (
	"fmt"
	"math"
	"slices"

	"polynode/cluster"
	"polynode/shard"
)

// What makes a coordinator believe a node's steps more than its facts.
const (
	factorSteps = 32  // of decoding, of each rank
	factorRatio = 1.4 // by which a rank has to be off, against the others
	factorMax   = 64
)

// factor is how much longer a node's steps take than its facts would have it; zero is not known, and as good as 1.
type factor float64

// correct are facts as steps say that they are.
func (f factor) correct(facts cluster.Facts) cluster.Facts {
	if f > 0 {
		facts.BytesPerSecond = max(1, int64(float64(facts.BytesPerSecond)/float64(f)))
		facts.OpsPerSecond = max(1, int64(float64(facts.OpsPerSecond)/float64(f)))
	}
	return facts
}

// rankTime is what computing took a rank for a step, in milliseconds, and what was expected.
type rankTime struct {
	node               shard.NodeID
	measured, expected float64
}

// ratios are how much longer each rank took than expected, against the rank in the middle: what the model of time gets wrong for all alike says
// nothing of a node. Of two ranks the one that is nearer to what was expected is the measure.
func ratios(times []rankTime) map[shard.NodeID]float64 {
	var all []float64
	for _, t := range times {
		all = append(all, t.measured/t.expected)
	}
	slices.Sort(all)
	if len(all) == 0 {
		return nil
	}
	middle := all[(len(all)-1)/2]
	if len(all) == 2 && math.Abs(math.Log(all[1])) < math.Abs(math.Log(all[0])) {
		middle = all[1]
	}
	out := map[shard.NodeID]float64{}
	for _, t := range times {
		out[t.node] = t.measured / t.expected / middle
	}
	return out
}

// judge corrects the factors of nodes whose steps take much longer or shorter than what they say of themselves makes likely.
func (k *known) judge(times []rankTime) (changed []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for node, ratio := range ratios(times) {
		if !(ratio > 0) || ratio < factorRatio && ratio > 1/factorRatio {
			continue
		}
		old := max(float64(k.factors[node]), 0)
		if old == 0 {
			old = 1
		}
		next := factor(min(max(old*ratio, 1./factorMax), factorMax))
		if next == k.factors[node] {
			continue
		}
		k.factors[node] = next
		changed = append(changed, fmt.Sprintf("the steps of node %s take %.1f times as long as its facts would have it", node, float64(next)))
	}
	if len(changed) > 0 {
		slices.Sort(changed)
		k.news(true)
	}
	return changed
}

// factorOf is the correction of a node, 1 where there is none.
func (k *known) factorOf(id shard.NodeID) float64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	if f := float64(k.factors[id]); f > 0 {
		return f
	}
	return 1
}
