package node

import (
	"cmp"
	"fmt"
	"net"
	"slices"
	"strings"

	"polynode/cluster/trust"
	"polynode/configs"
	"polynode/engine"
	"polynode/kernels"
	"polynode/model"
	"polynode/model/demo"
	"polynode/model/store"
	"polynode/shard"
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

	plan *shard.Plan
}

// Info describes the node.
func (n *Node) Info() Info {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.info
}

// describe takes over what is to be said of the service and its plan.
func (n *Node) describe(s *service) {
	config := s.model.Config()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.info.Model = s.name
	n.info.describe(n.config, s.model)
	bytes := int64(0)
	if stage, rank, ok := s.plan.Find(n.self); ok {
		format, err := kernels.ParseKVFormat(n.config.KVFormat)
		share, other := model.ShareOf(s.plan, stage, rank)
		if err == nil && other == nil {
			bytes = int64(s.blocks) * int64(model.CacheBlockBytes(config, share, format))
		}
	}
	n.info.setMemory(n.config, config, bytes, s.blocks-blocksReserved)
	n.info.plan = s.plan
}

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

// Status is what /cluster/v1/status says of the cluster and its plan.
type Status struct {
	Node        string       `json:"node"`
	Coordinator string       `json:"coordinator"`
	Epoch       uint64       `json:"epoch"`
	Plan        any          `json:"plan"`
	Nodes       []StatusNode `json:"nodes"`
	Threads     int          `json:"threads"`
	Kernels     string       `json:"kernels"`
	Model       StatusModel  `json:"model"`
	KV          StatusKV     `json:"kv"`
	Clamps      int64        `json:"clamped_leaves"` // anything but zero means lost accuracy
}

// StatusNode describes a node in a Status.
type StatusNode struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Role    string `json:"role"`
	Phase   string `json:"phase"`
	Alive   bool   `json:"alive"` // as the coordinator sees it
	Votes   bool   `json:"votes"`
	Address string `json:"address,omitempty"`
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

// Status describes the cluster as this node sees it, and the plan that it works in.
func (n *Node) Status() Status {
	info := n.Info()
	leader, _ := n.cluster.Leader()
	status := Status{
		Node: info.Node, Coordinator: string(leader), Nodes: n.statusNodes(), Threads: info.Threads, Kernels: info.Kernels,
		KV: StatusKV{info.KVFormat, int64(info.KVBytes), info.KVTokens}, Clamps: n.rank.Clamps(),
	}
	status.Model = StatusModel{Name: info.Model, Parameters: info.Parameters, Bytes: int64(info.WeightBytes), Format: info.Format, Synthetic: info.Synthetic}
	if info.plan != nil {
		status.Epoch, status.Plan, status.Model.Digest = uint64(info.plan.Epoch), info.plan, info.plan.Model
	}
	return status
}

// statusNodes lists the nodes by id.
func (n *Node) statusNodes() []StatusNode {
	voters, _ := n.cluster.Voters()
	var nodes []StatusNode
	for id, node := range n.cluster.State().Nodes {
		role := node.Role
		if role == "" {
			role = trust.Worker
		}
		nodes = append(nodes, StatusNode{
			ID: string(id), Name: node.Name, Role: string(role), Phase: string(node.Phase),
			Alive: n.alive(id), Votes: slices.Contains(voters, id), Address: node.Address,
		})
	}
	slices.SortFunc(nodes, func(a, b StatusNode) int { return cmp.Compare(a.ID, b.ID) })
	return nodes
}
