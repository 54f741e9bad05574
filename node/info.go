package node

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"

	"polynode/cluster"
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

	Nodes       int    // of the cluster, this one included
	Coordinator string // what the node is called that coordinates; empty while there is none
	Coordinates bool   // that is this node
	Founded     bool   // this node made the cluster when it started
	Address     string // for other nodes; empty for a node that nobody can join
	Placed      bool   // this node has a place in the active plan
	Place       string // which, in words
	Trouble     string // why there is no plan to serve with; empty if there is, or if another node knows

	plan *shard.Plan
}

// Info describes the node.
func (n *Node) Info() Info {
	n.mu.Lock()
	info := n.info
	n.mu.Unlock()
	info.Node, info.Threads, info.Kernels, info.NeedsKey = n.config.Name, n.config.Threads, kernels.Active().String(), len(n.config.APIKeys) > 0
	if n.cluster == nil {
		return info
	}
	state := n.cluster.State()
	leader, _ := n.cluster.Leader()
	info.Nodes, info.Coordinates, info.Founded = len(state.Nodes), leader == n.self, n.founded
	info.Coordinator, info.Trouble = state.Nodes[leader].Name, n.troubled()
	for id, node := range state.Nodes {
		info.Trouble = strings.ReplaceAll(info.Trouble, string(id), node.Name)
	}
	if n.member != nil {
		info.Address = n.member.Network().Address().String()
	}
	if state.Plan != nil && !info.Coordinates { // the coordinator says itself what it serves
		info.Model = state.Models[state.Plan.Model].Name
	}
	if place := placeOf(state.Plan, n.self); place != nil {
		info.Placed, info.Place = true, place.String()
	}
	return info
}

// String is a place in words.
func (p *StatusPlace) String() string {
	return fmt.Sprintf("stage %d: layers %d to %d, %d heads of each", p.Stage, p.Layers.Lo, p.Layers.Hi-1, p.Heads.Len())
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
	Tolerance   *int         `json:"fault_tolerance,omitempty"` // how many nodes may die and leave a plan that needs no transfer; absent if not known
	ToleranceBy string       `json:"fault_tolerance_reason,omitempty"`
	Trouble     string       `json:"trouble,omitempty"` // why there is no plan that suits the nodes that are here
	Threads     int          `json:"threads"`
	Kernels     string       `json:"kernels"`
	Model       StatusModel  `json:"model"`
	Change      *ModelChange `json:"model_change,omitempty"` // that is under way, or failed last
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

	Coordinator bool          `json:"coordinator"`
	Place       *StatusPlace  `json:"place,omitempty"` // in the active plan
	Facts       cluster.Facts `json:"facts"`

	Links  []StatusLink `json:"links,omitempty"`         // to the other nodes, as measured
	Slices int64        `json:"slice_bytes"`             // of the model on its disk
	Fetch  *FetchStatus `json:"fetch,omitempty"`         // while slices are on their way to it
	Spares string       `json:"spare_trouble,omitempty"` // why it could not get spare slices
}

// StatusLink is what was measured between a node and another one.
type StatusLink struct {
	Node string `json:"node"`
	LinkFacts
}

// reported fills in what the node said last.
func (s *StatusNode) reported(report nodeReport) {
	s.Facts, s.Slices, s.Fetch, s.Spares = report.Facts, report.Bytes, report.Fetch, report.Spares
	for _, peer := range slices.Sorted(maps.Keys(report.Links)) {
		s.Links = append(s.Links, StatusLink{string(peer), report.Links[peer]})
	}
}

// StatusPlace is what a node holds in the active plan.
type StatusPlace struct {
	Stage  int         `json:"stage"`
	Rank   int         `json:"rank"`
	Layers shard.Slice `json:"layers"`
	Heads  shard.Slice `json:"heads"`
	Inner  shard.Slice `json:"inner"`
	Vocab  shard.Slice `json:"vocab"`
}

// placeOf is the place of a node in a plan, nil if it has none.
func placeOf(plan *shard.Plan, id shard.NodeID) *StatusPlace {
	if plan == nil {
		return nil
	}
	stage, rank, there := plan.Find(id)
	if !there {
		return nil
	}
	r := plan.Stages[stage].Group[rank]
	return &StatusPlace{stage, rank, plan.Stages[stage].Layers, r.Heads, r.Inner, r.Vocab}
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
	status.Trouble = n.troubled()
	if change := n.lastChange(); change != nil && change.Stage != changeDone {
		status.Change = change
	}
	status.Tolerance, status.ToleranceBy = n.tolerance(info.plan)
	return status
}

// addressOf is where a node is, as far as this one knows.
func (n *Node) addressOf(node cluster.Node) string {
	if n.member != nil {
		if address, known := n.member.Members().Resolve(string(node.ID)); known {
			return address.String()
		}
	}
	return node.Address
}

// statusNode describes one node; the zero value if it is not known.
func (n *Node) statusNode(id shard.NodeID) StatusNode {
	for _, node := range n.statusNodes() {
		if node.ID == string(id) {
			return node
		}
	}
	return StatusNode{}
}

// statusNodes lists the nodes by id.
func (n *Node) statusNodes() []StatusNode {
	voters, _ := n.cluster.Voters()
	state := n.cluster.State()
	leader, _ := n.cluster.Leader()
	nodes := []StatusNode{}
	for id, node := range state.Nodes {
		role := node.Role
		if role == "" {
			role = trust.Worker
		}
		nodes = append(nodes, StatusNode{
			ID: string(id), Name: node.Name, Role: string(role), Phase: string(node.Phase),
			Alive: n.alive(id), Votes: slices.Contains(voters, id), Address: n.addressOf(node),
			Coordinator: id == leader, Place: placeOf(state.Plan, id), Facts: node.Facts,
		})
	}
	for i := range nodes {
		if report, there := n.known.report(shard.NodeID(nodes[i].ID)); there {
			nodes[i].reported(report)
		}
	}
	slices.SortFunc(nodes, func(a, b StatusNode) int { return cmp.Compare(a.ID, b.ID) })
	return nodes
}
