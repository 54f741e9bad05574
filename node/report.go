package node

import (
	"encoding/json"
	"net/http"
	"time"

	"polynode/cluster"
	"polynode/engine/worker"
	"polynode/shard"
	"polynode/shard/planner"
)

// reportPath is where a coordinator asks a node how it is.
const reportPath = "/node/v1/report"

// reportWish is what a coordinator wants to know.
type reportWish struct {
	Model string `json:"model"` // digest of the model that is served; empty if there is none
}

// nodeReport is what a node measured of itself and its links.
type nodeReport struct {
	Started int64                      `json:"started"` // when its process began; nanoseconds since 1970
	Facts   cluster.Facts              `json:"facts"`   // as they are now
	Links   map[shard.NodeID]LinkFacts `json:"links"`
	Model   string                     `json:"model"`      // that the coordinator asked about
	Holds   []planner.Holding          `json:"holds"`      // of the model, checked
	Bytes   int64                      `json:"bytes"`      // of the model on its disk
	Disk    int64                      `json:"disk_bytes"` // that slices of the model may take in all; 0 where that is not known
	Fetch   *FetchStatus               `json:"fetch,omitempty"`
	Spares  string                     `json:"spares,omitempty"` // why spare slices could not be had
	Decoded worker.Decoded             `json:"decoded"`
}

// LinkFacts are what a node measured of its way to another one.
type LinkFacts struct {
	RoundTripUS    float64 `json:"round_trip_us"`
	BytesPerSecond int64   `json:"bytes_per_second,omitempty"` // 0 where it is the other one's turn to measure, or was not measured yet
}

// FetchStatus is how far a fetch of slices is.
type FetchStatus struct {
	Done           int64   `json:"done_bytes"` // of Total, those that were here before included
	Total          int64   `json:"total_bytes"`
	BytesPerSecond float64 `json:"bytes_per_second"`
	Spare          bool    `json:"spare"` // in the background, for the day when another node dies
}

// diskReserve is the part of a disk's free room that slices never take, beside diskReserveBytes.
const (
	diskReserve      = 0.1
	diskReserveBytes = 1 << 30
)

// reportNow is this node's report.
func (n *Node) reportNow(wish reportWish) nodeReport {
	report := nodeReport{
		Started: n.started.UnixNano(), Facts: n.facts.now(), Links: map[shard.NodeID]LinkFacts{}, Decoded: n.rank.Decoded(), Spares: n.keeper.complaint(),
	}
	if n.prober != nil {
		for peer, link := range n.prober.Links() {
			report.Links[shard.NodeID(peer)] = LinkFacts{float64(link.RoundTrip.Nanoseconds()) / 1e3, link.BytesPerSecond}
		}
	}
	plans, spares := n.models.fetched()
	for _, p := range []struct {
		progress
		spare bool
	}{{spares, true}, {plans, false}} {
		if p.running {
			report.Fetch = &FetchStatus{p.done, p.total, p.rate(time.Now()), p.spare}
		}
	}
	if wish.Model == "" {
		return report
	}
	held := n.holdings.of(wish.Model, n.models.peek)
	report.Model, report.Holds, report.Bytes, report.Disk = wish.Model, held.holds, held.bytes, held.room
	return report
}

// serveReport answers a coordinator. Only nodes of the cluster can call.
func (n *Node) serveReport(w http.ResponseWriter, r *http.Request) {
	var wish reportWish
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, askMax)).Decode(&wish); err != nil {
		http.Error(w, "the question cannot be read: "+err.Error(), http.StatusBadRequest)
		return
	}
	text, err := json.Marshal(n.reportNow(wish))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_, _ = w.Write(text)
}
