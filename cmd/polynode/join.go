package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"polynode/node"
)

func newJoin() *cobra.Command {
	var token string
	cmd := &cobra.Command{
		Use:   "join HOST:PORT",
		Short: "Join a cluster with a token, and serve as one of its nodes",
		Long: `Ask the node at HOST:PORT to let this machine into its cluster, and then run as one of its nodes, as "polynode up" does from then on. The
token comes from the greeting of the first "polynode up", or from "polynode token create" on any node. It says whether this machine
computes or is a witness, which only votes. HOST:PORT is the other node's address for nodes, of UDP, not that of its HTTP endpoint.

The machine gets a certificate, its share of the model and a place in the next plan; requests that run there meanwhile go on.`,
		Example: `  polynode join 192.168.1.20:7946 --token pn1.…
  POLYNODE_TOKEN=pn1.… polynode join tower:7946 --data /srv/polynode`,
		Args: exactArgs(1, "the address of a node, HOST:PORT, as the join command that it printed has it"),
	}
	settings := addSettings(cmd, nodeSettings...)
	cmd.Flags().StringVar(&token, "token", "", "join token (or POLYNODE_TOKEN, which other users of this machine do not see)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if token == "" {
			token = os.Getenv("POLYNODE_TOKEN")
		}
		if token == "" {
			return fmt.Errorf("%w: join needs --token; `polynode token create` on a node of the cluster makes one", errUsage)
		}
		config, err := settings.load()
		if err != nil {
			return err
		}
		if config.Listen == "" {
			return fmt.Errorf("%w: a node that joins needs an address for the others: leave --listen as it is", errUsage)
		}
		config.Version = version
		log := newLogger(config)
		if err := node.Join(cmd.Context(), config, args[0], token, log); err != nil {
			return err
		}
		return runNode(cmd, config, log, greetJoined)
	}
	return cmd
}

// greetJoined says what a machine that joined became.
func greetJoined(_ context.Context, out io.Writer, n *node.Node) {
	info := n.Info()
	fmt.Fprintf(out, "\n  joined the cluster of %s\n", orElse(info.Coordinator, "a coordinator that is away at the moment"))
	greet(out, info)
	fmt.Fprint(out, "  Ctrl-C stops it; polynode up starts it again as the same node; polynode leave takes it out of the cluster.\n\n")
}
