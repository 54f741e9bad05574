package main

import (
	"errors"
	"fmt"
	"os"
	"runtime/pprof"

	"github.com/spf13/cobra"

	"polynode/node"
)

func newBench() *cobra.Command {
	var (
		options node.BenchOptions
		asJSON  bool
		profile string
	)
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure a model on this machine",
		Long: `Start a node in this process and measure it: prompt and generation speed for some numbers of sequences that run
together, time to the first token, memory, and the share of this machine's measured read bandwidth that decoding reaches.`,
		Example: `  polynode bench
  polynode bench --model polylm-13b --batch 1,4,16 --prompt 128 --output 64
  polynode bench --model synthetic-polylm-1.7b-q4 --json`,
		Args: exactArgs(0, "no arguments"),
	}
	settings := addSettings(cmd, "model", "data", "threads", "network-threads", "lock-weights", "kv-format", "kv-memory", "step-tokens", "step-time", "sequences", "log-level")
	cmd.Flags().IntVar(&options.Prompt, "prompt", 128, "tokens of each prompt")
	cmd.Flags().IntVar(&options.Output, "output", 32, "tokens to generate after each")
	cmd.Flags().IntSliceVar(&options.Batches, "batch", []int{1, 4, 8}, "numbers of sequences to run together")
	cmd.Flags().IntVar(&options.Rounds, "rounds", 2, "rounds of each; the best counts")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().StringVar(&profile, "cpu-profile", "", "write a profile of the measured runs to this file, for go tool pprof")
	cmd.AddCommand(newBenchKernels(), newBenchLink())
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		config, err := settings.load()
		if err != nil {
			return err
		}
		for _, n := range options.Batches {
			if n < 1 || n > config.Sequences {
				return fmt.Errorf("%w: --batch %d is not between 1 and --sequences (%d)", errUsage, n, config.Sequences)
			}
		}
		if options.Prompt < 1 || options.Output < 1 {
			return fmt.Errorf("%w: --prompt and --output must be at least 1", errUsage)
		}
		if !cmd.Flags().Changed("log-level") {
			config.LogLevel = "warn"
		}
		config.HTTP, config.Listen, config.APIKeys = "", "", nil
		n, err := node.Start(cmd.Context(), config, newLogger(config))
		if err != nil {
			return err
		}
		var result node.BenchResult
		err = profiled(profile, func() (err error) {
			result, err = n.Bench(cmd.Context(), options, func(run node.BenchRun) {
				if !asJSON {
					fmt.Fprintln(cmd.OutOrStdout(), run)
				}
			})
			return err
		})
		switch {
		case err != nil:
		case asJSON:
			err = printJSON(cmd.OutOrStdout(), result)
		default:
			fmt.Fprintln(cmd.OutOrStdout(), result)
		}
		return joinStop(err, func() error { return n.Stop(cmd.Context()) })
	}
	return cmd
}

// profiled runs f under the CPU profiler, if there is a file to write to.
func profiled(file string, f func() error) (err error) {
	if file == "" {
		return f()
	}
	out, err := os.Create(file)
	if err != nil {
		return fmt.Errorf("write profile: %w", err)
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if err := pprof.StartCPUProfile(out); err != nil {
		return fmt.Errorf("write profile: %w", err)
	}
	defer pprof.StopCPUProfile()
	return f()
}
