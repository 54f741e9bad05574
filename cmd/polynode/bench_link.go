package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"polynode/internal/relay"
	"polynode/transport/linkbench"
)

func newBenchLink() *cobra.Command {
	var (
		options  linkbench.Options
		delay    time.Duration
		megabits int64
		asJSON   bool
		profile  string
	)
	cmd := &cobra.Command{
		Use:   "link",
		Short: "Measure what a token pays for the network",
		Long: `Repeat the exchanges of one token of a 13B model between two processes of this machine, over this program's transport and, in turns, over
plain TCP and raw UDP: directly, and through a relay that imitates a network.

ms/token is what the exchanges add to the computing between them (median and best token), p50 and p99 are single exchanges.`,
		Example: `  polynode bench link
  polynode bench link --bytes 10000 --tokens 50 --json
  polynode bench link --delay 1ms --rate 100`,
		Args: exactArgs(0, "no arguments"),
	}
	cmd.Flags().IntSliceVar(&options.Bytes, "bytes", []int{10_000, 20_000}, "bytes of an exchange, each way")
	cmd.Flags().IntVar(&options.Syncs, "syncs", linkbench.SyncsDefault, "exchanges in a token")
	cmd.Flags().IntVar(&options.Tokens, "tokens", linkbench.TokensDefault, "tokens of each row")
	cmd.Flags().DurationVar(&options.Compute, "compute", linkbench.ComputeDefault, "computing between two exchanges")
	cmd.Flags().StringSliceVar(&options.Paths, "path", nil, "measure only these: loopback, relay")
	cmd.Flags().StringSliceVar(&options.Over, "over", nil, "measure only these: tcp, quic, udp")
	cmd.Flags().BoolVar(&options.NoPoll, "sleep", false, "let the reader of the socket sleep while a step is under way")
	cmd.Flags().DurationVar(&delay, "delay", 250*time.Microsecond, "delay of the relay, each way")
	cmd.Flags().Int64Var(&megabits, "rate", 1000, "Mbit/s of the relay")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().StringVar(&profile, "cpu-profile", "", "write a profile of the measuring process to this file, for go tool pprof")
	cmd.AddCommand(newBenchLinkRole("peer", linkbench.Peer), newBenchLinkRole("relay", linkbench.Relay))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if delay < 0 || megabits < 1 {
			return fmt.Errorf("%w: --delay is at least 0 and --rate at least 1", errUsage)
		}
		options.Link = relay.Link{Delay: delay, Rate: megabits * 1_000_000}
		options.Command = func(role string) (string, []string, error) {
			self, err := os.Executable()
			return self, []string{"bench", "link", role}, err
		}
		out := cmd.OutOrStdout()
		if !asJSON {
			fmt.Fprintln(out, linkbench.Heading)
		}
		var report linkbench.Report
		err := profiled(profile, func() (err error) {
			report, err = linkbench.Run(cmd.Context(), options, func(row linkbench.Row) {
				if !asJSON {
					fmt.Fprintln(out, row)
				}
			})
			return err
		})
		switch {
		case err != nil:
			return err
		case asJSON:
			return printJSON(out, report)
		}
		fmt.Fprintf(out, "computing alone %.1f ms a token; %d tokens, %d exchanges each; %d cores, GOMAXPROCS %d in each process\n",
			report.Computing, report.Tokens, report.Syncs, report.Cores, report.Procs)
		return nil
	}
	return cmd
}

// newBenchLinkRole is what the measuring process runs this program as.
func newBenchLinkRole(name string, run func(context.Context, io.Reader, io.Writer) error) *cobra.Command {
	return &cobra.Command{
		Use: name, Short: "The " + name + " of a measurement", Hidden: true,
		Args: exactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return run(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
}
