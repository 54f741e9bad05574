package node

import (
	"github.com/prometheus/client_golang/prometheus"

	"polynode/engine/worker"
)

// clusterCollector reads the cluster's figures, and those of the coordinator's rank, when they are asked for.
type clusterCollector struct{ node *Node }

var _ prometheus.Collector = clusterCollector{}

var (
	nodesKnown = prometheus.NewDesc("polynode_nodes", "Nodes of the cluster, by whether they are here.", []string{"alive"}, nil)
	planEpoch  = prometheus.NewDesc("polynode_plan_epoch", "Epoch of the active plan; it grows with every plan.", nil, nil)
	planNodes  = prometheus.NewDesc("polynode_plan_nodes", "Nodes that compute in the active plan.", nil, nil)
)

// rankFigure is something that the coordinator's rank counts.
type rankFigure struct {
	desc  *prometheus.Desc
	value func(*worker.Usage) float64
}

// rankFigures are all of them.
var rankFigures = []rankFigure{
	rankCounter("step_seconds_total", "Time that the coordinator's rank spent in steps.", func(u *worker.Usage) float64 { return u.Time.Seconds() }),
	rankCounter("waiting_seconds_total", "Part of that in which it waited for other ranks or for the network to take what it sent.",
		func(u *worker.Usage) float64 { return (u.Traffic.Waiting + u.Traffic.Sending).Seconds() }),
	rankCounter("sent_bytes_total", "Bytes that it sent to other ranks in steps.", func(u *worker.Usage) float64 { return float64(u.Traffic.BytesSent) }),
	rankCounter("received_bytes_total", "Bytes that it received from them.", func(u *worker.Usage) float64 { return float64(u.Traffic.BytesReceived) }),
	rankCounter("sent_frames_total", "Messages that it sent to them.", func(u *worker.Usage) float64 { return float64(u.Traffic.FramesSent) }),
}

func rankCounter(name, help string, value func(*worker.Usage) float64) rankFigure {
	return rankFigure{prometheus.NewDesc("polynode_rank_"+name, help, nil, nil), value}
}

// Describe implements prometheus.Collector.
func (c clusterCollector) Describe(to chan<- *prometheus.Desc) {
	to <- nodesKnown
	to <- planEpoch
	to <- planNodes
	for _, f := range rankFigures {
		to <- f.desc
	}
}

// Collect implements prometheus.Collector.
func (c clusterCollector) Collect(to chan<- prometheus.Metric) {
	n := c.node
	state := n.cluster.State()
	alive := 0
	for id := range state.Nodes {
		if n.alive(id) {
			alive++
		}
	}
	to <- prometheus.MustNewConstMetric(nodesKnown, prometheus.GaugeValue, float64(alive), "true")
	to <- prometheus.MustNewConstMetric(nodesKnown, prometheus.GaugeValue, float64(len(state.Nodes)-alive), "false")
	if plan := n.Info().plan; plan != nil {
		to <- prometheus.MustNewConstMetric(planEpoch, prometheus.GaugeValue, float64(plan.Epoch))
		to <- prometheus.MustNewConstMetric(planNodes, prometheus.GaugeValue, float64(len(plan.Nodes())))
	}
	usage := n.rank.Usage()
	for _, f := range rankFigures {
		to <- prometheus.MustNewConstMetric(f.desc, prometheus.CounterValue, f.value(&usage))
	}
}
