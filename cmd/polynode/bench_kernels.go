package main

import (
	"fmt"
	"regexp"
	"time"

	"github.com/spf13/cobra"

	"polynode/kernels"
	"polynode/kernels/kernelbench"
)

func newBenchKernels() *cobra.Command {
	var (
		options    kernelbench.Options
		tier, only string
		megabytes  int
		asJSON     bool
	)
	cmd := &cobra.Command{
		Use:   "kernels",
		Short: "Measure the kernels against the machine's roofs",
		Long: `Measure the arithmetic alone, without a model, in the shapes of PolyLM-13B: products for one token (gemv) and for many (gemm), attention
at several contexts, and the operations on one row of activations.

Beside each figure stands its share of what the machine can do, measured between the passes, on the same threads and in the same memory: a plain
loop that reads as many bytes, or one that multiplies in registers. The first number of a pair is the best pass, the one in brackets the
median. A multiply-add counts as two operations.`,
		Example: `  polynode bench kernels
  polynode bench kernels --only gemm/q4 --tier avx2
  polynode bench kernels --threads 1 --time 1s --json`,
		Args: exactArgs(0, "no arguments"),
	}
	cmd.Flags().IntVar(&options.Threads, "threads", 0, "computing threads; 0 is one for each core")
	cmd.Flags().DurationVar(&options.Time, "time", 300*time.Millisecond, "time for each figure; at least three passes are made")
	cmd.Flags().StringVar(&tier, "tier", "", "kernel tier to measure, instead of the fastest")
	cmd.Flags().StringVar(&only, "only", "", "measure only the rows whose names match this regular expression")
	cmd.Flags().IntVar(&megabytes, "buffer", 512, "MiB of weights and keys to walk through; larger matrices are cut")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		if options.Only, err = regexp.Compile(only); err != nil {
			return fmt.Errorf("%w: --only: %w", errUsage, err)
		}
		if options.Tier, err = parseTier(tier); err != nil {
			return err
		}
		if options.Threads < 0 || options.Threads > kernelbench.ThreadsMax || options.Time <= 0 ||
			megabytes < kernelbench.BytesMin>>20 || megabytes > kernelbench.BytesMax>>20 {
			return fmt.Errorf("%w: --threads is 0 to %d, --time above 0, --buffer %d to %d",
				errUsage, kernelbench.ThreadsMax, kernelbench.BytesMin>>20, kernelbench.BytesMax>>20)
		}
		options.Bytes = megabytes << 20
		out := cmd.OutOrStdout()
		show := func(line any) {
			if !asJSON {
				fmt.Fprintln(out, line)
			}
		}
		report, err := kernelbench.Run(cmd.Context(), options,
			func(roofs kernelbench.Report) { show(roofs) }, func(row kernelbench.Row) { show(row) })
		if err != nil || !asJSON {
			return err
		}
		return printJSON(out, report)
	}
	return cmd
}

// parseTier finds a tier of this machine by name; none is the zero Tier.
func parseTier(name string) (kernels.Tier, error) {
	if name == "" {
		return 0, nil
	}
	for _, tier := range kernels.Tiers() {
		if tier.String() == name {
			return tier, nil
		}
	}
	return 0, fmt.Errorf("%w: --tier %q is none of %v", errUsage, name, kernels.Tiers())
}
