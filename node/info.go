package node

import (
	"fmt"
	"net"
	"strings"

	"polynode/configs"
	"polynode/engine"
	"polynode/kernels"
	"polynode/model"
	"polynode/model/demo"
	"polynode/model/store"
)

// Info is what a person wants to know of a node that just started.
type Info struct {
	Node      string
	URL       string // of the HTTP endpoint, without a slash at the end; empty without a port
	Threads   int
	Kernels   string // tier
	NeedsKey  bool
	Model     string
	Synthetic bool

	Parameters  int64
	WeightBytes configs.Bytes
	Format      string // of the weights
	Context     int    // tokens
	KVFormat    string
	KVBytes     configs.Bytes
	KVTokens    int // how many tokens fit into KVBytes

	ExamplePrompt string
}

// Info describes the node.
func (n *Node) Info() Info { return n.info }

func (i *Info) setMemory(settings configs.Config, config model.Config, bytes int64, blocks int) {
	i.KVFormat, i.KVBytes, i.KVTokens = settings.KVFormat, configs.Bytes(bytes), blocks*engine.BlockTokens
	i.Context, i.Parameters = config.Positions, config.Parameters()
}

func (i *Info) describe(settings configs.Config, m *store.Model) {
	i.Node, i.Threads, i.Kernels, i.NeedsKey = settings.Name, settings.Threads, kernels.Active().String(), len(settings.APIKeys) > 0
	i.Synthetic, i.WeightBytes, i.Format = m.Synthetic(), configs.Bytes(m.Size()), m.Manifest().Tensors[0].FormatName()
	i.ExamplePrompt = "Beijing is the capital of China.\\nTranslate this sentence from English to Chinese."
	if settings.Model == "" {
		i.ExamplePrompt = demo.Prompt
	}
}

// setAddress makes the URL of an address that was really opened. An unspecified host is shown as localhost.
func (i *Info) setAddress(address net.Addr) {
	host, port, err := net.SplitHostPort(address.String())
	if err != nil {
		return
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	i.URL = "http://" + net.JoinHostPort(host, port)
}

// ParametersText is the number of parameters in thousands of millions or in millions.
func (i Info) ParametersText() string {
	if i.Parameters >= 1e9 {
		return strings.TrimSuffix(fmt.Sprintf("%.1f", float64(i.Parameters)/1e9), ".0") + " B"
	}
	return fmt.Sprintf("%.1f M", float64(i.Parameters)/1e6)
}

// AuthHint is what a curl line needs to be let in.
func (i Info) AuthHint() string {
	if !i.NeedsKey {
		return ""
	}
	return " -H 'Authorization: Bearer YOUR-KEY'"
}

// Status is what /cluster/v1/status says of the plan.
type Status struct {
	Node    string      `json:"node"`
	Epoch   uint64      `json:"epoch"`
	Plan    any         `json:"plan"`
	Threads int         `json:"threads"`
	Kernels string      `json:"kernels"`
	Model   StatusModel `json:"model"`
	KV      StatusKV    `json:"kv"`
	Clamps  int64       `json:"clamped_leaves"` // anything but zero means lost accuracy
}

// StatusModel describes the model in a Status.
type StatusModel struct {
	Name       string `json:"name"`
	Digest     string `json:"digest"`
	Parameters int64  `json:"parameters"`
	Bytes      int64  `json:"bytes"`
	Format     string `json:"format"`
	Synthetic  bool   `json:"synthetic"`
}

// StatusKV describes the memory for keys and values in a Status.
type StatusKV struct {
	Format string `json:"format"`
	Bytes  int64  `json:"bytes"`
	Tokens int    `json:"tokens"`
}

// Status describes the plan that the node works in.
func (n *Node) Status() Status {
	plan := n.pipeline.Plan()
	return Status{
		Node: n.info.Node, Epoch: uint64(plan.Epoch), Plan: plan, Threads: n.info.Threads, Kernels: n.info.Kernels,
		Model:  StatusModel{n.info.Model, n.model.Digest().String(), n.info.Parameters, int64(n.info.WeightBytes), n.info.Format, n.info.Synthetic},
		KV:     StatusKV{n.info.KVFormat, int64(n.info.KVBytes), n.info.KVTokens},
		Clamps: n.worker.Clamps(),
	}
}
