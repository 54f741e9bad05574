package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"polynode/configs"
	"polynode/node"
)

func newPlan() *cobra.Command {
	var (
		options node.WhatIf
		whatIf  string
		explain bool
	)
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Show how a model is divided among machines, and how fast it should be",
		Long: `Show the active plan of the cluster that the node at --url belongs to, what it should achieve and what it does; or, with --what-if FILE of
nodes and links, plan for a cluster that one may not have. The plan says which machine computes which part of the model, what that
takes of its memory, how many tokens a second to expect and where the time goes, which machines are left out and why, and whether any of
them may die. docs/planning.md describes the file and the model of time.

--model is the name of a published model, which is planned in the format of --quant, or of an imported one.`,
		Example: `  polynode plan --explain
  polynode plan --what-if configs/clusters/raspberry-pi-5.yaml
  polynode plan --what-if configs/clusters/office.yaml --objective throughput --explain
  polynode plan --what-if my.yaml --model polylm-1.7b --quant q8 --json`,
		Args: exactArgs(0, "no arguments"),
	}
	settings := addSettings(cmd, "data")
	cmd.Flags().StringVar(&whatIf, "what-if", "", "YAML file of nodes and links to plan for")
	cmd.Flags().BoolVar(&explain, "explain", false, "show the predicted milliseconds of each rank by term")
	flags := addCluster(cmd)
	cmd.Flags().StringVar(&options.Model, "model", "", "model to plan for, instead of the file's; polylm-13b if neither names one")
	cmd.Flags().StringVar(&options.Quant, "quant", "", "weight format of a published model: q4, q8, bf16 or f32, instead of the file's")
	cmd.Flags().StringVar(&options.KVFormat, "kv-format", "", "format of keys and values: f16, q8 or f32, instead of the file's")
	cmd.Flags().StringVar(&options.Objective, "objective", "", "latency (one sequence) or throughput (many), instead of the file's")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if whatIf == "" {
			for _, name := range []string{"data", "model", "quant", "kv-format", "objective"} {
				if cmd.Flags().Changed(name) {
					return fmt.Errorf("%w: --%s is for --what-if FILE; see %s --help", errUsage, name, cmd.CommandPath())
				}
			}
			return flags.plan(cmd.Context(), cmd.OutOrStdout(), explain)
		}
		config, err := settings.load()
		if err != nil {
			return err
		}
		options.Data = config.Data
		cluster, err := configs.ReadCluster(whatIf)
		if err != nil {
			return err
		}
		report, err := node.PlanWhatIf(cluster, options)
		if err != nil && !errors.Is(err, node.ErrNoPlan) {
			return err
		}
		out := cmd.OutOrStdout()
		if flags.asJSON {
			return errors.Join(printJSON(out, report), err)
		}
		printWhatIf(out, &report)
		return errors.Join(printPlan(out, &report.Report, &report.Spares, explain), err)
	}
	return cmd
}
