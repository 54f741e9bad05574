package configs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// ClusterNodesMax is the most nodes that a cluster file may describe.
const ClusterNodesMax = 1000

// Cluster is a cluster that one may not have, for `polynode plan --what-if`. Values that the file does not give are zero.
type Cluster struct {
	Title       string
	Model       string // preset or imported model
	Quant       string // format of a preset's weights
	KVFormat    string
	Objective   string
	Context     int // tokens that a decoded token looks back on
	Sequences   int
	Prompt      int // tokens of a prompt
	Coordinator string
	Nodes       []ClusterNode
	Link        ClusterLink   // of pairs that Links does not name
	Links       []ClusterPair // later ones count
}

// ClusterNode is one node; an entry with a count has become so many.
type ClusterNode struct {
	Name         string
	Memory       Bytes // that a model may use
	Disk         Bytes // 0 is enough for everything
	ReadGBs      float64
	MultiplyGOPs float64
	Class        string
	Witness      bool
	Draining     bool
	Line         int // in the file
}

// ClusterLink is a link; the zero value is none.
type ClusterLink struct {
	RoundTrip time.Duration
	BytesPerS float64
}

// ClusterPair is the link of two nodes, by index.
type ClusterPair struct {
	A, B int
	Link ClusterLink
}

// ReadCluster reads a cluster file. All mistakes come back together, each with file, line and key, wrapping ErrInvalid.
func ReadCluster(path string) (Cluster, error) {
	file, err := os.Open(path)
	if err != nil {
		return Cluster{}, fmt.Errorf("open cluster file: %w", err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, FileMax+1))
	if err != nil {
		return Cluster{}, fmt.Errorf("read cluster file %s: %w", path, err)
	}
	if len(data) > FileMax {
		return Cluster{}, fmt.Errorf("read cluster file %s: %w: larger than %d bytes", path, ErrInvalid, FileMax)
	}
	return ParseCluster(path, data)
}

// ParseCluster reads the text of a cluster file; path is what errors call it.
func ParseCluster(path string, data []byte) (Cluster, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(data, &document); err != nil {
		return Cluster{}, fmt.Errorf("%w: file %s: %w", ErrInvalid, path, err)
	}
	r := &clusterReader{path: path, members: map[string][]int{}, names: map[string]int{}}
	if len(document.Content) == 0 {
		r.wrong(1, "the file", errors.New("is empty; it needs at least nodes"))
		return r.cluster, errors.Join(r.errs...)
	}
	r.read(document.Content[0])
	return r.cluster, errors.Join(r.errs...)
}

// clusterReader collects a cluster and what is wrong with it.
type clusterReader struct {
	path    string
	cluster Cluster
	members map[string][]int // nodes by their own name, that of their entry and that of their site
	names   map[string]int   // the line that a node's name came from
	errs    []error
}

func (r *clusterReader) wrong(line int, key string, err error) {
	r.errs = append(r.errs, fmt.Errorf("%w: file %s line %d: %s: %w", ErrInvalid, r.path, line, key, err))
}

// field reads one value of a mapping.
type field struct {
	key string
	set func(text string) error     // a plain value
	in  func(node *yaml.Node) error // anything else
}

// fields reads a mapping, key by key, and tells which keys it had.
func (r *clusterReader) fields(node *yaml.Node, prefix string, fields []field) map[string]int {
	lines := map[string]int{}
	if node.Kind != yaml.MappingNode {
		if prefix == "" {
			prefix = "the file."
		}
		r.wrong(node.Line, strings.TrimSuffix(prefix, "."), errors.New("is no mapping of keys to values"))
		return lines
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		name := prefix + key.Value
		if _, twice := lines[key.Value]; twice {
			r.wrong(key.Line, name, errors.New("is there twice"))
			continue
		}
		lines[key.Value] = key.Line
		if err := setField(fields, key.Value, value); err != nil {
			r.wrong(key.Line, name, err)
		}
	}
	return lines
}

func setField(fields []field, key string, value *yaml.Node) error {
	var known []string
	for _, f := range fields {
		known = append(known, f.key)
		if f.key != key {
			continue
		}
		if f.in != nil {
			return f.in(value)
		}
		if value.Kind != yaml.ScalarNode {
			return errors.New("is no plain value")
		}
		return f.set(value.Value)
	}
	return fmt.Errorf("unknown key; there are %s", strings.Join(known, ", "))
}

func (r *clusterReader) read(root *yaml.Node) {
	c := &r.cluster
	var links *yaml.Node
	seen := r.fields(root, "", []field{
		{key: "title", set: textField(&c.Title)},
		{key: "model", set: textField(&c.Model)},
		{key: "quant", set: textField(&c.Quant)},
		{key: "kv-format", set: textField(&c.KVFormat)},
		{key: "objective", set: textField(&c.Objective)},
		{key: "context", set: countField(&c.Context, 1<<20)},
		{key: "sequences", set: countField(&c.Sequences, 1<<20)},
		{key: "prompt", set: countField(&c.Prompt, 1<<20)},
		{key: "coordinator", set: textField(&c.Coordinator)},
		{key: "nodes", in: r.nodes},
		{key: "links", in: func(node *yaml.Node) error { links = node; return nil }},
	})
	switch {
	case seen["nodes"] == 0:
		r.wrong(root.Line, "nodes", errors.New("is missing"))
	case len(c.Nodes) > ClusterNodesMax:
		r.wrong(seen["nodes"], "nodes", fmt.Errorf("%d nodes, limit %d", len(c.Nodes), ClusterNodesMax))
		return
	case len(c.Nodes) == 0 && len(r.errs) == 0:
		r.wrong(seen["nodes"], "nodes", errors.New("there are 0 nodes, and it takes at least 1"))
	}
	if line := seen["coordinator"]; line > 0 && r.names[c.Coordinator] == 0 {
		r.wrong(line, "coordinator", fmt.Errorf("there is no node %q", c.Coordinator))
	}
	if links != nil {
		r.links(links)
	} else if len(c.Nodes) > 1 {
		r.wrong(root.Line, "links", errors.New("is missing; links.default is the link between any two nodes"))
	}
}

// entry is a node of the file, or several that are alike.
type entry struct {
	node  ClusterNode
	site  string
	count int
}

func (r *clusterReader) nodes(list *yaml.Node) error {
	if list.Kind != yaml.SequenceNode {
		return errors.New("is no list")
	}
	for i, item := range list.Content {
		e := entry{}
		prefix := fmt.Sprintf("nodes[%d].", i)
		n := &e.node
		seen := r.fields(item, prefix, []field{
			{key: "name", set: textField(&n.Name)},
			{key: "count", set: countField(&e.count, 1<<20)},
			{key: "site", set: textField(&e.site)},
			{key: "memory", set: sizeField(&n.Memory)},
			{key: "disk", set: sizeField(&n.Disk)},
			{key: "read-gb-per-s", set: speedField(&n.ReadGBs)},
			{key: "multiply-gop-per-s", set: speedField(&n.MultiplyGOPs)},
			{key: "class", set: textField(&n.Class)},
			{key: "witness", set: flagField(&n.Witness)},
			{key: "draining", set: flagField(&n.Draining)},
		})
		required := []string{"name", "memory", "read-gb-per-s", "multiply-gop-per-s"}
		if n.Witness {
			required = required[:1]
		}
		for _, key := range required {
			if item.Kind == yaml.MappingNode && seen[key] == 0 {
				r.wrong(item.Line, prefix+key, errors.New("is missing"))
			}
		}
		n.Line = item.Line
		r.add(&e, prefix)
		if len(r.cluster.Nodes) > ClusterNodesMax {
			break // reported by the caller
		}
	}
	return nil
}

// add appends the nodes of an entry: itself, or name1, name2 and so on.
func (r *clusterReader) add(e *entry, prefix string) {
	names := []string{e.node.Name}
	if e.count > 0 {
		names = names[:0]
		for i := range min(e.count, ClusterNodesMax+1) {
			names = append(names, e.node.Name+strconv.Itoa(i+1))
		}
	}
	for _, name := range names {
		if line, twice := r.names[name]; twice && name != "" {
			r.wrong(e.node.Line, prefix+"name", fmt.Errorf("line %d has a node %q already", line, name))
			continue
		}
		at := len(r.cluster.Nodes)
		r.names[name] = e.node.Line
		r.members[name] = append(r.members[name], at)
		if name != e.node.Name {
			r.members[e.node.Name] = append(r.members[e.node.Name], at)
		}
		if e.site != "" && e.site != e.node.Name && e.site != name {
			r.members[e.site] = append(r.members[e.site], at)
		}
		n := e.node
		n.Name = name
		r.cluster.Nodes = append(r.cluster.Nodes, n)
	}
}
