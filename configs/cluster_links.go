package configs

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// clusterPairsMax bounds the pairs that a cluster file may describe.
const clusterPairsMax = ClusterNodesMax * ClusterNodesMax

func (r *clusterReader) links(node *yaml.Node) {
	seen := r.fields(node, "links.", []field{
		{key: "default", in: func(node *yaml.Node) error {
			r.cluster.Link, _, _ = r.link(node, "links.default.", nil)
			return nil
		}},
		{key: "between", in: r.between},
	})
	if len(r.cluster.Nodes) > 1 && seen["default"] == 0 && seen["between"] == 0 && node.Kind == yaml.MappingNode {
		r.wrong(node.Line, "links.default", errors.New("is missing"))
	}
}

// between reads links between nodes, entries or sites; with the same name twice it is the link of any two of them.
func (r *clusterReader) between(list *yaml.Node) error {
	if list.Kind != yaml.SequenceNode {
		return errors.New("is no list")
	}
	for i, item := range list.Content {
		prefix := fmt.Sprintf("links.between[%d].", i)
		var from, to string
		link, seen, ok := r.link(item, prefix, []field{{key: "from", set: textField(&from)}, {key: "to", set: textField(&to)}})
		if !ok {
			continue
		}
		for _, end := range []struct{ key, name string }{{"from", from}, {"to", to}} {
			if len(r.members[end.name]) == 0 {
				ok = false
				r.wrong(max(seen[end.key], item.Line), prefix+end.key, fmt.Errorf("there is no node or site %q", end.name))
			}
		}
		if !ok {
			continue
		}
		if len(r.cluster.Links)+len(r.members[from])*len(r.members[to]) > clusterPairsMax {
			return fmt.Errorf("more than %d pairs of nodes", clusterPairsMax)
		}
		for _, a := range r.members[from] {
			for _, b := range r.members[to] {
				if a != b {
					r.cluster.Links = append(r.cluster.Links, ClusterPair{a, b, link})
				}
			}
		}
	}
	return nil
}

// link reads a round trip, a bandwidth and more.
func (r *clusterReader) link(node *yaml.Node, prefix string, more []field) (ClusterLink, map[string]int, bool) {
	var link ClusterLink
	before := len(r.errs)
	seen := r.fields(node, prefix, append(more,
		field{key: "round-trip", set: roundTripField(&link.RoundTrip)},
		field{key: "bandwidth", set: bandwidthField(&link.BytesPerS)}))
	for _, key := range []string{"round-trip", "bandwidth"} {
		if node.Kind == yaml.MappingNode && seen[key] == 0 {
			r.wrong(node.Line, prefix+key, errors.New("is missing"))
		}
	}
	return link, seen, len(r.errs) == before
}

func textField(p *string) func(string) error {
	return func(text string) error {
		if *p = strings.TrimSpace(text); *p == "" {
			return errors.New("is empty")
		}
		return nil
	}
}

func countField(p *int, most int) func(string) error {
	return func(text string) error {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > most {
			return fmt.Errorf("%q is no whole number from 1 to %d", text, most)
		}
		*p = n
		return nil
	}
}

// speedMax bounds speeds, in 1e9 a second.
const speedMax = 1e9

func speedField(p *float64) func(string) error {
	return func(text string) error {
		n, err := strconv.ParseFloat(text, 64)
		if err != nil || !(n > 0) || n > speedMax {
			return fmt.Errorf("%q is no number above 0", text)
		}
		*p = n
		return nil
	}
}

// clusterSizeMax bounds the memory of a node, 1 PiB.
const clusterSizeMax = 1 << 50

func sizeField(p *Bytes) func(string) error {
	return func(text string) error {
		n, err := ParseBytes(text)
		if err == nil && n > clusterSizeMax {
			err = fmt.Errorf("%q is more than %s", text, Bytes(clusterSizeMax))
		}
		*p = n
		return err
	}
}

func flagField(p *bool) func(string) error {
	return func(text string) error { return boolValue{p}.Set(text) }
}

func roundTripField(p *time.Duration) func(string) error {
	return func(text string) error {
		d, err := time.ParseDuration(text)
		if err != nil || d < 0 || d > time.Minute {
			return fmt.Errorf("%q is no time such as 300us or 0.5ms, of at most a minute", text)
		}
		*p = d
		return nil
	}
}

// bandwidthField reads what a link carries in each direction: 1Gbit/s, or 117MB/s.
func bandwidthField(p *float64) func(string) error {
	return func(text string) error {
		wrong := fmt.Errorf("%q is no bandwidth such as 1Gbit/s or 117MB/s", text)
		amount, ok := strings.CutSuffix(strings.TrimSpace(text), "/s")
		if !ok {
			return wrong
		}
		for _, unit := range []struct {
			suffix string
			bits   float64
		}{{"Gbit", 1e9}, {"Mbit", 1e6}, {"kbit", 1e3}, {"bit", 1}} {
			if number, ok := strings.CutSuffix(amount, unit.suffix); ok {
				n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
				if *p = n * unit.bits / 8; err != nil || !(*p > 0) || math.IsInf(*p, 0) {
					return wrong
				}
				return nil
			}
		}
		n, err := ParseBytes(amount)
		if *p = float64(n); err != nil || !(*p > 0) {
			return wrong
		}
		return nil
	}
}
