package main

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"polynode/configs"
	"polynode/node"
)

// clusterStatus is the answer of /cluster/v1/status as far as this verb shows it.
type clusterStatus struct {
	Model *struct {
		ID string `json:"id"`
	} `json:"model"`
	Engine *struct {
		Waiting   int     `json:"waiting"`
		Running   int     `json:"running"`
		Sequences int     `json:"sequences"`
		Blocks    int     `json:"kv_blocks"`
		Used      int     `json:"kv_blocks_used"`
		PerSecond float64 `json:"tokens_per_second"`
		StepS     float64 `json:"last_step_seconds"`
	} `json:"engine"`
	Draining bool        `json:"draining"`
	Cluster  node.Status `json:"cluster"`
}

func newStatus() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how a running cluster is",
		Long: `Show the cluster that the node at --url belongs to: its nodes and what each of them holds, the model, what it is doing, and whether a
node may die. Any node answers for the whole cluster.`,
		Example: "  polynode status\n  polynode status --url http://192.168.1.20:8080 --json",
		Args:    exactArgs(0, "no arguments"),
	}
	flags := addCluster(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if flags.asJSON {
			var answer any
			if err := flags.ask(cmd.Context(), http.MethodGet, "/cluster/v1/status", nil, &answer); err != nil {
				return err
			}
			return printJSON(cmd.OutOrStdout(), answer)
		}
		var status clusterStatus
		if err := flags.ask(cmd.Context(), http.MethodGet, "/cluster/v1/status", nil, &status); err != nil {
			return err
		}
		return printStatus(cmd.OutOrStdout(), &status)
	}
	return cmd
}

// printStatus writes the state of a cluster for people.
func printStatus(out io.Writer, s *clusterStatus) error {
	c := &s.Cluster
	alive := 0
	for _, n := range c.Nodes {
		if n.Alive {
			alive++
		}
	}
	health := "all are here"
	if alive < len(c.Nodes) {
		health = fmt.Sprintf("%d of them missing", len(c.Nodes)-alive)
	}
	fmt.Fprintf(out, "cluster  %s, %s; %s coordinates\n", count(len(c.Nodes), "node"), health, nodeTitle(c.Nodes, c.Coordinator))
	if s.Model == nil || s.Engine == nil {
		fmt.Fprintf(out, "model    none is served: %s\n", orElse(named(c.Nodes, c.Trouble), "the cluster is starting"))
	} else {
		model := s.Model.ID
		if c.Model.Synthetic {
			model += " (SYNTHETIC)"
		}
		fmt.Fprintf(out, "model    %s, %s in %s\n", model, configs.Bytes(c.Model.Bytes), c.Model.Format)
		fmt.Fprintf(out, "work     %.1f tokens/s; %d running, %d waiting; last step %.1f ms; %s of the room for keys and values used\n",
			s.Engine.PerSecond, s.Engine.Running, s.Engine.Waiting, 1e3*s.Engine.StepS, percent(int64(s.Engine.Used), int64(s.Engine.Blocks)))
		fmt.Fprintf(out, "plan     epoch %d, %s\n", c.Epoch, placesText(c.Nodes))
		if c.Trouble != "" {
			fmt.Fprintf(out, "trouble  it does not suit the nodes that are here: %s\n", named(c.Nodes, c.Trouble))
		}
	}
	if change := c.Change; change != nil && change.Stage == "failed" {
		fmt.Fprintf(out, "change   to %s failed: %s\n", change.Model, named(c.Nodes, change.Cause))
	} else if change != nil {
		fmt.Fprintf(out, "change   to %s: %s\n", change.Model, change.Stage)
	}
	if s.Draining {
		fmt.Fprintln(out, "         no new requests are taken: the coordinator is about to stop")
	}
	if c.Tolerance != nil {
		why := "any one node may die: what the others need then lies on their disks"
		if *c.Tolerance == 0 {
			why = named(c.Nodes, c.ToleranceBy)
		}
		fmt.Fprintf(out, "faults   tolerance %d: %s\n", *c.Tolerance, why)
	}
	printLinks(out, c.Nodes)
	fmt.Fprintln(out)
	if err := printNodes(out, c.Nodes); err != nil {
		return err
	}
	printFetches(out, c.Nodes)
	return nil
}

// printLinks sums up the links between nodes.
func printLinks(out io.Writer, nodes []node.StatusNode) {
	var trips, rates []float64
	for _, n := range nodes {
		for _, link := range n.Links {
			trips = append(trips, link.RoundTripUS/1e3)
			if link.BytesPerSecond > 0 {
				rates = append(rates, float64(link.BytesPerSecond)/1e6)
			}
		}
	}
	if len(trips) == 0 {
		return
	}
	text := fmt.Sprintf("round trips of %.2f to %.2f ms", slices.Min(trips), slices.Max(trips))
	if len(rates) > 0 {
		text += fmt.Sprintf(", %.0f to %.0f MB/s", slices.Min(rates), slices.Max(rates))
	}
	fmt.Fprintf(out, "links    %s\n", text)
}

// barWidth is how many characters a bar of progress has.
const barWidth = 24

// printFetches writes how far nodes are that get slices.
func printFetches(out io.Writer, nodes []node.StatusNode) {
	for _, n := range nodes {
		if f := n.Fetch; f != nil {
			full := min(int(barWidth*float64(f.Done)/max(1, float64(f.Total))), barWidth)
			what := "for the plan"
			if f.Spare {
				what = "spares"
			}
			fmt.Fprintf(out, "fetch    %s [%s%s] %s of %s, %.1f MB/s, %s\n", orElse(n.Name, shortID(n.ID)), strings.Repeat("#", full),
				strings.Repeat(".", barWidth-full), percent(f.Done, f.Total), configs.Bytes(f.Total), f.BytesPerSecond/1e6, what)
		}
		if n.Spares != "" {
			fmt.Fprintf(out, "spares   %s has not all: %s\n", orElse(n.Name, shortID(n.ID)), named(nodes, n.Spares))
		}
	}
}

// placesText counts the places of a plan.
func placesText(nodes []node.StatusNode) string {
	ranks, stages := 0, 0
	for _, n := range nodes {
		if n.Place != nil {
			ranks++
			stages = max(stages, n.Place.Stage+1)
		}
	}
	return fmt.Sprintf("%s, %s", count(stages, "stage"), count(ranks, "rank"))
}

// printNodes writes a table of nodes.
func printNodes(out io.Writer, nodes []node.StatusNode) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tID\tROLE\tSTATE\tADDRESS\tMEMORY\tCORES\tHOLDS")
	for _, n := range nodes {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\n", n.Name, shortID(n.ID), roleText(n), stateText(n), n.Address,
			configs.Bytes(n.Facts.MemoryBytes), n.Facts.Cores, holdsText(n))
	}
	return table.Flush()
}

func roleText(n node.StatusNode) string {
	roles := []string{n.Role}
	if n.Votes {
		roles = append(roles, "votes")
	}
	if n.Coordinator {
		roles = append(roles, "coordinates")
	}
	return strings.Join(roles, ", ")
}

func stateText(n node.StatusNode) string {
	if !n.Alive {
		return n.Phase + ", not here"
	}
	return n.Phase
}

func holdsText(n node.StatusNode) string {
	p := n.Place
	if p == nil {
		return "nothing"
	}
	return fmt.Sprintf("stage %d: layers %d-%d, %d heads, %d FFN columns", p.Stage, p.Layers.Lo, p.Layers.Hi-1, p.Heads.Len(), p.Inner.Len())
}

// shortID is enough of an id to name a node in nearly all clusters.
func shortID(id string) string { return id[:min(len(id), 8)] }

// named puts the names of nodes in the place of their ids.
func named(nodes []node.StatusNode, text string) string {
	for _, n := range nodes {
		if n.Name != "" {
			text = strings.ReplaceAll(text, n.ID, n.Name)
		}
	}
	return text
}

// nodeTitle names the node with an id for people.
func nodeTitle(nodes []node.StatusNode, id string) string {
	for _, n := range nodes {
		if n.ID == id && n.Name != "" {
			return n.Name
		}
	}
	return orElse(shortID(id), "nobody")
}

func orElse(text, other string) string {
	if text == "" {
		return other
	}
	return text
}
