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

// Times of waiting for another model.
const (
	servePause   = 200 * time.Millisecond
	serveTimeout = 24 * time.Hour // a large model over a slow network, and the longest answer
)

// errServe reports a cluster that goes on with the model that it had.
var errServe = errors.New("the model has not changed")

func newServe() *cobra.Command {
	var noWait bool
	cmd := &cobra.Command{
		Use:   "serve MODEL",
		Short: "Let a running cluster serve another model",
		Long: `Have the cluster that the node at --url belongs to serve another model, without a restart. MODEL is a name in the library of any node that
is here, "demo", or (the beginning of) a digest. The model before goes on serving while the nodes get their slices; then new requests
wait, running ones end on the model before, and the next one answers. If it does not fit, nothing changes.`,
		Example: "  polynode serve polylm-13b\n  polynode serve demo --url http://192.168.1.20:8080\n  polynode serve polylm-13b --no-wait",
		Args:    exactArgs(1, "the name of a model"),
	}
	flags := addCluster(cmd)
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "do not wait until the model answers")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		progress := cmd.ErrOrStderr()
		if flags.asJSON {
			progress = io.Discard
		}
		served, err := flags.serve(cmd.Context(), args[0], !noWait, progress)
		if err != nil {
			return err
		}
		out := cmd.OutOrStdout()
		return flags.show(out, served, func() error {
			if served.Change != nil && served.Change.Stage != "done" {
				fmt.Fprintf(out, "%s is on its way; `polynode status` shows how far it is\n", served.Change.Model)
			} else {
				fmt.Fprintf(out, "%s is served\n", served.Model)
			}
			return nil
		})
	}
	return cmd
}

// serve asks for a model, and waits until it is served.
func (f *clusterFlags) serve(ctx context.Context, name string, wait bool, progress io.Writer) (node.ServedModel, error) {
	var served node.ServedModel
	if err := f.ask(ctx, http.MethodPost, "/cluster/v1/model", node.ModelWish{Model: name}, &served); err != nil || !wait {
		return served, err
	}
	ctx, cancel := context.WithTimeout(ctx, serveTimeout)
	defer cancel()
	ticker := time.NewTicker(servePause)
	defer ticker.Stop()
	said := ""
	for {
		change := served.Change
		switch {
		case change == nil:
			return served, fmt.Errorf("%w: another node coordinates now, which knows nothing of it; run this again", errServe)
		case change.Stage == "done":
			return served, nil
		case change.Stage == "failed":
			return served, fmt.Errorf("%w: %s; %s is served as before", errServe, change.Cause, orElse(served.Model, "what was there"))
		case change.Stage != said:
			said = change.Stage
			fmt.Fprintln(progress, changeText(&served))
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return served, fmt.Errorf("%w yet: %s: %w", errServe, changeText(&served), ctx.Err())
		}
		served = node.ServedModel{} // what is absent from an answer is empty
		if err := f.ask(ctx, http.MethodGet, "/cluster/v1/model", nil, &served); err != nil {
			return served, err
		}
	}
}

// changeText says how far a change of model is.
func changeText(s *node.ServedModel) string {
	switch s.Change.Stage {
	case "fetching":
		return fmt.Sprintf("%s: the nodes get their slices; %s serves meanwhile …", s.Change.Model, orElse(s.Model, "nothing"))
	case "waiting":
		return fmt.Sprintf("%s: waits for %s to end on %s; new ones wait …", s.Change.Model, count(s.Running, "running request"), orElse(s.Model, "the model before"))
	case "taking":
		return fmt.Sprintf("%s: is being taken into use …", s.Change.Model)
	}
	return s.Change.Model + ": " + s.Change.Stage
}
