package configs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const goodCluster = `title: two sorts
model: polylm-1.7b
quant: q8
kv-format: q8
objective: throughput
context: 256
sequences: 8
prompt: 100
coordinator: pi2
nodes:
  - name: pi
    count: 2
    site: shelf
    memory: 7GiB
    disk: 100GB
    read-gb-per-s: 11
    multiply-gop-per-s: 120
  - {name: pc, site: desk, memory: 12GiB, read-gb-per-s: 35.5, multiply-gop-per-s: 400, class: exact, draining: true}
  - {name: vote, witness: true}
links:
  default: {round-trip: 350us, bandwidth: 1Gbit/s}
  between:
    - {from: shelf, to: pc, round-trip: 2ms, bandwidth: 100MB/s}
    - {from: pi, to: pi, round-trip: 0.1ms, bandwidth: 2.5Gbit/s}
`

func TestParseCluster(t *testing.T) {
	c, err := ParseCluster("good.yaml", []byte(goodCluster))
	if err != nil {
		t.Fatal(err)
	}
	if c.Title != "two sorts" || c.Model != "polylm-1.7b" || c.Quant != "q8" || c.KVFormat != "q8" || c.Objective != "throughput" ||
		c.Context != 256 || c.Sequences != 8 || c.Prompt != 100 || c.Coordinator != "pi2" {
		t.Errorf("%+v", c)
	}
	if len(c.Nodes) != 4 || c.Nodes[1].Name != "pi2" || c.Nodes[1].Memory != 7<<30 || c.Nodes[1].Disk != 100e9 || c.Nodes[2].ReadGBs != 35.5 ||
		c.Nodes[2].MultiplyGOPs != 400 || c.Nodes[2].Class != "exact" || !c.Nodes[2].Draining || !c.Nodes[3].Witness || c.Nodes[3].Line != 19 {
		t.Errorf("%+v", c.Nodes)
	}
	want := []ClusterPair{
		{0, 2, ClusterLink{2 * time.Millisecond, 100e6}}, {1, 2, ClusterLink{2 * time.Millisecond, 100e6}},
		{0, 1, ClusterLink{100 * time.Microsecond, 2.5e9 / 8}}, {1, 0, ClusterLink{100 * time.Microsecond, 2.5e9 / 8}},
	}
	if fmt.Sprint(c.Links) != fmt.Sprint(want) || c.Link != (ClusterLink{350 * time.Microsecond, 0.125e9}) {
		t.Errorf("%+v, default %+v", c.Links, c.Link)
	}
}

// Every mistake is named with its line and its key.
func TestParseClusterRefuses(t *testing.T) {
	const nodes = "nodes:\n  - {name: a, memory: 1GiB, read-gb-per-s: 1, multiply-gop-per-s: 1}\n"
	const two = nodes + "  - {name: b, memory: 1GiB, read-gb-per-s: 1, multiply-gop-per-s: 1}\n"
	const links = "links:\n  default: {round-trip: 1ms, bandwidth: 1Gbit/s}\n"
	many := "nodes:\n  - {name: a, count: 1001, memory: 1GiB, read-gb-per-s: 1, multiply-gop-per-s: 1}\n"
	for _, test := range []struct{ name, text, want string }{
		{"nothing", "", "line 1: the file: is empty"},
		{"a list", "- a\n", "line 1: the file: is no mapping"},
		{"broken", "nodes: [", "file f.yaml"},
		{"no nodes", "title: x\n", "line 1: nodes: is missing"},
		{"0 nodes", "nodes: []\n", "line 1: nodes: there are 0 nodes"},
		{"1001 nodes", "\n" + many + links, "line 2: nodes: 1001 nodes, limit 1000"},
		{"unknown key", nodes + "colour: red\n", "line 3: colour: unknown key; there are title, model"},
		{"unknown node key", "nodes:\n  - name: a\n    memory: 1GiB\n    cores: 4\n    read-gb-per-s: 1\n    multiply-gop-per-s: 1\n", "line 4: nodes[0].cores: unknown key"},
		{"twice", nodes + "title: a\ntitle: b\n", "line 4: title: is there twice"},
		{"negative speed", strings.Replace(nodes, "read-gb-per-s: 1", "read-gb-per-s: -1", 1), `line 2: nodes[0].read-gb-per-s: "-1" is no number above 0`},
		{"negative memory", strings.Replace(nodes, "1GiB", "-1GiB", 1), `line 2: nodes[0].memory: "-1GiB" is not a size`},
		{"not a number", strings.Replace(nodes, "read-gb-per-s: 1", "read-gb-per-s: .nan", 1), "line 2: nodes[0].read-gb-per-s"},
		{"missing key", strings.Replace(nodes, "memory: 1GiB, ", "", 1), "line 2: nodes[0].memory: is missing"},
		{"negative count", strings.Replace(nodes, "memory", "count: -2, memory", 1), `line 2: nodes[0].count: "-2" is no whole number`},
		{"same name", strings.ReplaceAll(two, "name: b", "name: a") + links, `line 3: nodes[1].name: line 2 has a node "a" already`},
		{"same name by count", nodes + "  - {name: a, count: 2, memory: 1GiB, read-gb-per-s: 1, multiply-gop-per-s: 1}\n" +
			"  - {name: a2, memory: 1GiB, read-gb-per-s: 1, multiply-gop-per-s: 1}\n" + links, `line 4: nodes[2].name: line 3 has a node "a2" already`},
		{"a list as value", nodes + "title: [a]\n", "line 3: title: is no plain value"},
		{"nodes are no list", "nodes: {a: b}\n", "line 1: nodes: is no list"},
		{"no links", two, "links: is missing"},
		{"empty links", two + "links: {}\n", "line 4: links.default: is missing"},
		{"no round trip", two + "links:\n  default: {bandwidth: 1Gbit/s}\n", "line 5: links.default.round-trip: is missing"},
		{"negative round trip", two + "links:\n  default: {round-trip: -1ms, bandwidth: 1Gbit/s}\n", `line 5: links.default.round-trip: "-1ms"`},
		{"no unit", two + "links:\n  default: {round-trip: 1ms, bandwidth: 1000}\n", `line 5: links.default.bandwidth: "1000" is no bandwidth`},
		{"bandwidth of 0", two + "links:\n  default: {round-trip: 1ms, bandwidth: 0Mbit/s}\n", `line 5: links.default.bandwidth`},
		{"unknown end", two + links + "  between:\n    - {from: a, to: x, round-trip: 1ms, bandwidth: 1MB/s}\n", `line 7: links.between[0].to: there is no node or site "x"`},
		{"unknown coordinator", nodes + "coordinator: x\n", `line 3: coordinator: there is no node "x"`},
	} {
		_, err := ParseCluster("f.yaml", []byte(test.text))
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "f.yaml") {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
	_, err := ParseCluster("f.yaml", []byte(strings.Replace(two, "1GiB", "x", 2)+"more: 1\n"+links))
	if err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("three mistakes: %v", err)
	}
}

// The files that come with the program can be read.
func TestClusterExamples(t *testing.T) {
	files, err := filepath.Glob("clusters/*.yaml")
	if err != nil || len(files) < 3 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		if c, err := ReadCluster(file); err != nil || c.Title == "" {
			t.Errorf("%s: %v", file, err)
		}
	}
	if _, err := ReadCluster(filepath.Join(t.TempDir(), "none.yaml")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	big := filepath.Join(t.TempDir(), "big.yaml")
	if err := os.WriteFile(big, make([]byte, FileMax+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadCluster(big); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
}

// The file in the document is what the program reads.
func TestClusterInDocument(t *testing.T) {
	text, err := os.ReadFile("../docs/planning.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "```yaml\n")
	file, _, ok := strings.Cut(rest, "```")
	if c, err := ParseCluster("docs/planning.md", []byte(file)); !ok || err != nil || len(c.Nodes) != 5 || len(c.Links) != 12 {
		t.Errorf("%v: %+v", err, c)
	}
}

func FuzzParseCluster(f *testing.F) {
	f.Add([]byte(goodCluster))
	f.Add([]byte("nodes: [{name: a, count: 9}]"))
	f.Add([]byte("a: &a [*a]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseCluster("f.yaml", data)
		if err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("%v", err)
		}
		if err == nil && (len(c.Nodes) < 1 || len(c.Nodes) > ClusterNodesMax) {
			t.Errorf("%d nodes", len(c.Nodes))
		}
	})
}
