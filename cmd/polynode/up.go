package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"polynode/node"
)

func newUp() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start a cluster of one on this machine and serve HTTP",
		Long: `Start a node that is a cluster of its own and serve the model over HTTP, in OpenAI's dialect. Without --model it
serves the demo model that is in this binary: six layers that know the Universal Declaration of Human Rights in PolyLM's 18
languages by heart.

The node stops on Ctrl-C or SIGTERM: it takes no new requests, gives running ones --drain to end, and leaves. A second Ctrl-C
or SIGTERM ends it at once.`,
		Example: `  polynode up
  polynode up --model polylm-13b --kv-format q8
  polynode up --http 0.0.0.0:8080 --api-key a-long-secret
  polynode up --config polynode.yaml`,
		Args: exactArgs(0, "no arguments"),
	}
	settings := addSettings(cmd, "model", "data", "name", "http", "listen", "api-key", "insecure-no-auth", "hosts", "origins", "drain",
		"threads", "network-threads", "lock-weights", "kv-format", "kv-memory", "step-tokens", "step-time", "sequences", "queue", "queue-tokens", "first-token-timeout", "answer-timeout", "eos", "log-level", "log-format")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		config, err := settings.load()
		if err != nil {
			return err
		}
		log := newLogger(config)
		n, err := node.Start(cmd.Context(), config, log)
		if err != nil {
			return err
		}
		greet(cmd.OutOrStdout(), n.Info())
		var failed error
		select {
		case <-cmd.Context().Done():
			log.Info("stopping; once more to stop at once", "drain", config.Drain)
		case failed = <-n.Failed():
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(cmd.Context()), config.Drain)
		defer cancel()
		return errors.Join(failed, n.Stop(ctx))
	}
	return cmd
}

// greet says what is served, where, and what to try.
func greet(out io.Writer, info node.Info) {
	model := info.Model
	if info.Synthetic {
		model += " (SYNTHETIC: random weights, its text means nothing)"
	}
	fmt.Fprintf(out, "\n  polynode %s is up: a cluster of one, %d threads, %s kernels\n\n", info.Node, info.Threads, info.Kernels)
	fmt.Fprintf(out, "  model   %s, %s parameters, %s in %s\n", model, info.ParametersText(), info.WeightBytes, info.Format)
	fmt.Fprintf(out, "  memory  %s for keys and values (%s): room for %d tokens, context %d\n\n", info.KVBytes, info.KVFormat, info.KVTokens, info.Context)
	fmt.Fprintf(out, "  page    %s/\n", info.URL)
	fmt.Fprintf(out, "  try     curl %s/v1/completions -H 'Content-Type: application/json'%s \\\n            -d '{\"prompt\": \"%s\", \"max_tokens\": 40, \"temperature\": 0}'\n\n", info.URL, info.AuthHint(), info.ExamplePrompt)
	fmt.Fprintf(out, "  Ctrl-C stops it.\n\n")
}
