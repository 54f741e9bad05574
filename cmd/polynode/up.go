package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"polynode/configs"
	"polynode/node"
)

func newUp() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start a node: a new cluster, or the one that this machine belongs to",
		Long: `Start a node and serve HTTP in OpenAI's dialect. On a fresh machine it founds a cluster and says how others join it; a machine that belongs
to a cluster comes back to it as itself. Without --model a new cluster serves the demo model that is in this binary: six layers that
know the Universal Declaration of Human Rights in PolyLM's 18 languages by heart.

The node stops on Ctrl-C or SIGTERM: it takes no new requests, gives running ones --drain to end, and leaves. A second Ctrl-C
or SIGTERM ends it at once.`,
		Example: `  polynode up
  polynode up --model polylm-13b --kv-format q8
  polynode up --http 0.0.0.0:8080 --api-key a-long-secret
  polynode up --config polynode.yaml`,
		Args: exactArgs(0, "no arguments"),
	}
	settings := addSettings(cmd, nodeSettings...)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		config, err := settings.load()
		if err != nil {
			return err
		}
		return runNode(cmd, config, newLogger(config), greetUp)
	}
	return cmd
}

// nodeSettings are the settings of a node that serves.
var nodeSettings = []string{
	"model", "data", "name", "http", "listen", "api-key", "insecure-no-auth", "hosts", "origins", "drain",
	"threads", "network-threads", "lock-weights", "kv-format", "kv-memory", "step-tokens", "step-time", "sequences",
	"queue", "queue-tokens", "first-token-timeout", "answer-timeout", "eos", "log-level", "log-format",
}

// runNode runs a node until a signal, a failure, or until it has left its cluster.
func runNode(cmd *cobra.Command, config configs.Config, log *slog.Logger, greeting func(context.Context, io.Writer, *node.Node)) error {
	config.Version = version
	n, err := node.Start(cmd.Context(), config, log)
	if err != nil {
		return err
	}
	greeting(cmd.Context(), cmd.OutOrStdout(), n)
	var failed error
	select {
	case <-cmd.Context().Done():
		log.Info("stopping; once more to stop at once", "drain", config.Drain)
	case <-n.Left():
		log.Info("this node has left its cluster and stops")
	case failed = <-n.Failed():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(cmd.Context()), config.Drain)
	defer cancel()
	return errors.Join(failed, n.Stop(ctx))
}

// greetUp says what was started, and on a fresh machine how others join it.
func greetUp(ctx context.Context, out io.Writer, n *node.Node) {
	info := n.Info()
	greet(out, info)
	greetJoin(ctx, out, n, info)
	fmt.Fprint(out, "  Ctrl-C stops it.\n\n")
}

// greetJoin says how another machine joins. The token in it is made only when the cluster is new: who sees a greeting should not get in forever.
func greetJoin(ctx context.Context, out io.Writer, n *node.Node, info node.Info) {
	switch {
	case info.Address == "":
		return
	case onLoopback(info.Address):
		fmt.Fprintf(out, "  join    no other machine reaches %s; start with --listen :7946 to let others join\n\n", info.Address)
		return
	case !info.Founded || !info.Coordinates:
		fmt.Fprint(out, "  join    polynode token create says how another machine joins\n\n")
		return
	}
	token, err := n.NewToken(ctx, false, 0, 0)
	if err != nil {
		fmt.Fprintf(out, "  join    polynode token create says how another machine joins (now: %v)\n\n", err)
		return
	}
	fmt.Fprintf(out, "  join    polynode join %s --token %s\n          on another machine, once, within the next hour; polynode token create makes more\n\n", token.Address, token.Text)
}

// greet says what is served, where, and what to try.
func greet(out io.Writer, info node.Info) {
	if info.Nodes > 1 {
		fmt.Fprintf(out, "\n  polynode %s is up: one of %d nodes, %d threads, %s kernels\n\n", info.Node, info.Nodes, info.Threads, info.Kernels)
	} else {
		fmt.Fprintf(out, "\n  polynode %s is up: a cluster of one, %d threads, %s kernels\n\n", info.Node, info.Threads, info.Kernels)
	}
	if info.Nodes > 1 && !info.Coordinates {
		greetPlace(out, info)
	} else {
		greetModel(out, info)
	}
	if info.URL != "" {
		fmt.Fprintf(out, "  page    %s/\n", info.URL)
		if info.ExamplePrompt != "" {
			fmt.Fprintf(out, "  try     curl %s/v1/completions -H 'Content-Type: application/json'%s \\\n            -d '{\"prompt\": \"%s\", \"max_tokens\": 40, \"temperature\": 0}'\n", info.URL, info.AuthHint(), info.ExamplePrompt)
		}
		fmt.Fprintln(out)
	}
}

// greetModel says what a coordinator serves, or why it does not.
func greetModel(out io.Writer, info node.Info) {
	if info.Trouble != "" {
		fmt.Fprintf(out, "  model   %s is not served yet: %s\n  wait    it is as soon as enough machines have joined\n\n", info.Model, info.Trouble)
		return
	}
	model := info.Model
	if info.Synthetic {
		model += " (SYNTHETIC: random weights, its text means nothing)"
	}
	fmt.Fprintf(out, "  model   %s, %s parameters, %s in %s\n", model, info.ParametersText(), info.WeightBytes, info.Format)
	fmt.Fprintf(out, "  memory  %s for keys and values (%s): room for %d tokens, context %d\n\n", info.KVBytes, info.KVFormat, info.KVTokens, info.Context)
}

// greetPlace says what another node makes of this one.
func greetPlace(out io.Writer, info node.Info) {
	fmt.Fprintf(out, "  cluster %s coordinates; requests to this node go there\n", orElse(info.Coordinator, "nobody at the moment"))
	fmt.Fprintf(out, "  model   %s\n", orElse(info.Model, "none is served yet"))
	if info.Placed {
		fmt.Fprintf(out, "  place   %s\n\n", info.Place)
	} else {
		fmt.Fprint(out, "  place   none yet: the next plan may use this node (polynode plan says why it does or does not)\n\n")
	}
}
