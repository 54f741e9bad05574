package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"

	"polynode/node"
)

// plan shows the active plan of a running cluster.
func (f *clusterFlags) plan(ctx context.Context, out io.Writer, explain bool) error {
	var plan node.ClusterPlan
	if err := f.ask(ctx, http.MethodGet, "/cluster/v1/plan", nil, &plan); err != nil {
		if errors.Is(err, errNoNode) {
			return fmt.Errorf("%w, or plan for machines of a file with --what-if", err)
		}
		return err
	}
	return f.show(out, plan, func() error { return printRunning(out, &plan, explain) })
}

// printRunning writes a plan that is active, and what is measured of it.
func printRunning(out io.Writer, p *node.ClusterPlan, explain bool) error {
	fmt.Fprintf(out, "epoch %d, model %s, %s\n", p.Epoch, p.Model, count(len(p.Names), "node"))
	if p.Measured.Steps > 0 {
		fmt.Fprintf(out, "measured: %.1f ms a token", p.Measured.StepMS)
		if p.Report.Times.StepMS > 0 {
			fmt.Fprintf(out, " (expected %.1f)", p.Report.Times.StepMS)
		}
		fmt.Fprintf(out, " with %.1f sequences at a time; %.1f tokens/s lately", p.Measured.Sequences, p.Rate)
		if p.Measured.Network > 0 {
			fmt.Fprintf(out, "; the coordinator's rank waits for others %.0f %% of the time", 100*p.Measured.Network)
		}
		if p.Measured.Frames > 0 {
			fmt.Fprintf(out, "\nnetwork: that rank sends %.1f kB in %.0f messages a token", p.Measured.SentBytes/1e3, p.Measured.Frames)
		}
		fmt.Fprintln(out)
	} else {
		fmt.Fprintln(out, "measured: nothing yet: no text was generated under this plan")
	}
	names := readable(p)
	say := func(text string) string {
		for id, name := range names {
			text = strings.ReplaceAll(text, string(id), string(name))
		}
		return text
	}
	if p.Trouble != "" {
		fmt.Fprintf(out, "trouble: it does not suit the nodes that are here: %s\n", say(p.Trouble))
	}
	p.Report.Ranks, p.Report.Idle = slices.Clone(p.Report.Ranks), slices.Clone(p.Report.Idle)
	p.Report.Reason = say(p.Report.Reason)
	if p.Spares != nil {
		p.Spares.Reason = say(p.Spares.Reason)
	}
	for i := range p.Report.Ranks {
		p.Report.Ranks[i].Node = names[p.Report.Ranks[i].Node]
	}
	for i := range p.Report.Idle {
		idle := &p.Report.Idle[i]
		idle.Node, idle.Reason = names[idle.Node], say(idle.Reason)
	}
	if solo := p.Report.Solo; solo != nil {
		solo.Node = names[solo.Node]
	}
	if err := printPlan(out, &p.Report, p.Spares, explain); err != nil || !explain {
		return err
	}
	return printMeasured(out, p, names)
}

// printMeasured writes what the ranks measured beside what was expected of them.
func printMeasured(out io.Writer, p *node.ClusterPlan, names map[node.ID]node.ID) error {
	fmt.Fprintln(out, "\nmeasured milliseconds a step that decodes, and in brackets what was expected:")
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "NODE\tSTEPS\tLAYERS\tHEAD\tSYNC\tHOP\tOTHER\tSUM\t")
	for i, r := range p.Ranks {
		if r.Steps == 0 {
			fmt.Fprintf(table, "%s\tnone\t\t\t\t\t\t\t\n", names[r.Node])
			continue
		}
		var t node.PlanTerms
		if i < len(p.Report.Ranks) {
			t = p.Report.Ranks[i].Terms
		}
		fmt.Fprintf(table, "%s\t%d\t%.2f (%.2f)\t%.2f (%.2f)\t%.2f (%.2f)\t%.2f (%.2f)\t%.2f\t%.2f (%.2f)\t\n", names[r.Node], r.Steps,
			r.Layers, t.Weights+t.Attention+t.Other, r.Head, t.Head, r.Sync, t.Sync+t.Wait, r.Hop, t.Hop, r.Other, r.StepMS, t.Sum())
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if p.Measured.Steps > 0 {
		fmt.Fprintf(out, "a token takes the coordinator %.2f ms in all, %.2f expected\n", p.Measured.StepMS, p.Report.Times.StepMS)
	}
	for _, r := range p.Ranks {
		switch {
		case r.Factor > 1:
			fmt.Fprintf(out, "%s is slower than it says: its steps take %.1f times as long as they should, and its shares are made for that\n", names[r.Node], r.Factor)
		case r.Factor < 1:
			fmt.Fprintf(out, "%s is %.1f times as fast as it says, and its shares are made for that\n", names[r.Node], 1/r.Factor)
		}
	}
	return nil
}

// readable gives every node a name for people: its own where no other has it, and the beginning of its id otherwise.
func readable(p *node.ClusterPlan) map[node.ID]node.ID {
	called := map[string]int{}
	for _, name := range p.Names {
		called[name]++
	}
	names := map[node.ID]node.ID{}
	for _, id := range slices.Sorted(maps.Keys(p.Names)) {
		name := p.Names[id]
		if name == "" || called[name] > 1 {
			name += " " + shortID(string(id))
		}
		names[id] = node.ID(name)
	}
	return names
}
