package node

import (
	"context"
	"time"

	"polynode/model/fetch"
)

// Times of pacing.
const (
	pacePause = 250 * time.Millisecond // between two looks at what the rank does
	quietWait = 2 * time.Second        // after the last step until the node counts as idle
)

// Parts of a link that weights may take while steps run: little where steps need the network themselves. Without steps the next plan's
// weights take all there is, because nobody else waits; spares have time.
const (
	linkBytesDefault = 117e6 // bytes a second of 1 Gbit/s, where nothing was measured
	paceLeast        = 1e6   // bytes a second that are never too much
)

// load is what a node is busy with.
type load int

const (
	idle      load = iota
	computing      // steps that need no other node
	talking        // steps with other ranks
)

// shares of a link, by load.
var (
	planShare  = [...]float64{idle: 0, computing: 0.75, talking: 0.25} // 0 is no limit
	spareShare = [...]float64{idle: 0.5, computing: 0.25, talking: 0.06}
)

// pacer keeps weights out of the way of steps.
type pacer struct {
	plans  *fetch.Pace // for what the next plan needs
	spares *fetch.Pace
	given  *fetch.Pace // to other nodes
}

func newPacer() *pacer {
	return &pacer{plans: fetch.NewPace(0), spares: fetch.NewPace(int64(spareShare[idle] * linkBytesDefault)), given: fetch.NewPace(0)}
}

// set paces for a load, over links of so many bytes a second.
func (p *pacer) set(now load, linkBytes float64) {
	rate := func(share float64) int64 {
		if share == 0 {
			return 0
		}
		return int64(max(share*linkBytes, paceLeast))
	}
	p.plans.Set(rate(planShare[now]))
	p.given.Set(rate(planShare[now]))
	p.spares.Set(rate(spareShare[now]))
}

// pace sets the pace by what the rank does, until ctx ends.
func (n *Node) pace(ctx context.Context) {
	ticker := time.NewTicker(pacePause)
	defer ticker.Stop()
	var look loadWatch
	for {
		now := look.at(time.Now(), n.rank.Usage())
		n.load.Store(int32(now))
		n.pacer.set(now, n.linkBytes())
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// linkBytes is what the best link of this node lets through, in bytes a second.
func (n *Node) linkBytes() float64 {
	best := int64(0)
	if n.prober != nil {
		for _, link := range n.prober.Links() {
			best = max(best, link.BytesPerSecond)
		}
	}
	if best == 0 {
		return linkBytesDefault
	}
	return float64(best)
}
