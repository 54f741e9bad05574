package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"polynode/node"
)

// Times of waiting for another root.
const (
	rotatePause   = 250 * time.Millisecond
	rotateTimeout = 2 * time.Minute
)

// errRotate reports certificates that are not new.
var errRotate = errors.New("not rotated")

func newCert() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cert",
		Short: "List and change the certificates of the nodes",
		Long: `Every node shows a certificate of its cluster, which it renews by itself long before it ends. To have new ones at once, or another root
because a machine that voted was stolen, ask for it.`,
		Example: "  polynode cert ls\n  polynode cert rotate\n  polynode cert rotate --root",
	}
	onlyVerbs(cmd)
	cmd.AddCommand(newCertList(), newCertRotate())
	return cmd
}

func newCertList() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "ls",
		Short:   "Show what certificate each node has, and until when",
		Example: "  polynode cert ls\n  polynode cert ls --json",
		Args:    exactArgs(0, "no arguments"),
	}
	flags := addCluster(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var list node.Certificates
		if err := flags.ask(cmd.Context(), http.MethodGet, "/cluster/v1/certificates", nil, &list); err != nil {
			return err
		}
		out := cmd.OutOrStdout()
		return flags.show(out, list, func() error { return printCertificates(out, &list) })
	}
	return cmd
}

func newCertRotate() *cobra.Command {
	var (
		wish   node.RotateWish
		noWait bool
	)
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Give every node a new certificate now",
		Long: `Give every node that is here a new certificate. With --root the cluster gets a new root as well, and a new key for its gossip: needed when
somebody else may have a copy of the old one, from the disk of a node that voted. All nodes have to be here for that; one that was
removed is shut out for good, and join tokens that were made before are worthless. Requests go on meanwhile.`,
		Example: "  polynode cert rotate\n  polynode cert rotate --root\n  polynode cert rotate --json --url http://192.168.1.20:8080",
		Args:    exactArgs(0, "no arguments"),
	}
	flags := addCluster(cmd)
	cmd.Flags().BoolVar(&wish.Root, "root", false, "change the cluster's root and gossip key, too")
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "with --root: do not wait until the change is complete")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		progress := cmd.ErrOrStderr()
		if flags.asJSON {
			progress = io.Discard
		}
		list, err := flags.rotate(cmd.Context(), wish, wish.Root && !noWait, progress)
		if err != nil {
			return err
		}
		out := cmd.OutOrStdout()
		return flags.show(out, list, func() error { return printCertificates(out, &list) })
	}
	return cmd
}

// rotate asks for new certificates. A change of root takes several steps, which it waits for if told to.
func (f *clusterFlags) rotate(ctx context.Context, wish node.RotateWish, wait bool, progress io.Writer) (node.Certificates, error) {
	var list node.Certificates
	if err := f.ask(ctx, http.MethodPost, "/cluster/v1/certificates", wish, &list); err != nil || !wait {
		return list, err
	}
	ctx, cancel := context.WithTimeout(ctx, rotateTimeout)
	defer cancel()
	ticker := time.NewTicker(rotatePause)
	defer ticker.Stop()
	next, said := list.Next, ""
	for list.Next != "" {
		if list.Waiting != said {
			said = list.Waiting
			fmt.Fprintf(progress, "the root changes: %s …\n", orElse(said, "the next step is on its way"))
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return list, fmt.Errorf("%w yet: %s; the cluster goes on with it by itself: %w", errRotate, orElse(list.Waiting, "a step is on its way"), ctx.Err())
		}
		list = node.Certificates{} // what is absent from an answer is empty
		if err := f.ask(ctx, http.MethodGet, "/cluster/v1/certificates", nil, &list); err != nil {
			return list, err
		}
	}
	if list.Root != next {
		return list, fmt.Errorf("%w: the coordinator was lost with the new root before others had it, and the change was taken back; run this again", errRotate)
	}
	return list, nil
}

func printCertificates(out io.Writer, list *node.Certificates) error {
	fmt.Fprintf(out, "root  %.16s…\n", list.Root)
	if list.Next != "" {
		fmt.Fprintf(out, "next  %.16s…; %s\n", list.Next, orElse(list.Waiting, "the change is under way"))
	}
	fmt.Fprintln(out)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tID\tUNTIL\tROOT")
	for _, c := range list.Nodes {
		if c.Error != "" {
			fmt.Fprintf(table, "%s\t%s\tnot known: %s\t\n", c.Name, shortID(c.ID), c.Error)
			continue
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%.16s…\n", c.Name, shortID(c.ID), c.Until.Local().Format("2006-01-02 15:04"), c.Root)
	}
	return table.Flush()
}
