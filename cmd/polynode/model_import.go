package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"polynode/configs"
	"polynode/kernels"
	"polynode/node"
)

func newModelImport() *cobra.Command {
	var (
		name, quant, preset, chat string
		seed                      uint64
		replace                   bool
	)
	cmd := &cobra.Command{
		Use:   "import [FOLDER]",
		Short: "Make a published checkpoint ready to be served",
		Long: `Read a published PolyLM or GPT-2 folder (config.json, tokenizer.model, pytorch_model.bin or model.safetensors, whole or
sharded), pack its weights, and keep the result in the library. Nothing is loaded whole: memory stays small whatever the
model's size. An interrupted import leaves nothing behind.

  q8    8.5 bits a weight; loses almost nothing
  q4    4.5 bits a weight; half the memory and nearly twice the speed
  bf16  as published, for reference
  f32   for comparison with other implementations

With --synthetic no folder is read: the model has the exact shape of a published one and random weights, to measure
what a machine can do before downloading 28 GB.`,
		Example: `  polynode model import ~/polylm-13b --quant q4
  polynode model import ~/polylm-chat-13b --name chat --quant q8
  polynode model import --synthetic polylm-13b --quant q4`,
		Args: atMostOne("one folder"),
	}
	settings := addSettings(cmd, "data", "eos")
	cmd.Flags().StringVar(&name, "name", "", "name in the library; by default that of the folder")
	cmd.Flags().StringVar(&quant, "quant", "q8", "weight format: q8, q4, bf16 or f32")
	cmd.Flags().StringVar(&chat, "chat-format", "", "how conversations become prompts: plain, multialpaca or chat; by default what the folder's name says")
	cmd.Flags().StringVar(&preset, "synthetic", "", "make random weights in the shape of this published model instead of reading a folder")
	cmd.Flags().Uint64Var(&seed, "seed", 1, "of synthetic weights")
	cmd.Flags().BoolVar(&replace, "replace", false, "let the name leave another model")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if (preset == "") == (len(args) == 0) {
			return fmt.Errorf("%w: give either a folder or --synthetic", errUsage)
		}
		format, err := kernels.ParseFormat(quant)
		if err != nil {
			return fmt.Errorf("%w: --quant: %w", errUsage, err)
		}
		return withLibrary(settings, func(library node.Library, config configs.Config) error {
			bar := newByteBar("packing")
			options := node.ImportOptions{
				Name: name, Format: format, Replace: replace, EOS: config.EOS, Chat: chat,
				Found: func(findings []string) {
					for _, finding := range findings {
						fmt.Fprintln(cmd.OutOrStdout(), "  "+finding)
					}
				},
				Progress: func(p node.ImportProgress) { bar.set(string(p.Tensor), p.Done, p.Total) },
			}
			start := time.Now()
			report, err := importModel(cmd.Context(), library, args, preset, seed, options)
			bar.finish()
			if err == nil {
				printReport(cmd.OutOrStdout(), report, time.Since(start))
			}
			return err
		})
	}
	return cmd
}

// importModel reads a folder or makes synthetic weights, under a name of its own if none was given.
func importModel(ctx context.Context, library node.Library, args []string, preset string, seed uint64, options node.ImportOptions) (node.ImportReport, error) {
	if preset == "" {
		if options.Name == "" {
			folder, err := filepath.Abs(args[0])
			if err != nil {
				return node.ImportReport{}, err
			}
			options.Name = strings.ToLower(filepath.Base(folder))
		}
		return library.Import(ctx, args[0], options)
	}
	shape, err := configs.FindPreset(preset)
	if err != nil {
		return node.ImportReport{}, err
	}
	if options.Name == "" {
		options.Name = "synthetic-" + preset + "-" + options.Format.String()
	}
	return library.Synthesise(ctx, shape, seed, options)
}

// printReport says what was written, with the error that packing made in each tensor.
func printReport(out io.Writer, report node.ImportReport, took time.Duration) {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "tensor\tformat\trows\tcolumns\tRMS error\tlargest error\t")
	for _, t := range report.Manifest.Tensors {
		if t.Format != "plain" {
			fmt.Fprintf(table, "%s\t%s\t%d\t%d\t%.3f %%\t%.3g\t\n", t.Name, t.FormatName(), t.Rows, t.K, 100*t.RMSError, t.MaxError)
		}
	}
	table.Flush()
	made := ""
	if report.Manifest.Synthetic {
		made = ", SYNTHETIC: random weights"
	}
	fmt.Fprintf(out, "%s: %s in %.1f s (%.0f MB/s)%s\nsha256 %s\n", report.Manifest.Label, configs.Bytes(report.Size),
		took.Seconds(), float64(report.Size)/1e6/took.Seconds(), made, report.Digest)
}

// byteBar shows progress in bytes, with rate and time left, if standard error is a terminal.
type byteBar struct {
	verb string
	bar  *progressbar.ProgressBar
}

func newByteBar(verb string) *byteBar { return &byteBar{verb: verb} }

func (b *byteBar) set(what string, done, total int64) {
	if b.bar == nil {
		b.bar = progressbar.NewOptions64(total,
			progressbar.OptionSetWriter(os.Stderr), progressbar.OptionSetVisibility(term.IsTerminal(int(os.Stderr.Fd()))),
			progressbar.OptionShowBytes(true), progressbar.OptionShowCount(),
			progressbar.OptionSetWidth(24), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish(),
			progressbar.OptionSetPredictTime(true), progressbar.OptionFullWidth())
	}
	b.bar.Describe(fmt.Sprintf("%s %-24s", b.verb, what))
	// A bar that cannot be drawn is no reason to stop.
	_ = b.bar.Set64(done)
}

func (b *byteBar) finish() {
	if b.bar != nil {
		_ = b.bar.Clear()
	}
}
