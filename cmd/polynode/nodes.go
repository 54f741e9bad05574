package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"polynode/node"
)

func newNodes() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "nodes",
		Short:   "List the nodes of a running cluster",
		Example: "  polynode nodes\n  polynode nodes --json",
		Args:    exactArgs(0, "no arguments"),
	}
	flags := addCluster(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		list, err := flags.nodes(cmd.Context())
		if err != nil {
			return err
		}
		out := cmd.OutOrStdout()
		return flags.show(out, list.Nodes, func() error {
			err := printNodes(out, list.Nodes)
			if list.Trouble != "" {
				fmt.Fprintf(out, "\nthere is no plan that suits these nodes: %s\n", named(list.Nodes, list.Trouble))
			}
			return err
		})
	}
	return cmd
}

func (f *clusterFlags) nodes(ctx context.Context) (node.NodeList, error) {
	var list node.NodeList
	return list, f.ask(ctx, http.MethodGet, "/cluster/v1/nodes", nil, &list)
}

// Times of waiting for a node to be drained.
const (
	drainPause   = 200 * time.Millisecond
	troubleGrace = 3 * time.Second // a plan that fails for longer does not come about by itself
	drainTimeout = time.Hour       // what others have to fetch may be large
)

// errDrain reports a node that keeps its place.
var errDrain = errors.New("not drained")

func newDrain() *cobra.Command {
	var noWait bool
	cmd := &cobra.Command{
		Use:   "drain NODE",
		Short: "Move a node's work to the others",
		Long: `Make plans that leave a node out, and wait until one is active. Running requests go on and lose nothing. The node stays in the cluster
and comes back into plans with ` + "`polynode undrain`" + `. NODE is a name, an id or the beginning of one.`,
		Example: "  polynode drain attic\n  polynode drain k3v7q2xa --no-wait",
		Args:    exactArgs(1, "the name or id of a node"),
	}
	flags := addCluster(cmd)
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "do not wait until the node has no place in the plan")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		drained, err := flags.drain(cmd.Context(), args[0], !noWait)
		if err != nil {
			return err
		}
		out := cmd.OutOrStdout()
		return flags.show(out, drained, func() error {
			if drained.Place != nil {
				fmt.Fprintf(out, "%s is being drained; it still has its place in the plan\n", drained.Name)
			} else {
				fmt.Fprintf(out, "%s is drained: it has no place in the plan any more\n", drained.Name)
			}
			return nil
		})
	}
	return cmd
}

// drain asks for a node to be drained, and waits until it is.
func (f *clusterFlags) drain(ctx context.Context, name string, wait bool) (node.StatusNode, error) {
	var drained node.StatusNode
	if err := f.ask(ctx, http.MethodPost, nodePath(name, "/drain"), struct{}{}, &drained); err != nil || !wait {
		return drained, err
	}
	ctx, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	ticker := time.NewTicker(drainPause)
	defer ticker.Stop()
	well := time.Now()
	for drained.Place != nil {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return drained, fmt.Errorf("%w: %s still has its place: %w", errDrain, name, ctx.Err())
		}
		list, err := f.nodes(ctx)
		if err != nil {
			return drained, err
		}
		for _, n := range list.Nodes {
			if n.ID == drained.ID {
				drained = n
			}
		}
		if list.Trouble == "" {
			well = time.Now()
		} else if time.Since(well) > troubleGrace {
			return drained, fmt.Errorf("%w: the cluster has no plan without %s: %s; it keeps its place until there is one, or `polynode undrain %s` takes this back",
				errDrain, name, named(list.Nodes, list.Trouble), name)
		}
	}
	return drained, nil
}

func newUndrain() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "undrain NODE",
		Short:   "Let plans use a node again that was drained",
		Example: "  polynode undrain attic",
		Args:    exactArgs(1, "the name or id of a node"),
	}
	flags := addCluster(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var back node.StatusNode
		if err := flags.ask(cmd.Context(), http.MethodPost, nodePath(args[0], "/undrain"), struct{}{}, &back); err != nil {
			return err
		}
		out := cmd.OutOrStdout()
		return flags.show(out, back, func() error {
			fmt.Fprintf(out, "%s is %s: the next plan may use it\n", back.Name, back.Phase)
			return nil
		})
	}
	return cmd
}

func newRemove() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "remove NODE",
		Short: "Shut a node out for good",
		Long: `Take a node's certificate back and forget it: for machines that are broken or lost. One that is alive should leave by itself; --force shuts
it out all the same, in the middle of what it does. It can only join again as a new node.`,
		Example: "  polynode remove attic\n  polynode remove k3v7q2xa --force",
		Args:    exactArgs(1, "the name or id of a node"),
	}
	flags := addCluster(cmd)
	cmd.Flags().BoolVar(&force, "force", false, "although the node is alive")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		path := nodePath(args[0], "")
		if force {
			path += "?force=true"
		}
		var removal node.Removal
		if err := flags.ask(cmd.Context(), http.MethodDelete, path, nil, &removal); err != nil {
			return err
		}
		out := cmd.OutOrStdout()
		return flags.show(out, removal, func() error {
			fmt.Fprintf(out, "%s is shut out\n", args[0])
			if !removal.Forgotten {
				fmt.Fprintf(out, "it stays listed as gone, because the plan cannot do without it yet: %s\n"+
					"let another machine join, and run this again\n", orElse(removal.Trouble, "the next one is being prepared"))
			}
			return nil
		})
	}
	return cmd
}

func newLeave() *cobra.Command {
	var wish node.LeaveWish
	cmd := &cobra.Command{
		Use:   "leave",
		Short: "Take the node at --url out of its cluster for good",
		Long: `Move the node's work to the others, hand its duties over if it coordinates, have the cluster forget it, and stop it. What it was is removed
from its disk, so that it can join another cluster; models stay. To stop a node for a while, stop its process instead: it comes back as
itself.`,
		Example: "  polynode leave\n  polynode leave --force   # of the last node: its cluster ends",
		Args:    exactArgs(0, "no arguments; --url names the node"),
	}
	flags := addCluster(cmd)
	cmd.Flags().BoolVar(&wish.Force, "force", false, "although it is the last node, whose cluster ends with it")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		departure, err := flags.leave(cmd.Context(), wish, cmd.ErrOrStderr())
		if err != nil {
			return err
		}
		out := cmd.OutOrStdout()
		return flags.show(out, departure, func() error {
			fmt.Fprintf(out, "the node has left its cluster and stops; %s is removed\n", departure.Folder)
			return nil
		})
	}
	return cmd
}

// leave drains the node that answers and takes it out of its cluster.
func (f *clusterFlags) leave(ctx context.Context, wish node.LeaveWish, progress io.Writer) (node.Departure, error) {
	var (
		departure node.Departure
		self      node.Self
	)
	if err := f.ask(ctx, http.MethodGet, "/cluster/v1/self", nil, &self); err != nil {
		return departure, err
	}
	list, err := f.nodes(ctx)
	if err != nil {
		return departure, err
	}
	others := 0
	for _, n := range list.Nodes {
		if n.ID != self.ID && n.Phase != "gone" {
			others++
		}
	}
	if others > 0 {
		if !f.asJSON {
			fmt.Fprintf(progress, "moving the work of %s to %s …\n", self.Name, count(others, "other node"))
		}
		if _, err := f.drain(ctx, self.ID, true); err != nil {
			return departure, err
		}
	}
	return departure, f.ask(ctx, http.MethodPost, "/cluster/v1/leave", wish, &departure)
}
