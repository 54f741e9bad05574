package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"polynode/node"
)

// errNotConfirmed reports that nothing was done.
var errNotConfirmed = errors.New("nothing was changed")

func newRecover() *cobra.Command {
	var yes, asJSON bool
	cmd := &cobra.Command{
		Use:   "recover",
		Short: "Go on alone after most of the nodes that vote are lost for good",
		Long: `A cluster decides by the majority of its nodes that vote. When that is lost for good, no coordinator can be elected, and nothing can be
changed. This makes the node of this machine, which has to be down and to have had a vote, the only one of the cluster; "polynode up"
starts it then. What it knows counts from then on: changes that it had not heard of are lost. All other nodes are shut out and have to
join anew, with an empty --data or after the folder "state" in theirs was removed, for they could still follow what was. Never do this while the others
may only be switched off or cut off: start them instead.`,
		Example: "  polynode recover\n  polynode recover --data /srv/polynode --yes",
		Args:    exactArgs(0, "no arguments"),
	}
	settings := addSettings(cmd, "data", "log-level", "log-format")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON; wants --yes")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if asJSON && !yes {
			return fmt.Errorf("%w: --json asks nothing, so it wants --yes", errUsage)
		}
		config, err := settings.load()
		if err != nil {
			return err
		}
		remains, err := node.Examine(config)
		if err == nil {
			err = remains.Check()
		}
		if err != nil {
			return err
		}
		out := cmd.OutOrStdout()
		if !asJSON {
			explainRecovery(out, &remains)
		}
		if !yes {
			fmt.Fprint(out, "\nType recover to do that: ")
			line, _ := bufio.NewReader(cmd.InOrStdin()).ReadString('\n') // what cannot be read is no yes
			if strings.TrimSpace(line) != "recover" {
				return fmt.Errorf("%w: recovery was not confirmed", errNotConfirmed)
			}
		}
		if remains, err = node.Recover(config, newLogger(config)); err != nil {
			return err
		}
		if asJSON {
			return printJSON(out, remains)
		}
		fmt.Fprintf(out, "\n%s is the only node of its cluster now, generation %d. `polynode up` starts it; `polynode token create` lets others join again.\n",
			remains.Node, remains.Generation)
		return nil
	}
	return cmd
}

// explainRecovery says what becomes of whom.
func explainRecovery(out io.Writer, r *node.Remains) {
	fmt.Fprintf(out, "cluster  %s, generation %d\n", r.Cluster, r.Generation)
	fmt.Fprintf(out, "stays    %s, with what it knows; later changes are lost\n", r.Node)
	fmt.Fprintf(out, "votes    %s: a majority of them has to be lost for good, or start those instead\n", strings.Join(r.Voters, ", "))
	fmt.Fprintf(out, "shut out %s: each has to join anew\n", strings.Join(r.Lost, ", "))
}
