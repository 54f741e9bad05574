package node

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"

	"polynode/configs"
	"polynode/kernels"
	"polynode/model"
	"polynode/model/store"
	"polynode/shard"
	"polynode/shard/planner"
)

// What the planner says, under the node's roof for the verbs.
type (
	PlanReport     = planner.Report
	PlanTerms      = planner.Terms
	PlanPrediction = planner.Prediction
	PlanSpares     = planner.Spares
)

// ErrNoPlan reports that a model fits into no combination of the nodes; the text says how much is missing.
var ErrNoPlan = planner.ErrNoPlan

// WhatIf is what a plan may be made for besides what the cluster file says.
type WhatIf struct {
	Model     string // preset or imported model; empty is what the file says, or the 13B
	Quant     string // of a preset; empty is what the file says, or q4
	KVFormat  string // empty is what the file says, or f16
	Objective string // empty is what the file says, or latency
	Data      string // folder of imported models
}

// WhatIfReport is the plan for a cluster that one may not have.
type WhatIfReport struct {
	Title     string     `json:"title,omitempty"`
	Model     string     `json:"model"`
	Quant     string     `json:"quant"`
	KVFormat  string     `json:"kv_format"`
	Context   int        `json:"context"` // that a decoded token looks back on
	Nodes     int        `json:"nodes"`
	Bytes     int64      `json:"weight_bytes"`
	Positions int        `json:"positions"`
	Report    PlanReport `json:"report"`
	Spares    PlanSpares `json:"spares"` // the zero value without a plan
}

// PlanWhatIf plans for the cluster of a file. Without a plan the report still tells of every node why, and the error wraps ErrNoPlan.
func PlanWhatIf(cluster configs.Cluster, options WhatIf) (WhatIfReport, error) {
	pick := func(values ...string) string {
		for _, v := range values {
			if v != "" {
				return v
			}
		}
		return ""
	}
	report := WhatIfReport{
		Title: cluster.Title, Nodes: len(cluster.Nodes), Model: pick(options.Model, cluster.Model, "polylm-13b"),
		Quant: pick(options.Quant, cluster.Quant, kernels.Q4.String()), KVFormat: pick(options.KVFormat, cluster.KVFormat, kernels.KVF16.String()),
	}
	described, err := whatIfModel(&report, options.Data)
	if err != nil {
		return report, err
	}
	problem := planner.Problem{
		Model: described, Costs: planner.DefaultCosts(), Gain: planner.GainDefault, Coordinator: shard.NodeID(cluster.Coordinator),
		Workload: planner.DefaultWorkload(planner.Objective(pick(options.Objective, cluster.Objective, string(planner.Latency)))),
	}
	w := &problem.Workload
	for _, wish := range []struct {
		to    *int
		value int
	}{{&w.Context, cluster.Context}, {&w.Sequences, cluster.Sequences}, {&w.Prompt, cluster.Prompt}} {
		if wish.value > 0 {
			*wish.to = wish.value
		}
	}
	if w.Objective == planner.Latency {
		w.Sequences = 1
	}
	w.Context = min(w.Context, described.Positions)
	report.Context, report.Positions = w.Context, described.Positions
	addCluster(&problem, cluster)
	report.Bytes = shard.Solo("", described.Shape, "").WeightBytes(described.Shape, 0, 0, described.BytesPerWeight)
	report.Report, err = planner.Plan(problem)
	if err != nil {
		return report, fmt.Errorf("plan %s: %w", report.Model, err)
	}
	report.Spares, err = planner.PlaceSpares(problem, report.Report.Plan)
	return report, err
}

// addCluster copies what the file says of nodes and links.
func addCluster(problem *planner.Problem, cluster configs.Cluster) {
	for _, n := range cluster.Nodes {
		problem.Nodes = append(problem.Nodes, planner.Node{
			ID: shard.NodeID(n.Name), MemoryBytes: int64(n.Memory), DiskBytes: int64(n.Disk), ReadGBs: n.ReadGBs, MultiplyGOPs: n.MultiplyGOPs,
			Class: n.Class, Witness: n.Witness, Draining: n.Draining,
		})
	}
	link := func(l configs.ClusterLink) planner.Link {
		return planner.Link{RoundTripS: l.RoundTrip.Seconds(), BytesPerS: l.BytesPerS}
	}
	problem.Links.Default = link(cluster.Link)
	for _, pair := range cluster.Links {
		problem.Links.Pairs = append(problem.Links.Pairs, planner.Pair{
			A: problem.Nodes[pair.A].ID, B: problem.Nodes[pair.B].ID, Link: link(pair.Link),
		})
	}
}

// whatIfModel describes a preset in a format, or an imported model as it is.
func whatIfModel(report *WhatIfReport, data string) (planner.Model, error) {
	kv, err := kernels.ParseKVFormat(report.KVFormat)
	if err != nil {
		return planner.Model{}, fmt.Errorf("%w: %w", configs.ErrInvalid, err)
	}
	preset, presetErr := configs.FindPreset(report.Model)
	if presetErr == nil {
		format, err := kernels.ParseFormat(report.Quant)
		if err != nil {
			return planner.Model{}, fmt.Errorf("%w: %w", configs.ErrInvalid, err)
		}
		config := presetConfig(preset, preset.Vocab)
		perWeight := float64(format.BlockBytes()) / (kernels.PanelRows * kernels.BlockK)
		return plannerModel(preset.Name, config, store.LeafFor(config), perWeight, kv), nil
	}
	if _, err := os.Stat(filepath.Join(data, "models")); err != nil {
		return planner.Model{}, presetErr // nothing was ever imported
	}
	m, _, err := openModel(configs.Config{Model: report.Model, Data: data})
	if errors.Is(err, store.ErrNotFound) {
		return planner.Model{}, fmt.Errorf("%w; and %s has no model of that name", presetErr, data)
	}
	if err != nil {
		return planner.Model{}, err
	}
	described, format := packedModel(m, kv)
	report.Quant = format
	return described, m.Close()
}

// packedModel describes an imported model to the planner, and names the format of its weights.
func packedModel(m *store.Model, kv kernels.KVFormat) (described planner.Model, format string) {
	var bytes, weights float64
	manifest := m.Manifest()
	for i := range manifest.Tensors {
		if t := &manifest.Tensors[i]; t.Format != store.Plain {
			bytes += float64(t.Bytes)
			weights += float64(t.Rows) * float64(t.K)
		}
	}
	return plannerModel(m.Digest().String(), m.Config(), m.Leaf(), bytes/weights, kv), manifest.Tensors[0].FormatName()
}

func plannerModel(digest string, config model.Config, leaf int, perWeight float64, kv kernels.KVFormat) planner.Model {
	return planner.Model{
		Digest: digest, Positions: config.Positions, BytesPerWeight: perWeight, Tied: config.TiedHead,
		BytesPerKV: float64(kv.VectorBytes(config.HeadDim())) / math.Max(1, float64(config.HeadDim())),
		Shape: shard.Shape{
			Layers: config.Layers, Heads: config.Heads, HeadDim: config.HeadDim(), Inner: config.Inner, Vocab: config.Vocab,
			Leaf: leaf, PanelRows: kernels.PanelRows,
		},
	}
}
